"""One row of a trace, asked for its cells by column: each with a sentence for what is wrong."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from core.errors import InputError
from sim.traces.records import Cells, Records

T = TypeVar("T")

_MISSING = frozenset({"", "none", "nan", "null", "na", "n/a", "nat"})
_SHOWN = 5  # problems that are told in full


class BadCell(Exception):
    """A cell that cannot be used: which, what it holds, what it must hold."""

    def __init__(self, column: str, found: object, expected: str) -> None:
        super().__init__(column)
        self.column, self.found, self.expected = column, found, expected


@dataclass(slots=True)
class Row:
    """The cells of one row by column; a column that the file lacks reads as missing."""

    at: Mapping[str, int]
    cells: Cells = ()

    def hold(self, cells: Cells) -> None:
        """Take the next row's cells: one for each column."""
        if len(cells) != len(self.at):
            raise BadCell("", f"{len(cells)} cells", f"{len(self.at)}, one for each column")
        self.cells = cells

    def cell(self, column: str) -> object:
        """Return what the file holds, None where it holds nothing."""
        place = self.at.get(column)
        if place is None:
            return None
        found = self.cells[place]
        if isinstance(found, str):
            found = found.strip()
            return None if found.lower() in _MISSING else found
        return None if isinstance(found, float) and math.isnan(found) else found

    def text(self, column: str) -> str:
        """Return a word, "" where there is none."""
        found = self.cell(column)
        return "" if found is None else str(found)

    def number(self, column: str, *, least: float = 0.0, missing: float | None = None) -> float:
        """Return a finite number not below ``least``; ``missing`` where there is none."""
        found = self.cell(column)
        if found is None and missing is not None:
            return missing
        try:
            value = float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise BadCell(column, found, f"a number of {least:g} or more")
        return value

    def time_s(self, column: str, *, optional: bool = False) -> float:
        """Return seconds since the epoch or the trace's own zero; nan where there are none.

        A time without its offset is taken as UTC: a trace's own times only matter to one another.
        """
        found = self.cell(column)
        if found is None and optional:
            return math.nan
        if isinstance(found, datetime):
            return _epoch_s(found)
        try:
            if isinstance(found, str) and found[4:5] != "-":
                found = float(found)
            if isinstance(found, str):
                return _epoch_s(datetime.fromisoformat(found))
            if isinstance(found, int | float) and math.isfinite(found):
                return float(found)
        except ValueError:
            pass
        expected = "seconds, or a time such as 2020-06-09 18:41:01 or 2023-03-01T00:18:22+08:00"
        raise BadCell(column, found, expected)


@dataclass(slots=True)
class Counts:
    """What became of the rows; ``problems`` are the first few bad ones in words."""

    rows: int = 0
    bad: int = 0
    kept: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def leave_out(self, why: str) -> None:
        """Count a row that is in order but gives nothing to replay."""
        self.left_out[why] = self.left_out.get(why, 0) + 1

    @property
    def sentence(self) -> str:
        """Say what was read, for people."""
        parts = [f"{number:,} {why}" for why, number in sorted(self.left_out.items())]
        if self.bad:
            parts.append(f"{self.bad:,} bad: {'; '.join(self.problems)}")
        rest = f"; left out {', '.join(parts)}" if parts else ""
        return f"{self.rows:,} rows read, {self.kept:,} kept{rest}"


def parsed(
    records: Records, parse: Callable[[Row], T], counts: Counts, *, skip_bad: bool
) -> Iterator[tuple[int, T]]:
    """Yield (place, what ``parse`` makes of the row) for each row.

    InputError at the first bad row, or, with ``skip_bad``, none: they are counted and the first
    few told.
    """
    columns = records.columns
    row = Row({name: place for place, name in enumerate(columns)})
    for place, cells in records.rows:
        counts.rows += 1
        try:
            row.hold(cells)
            made = parse(row)
        except BadCell as bad:
            problem = _sentence(records, place, bad)
            if not skip_bad:
                raise InputError(f"{problem} Mend the row, or skip bad rows.") from bad
            counts.bad += 1
            if len(counts.problems) < _SHOWN:
                counts.problems.append(problem.rstrip("."))
            continue
        yield place, made


def need(records: Records, columns: tuple[str, ...], *, what: str) -> None:
    """Refuse a table that lacks columns: all of them at once, each with the nearest it has."""
    missing = [name for name in columns if name not in records.columns]
    if not missing:
        return
    parts = []
    for name in missing:
        near = difflib.get_close_matches(name, records.columns, n=1, cutoff=0.5)
        parts.append(f"{name} (the nearest is {near[0]})" if near else name)
    raise InputError(
        f"reading {records.path} as {what}: it lacks the columns {', '.join(parts)}; it has "
        f"{', '.join(records.columns) or 'none'}. Name another format, or rename the columns."
    )


def _sentence(records: Records, place: int, bad: BadCell) -> str:
    column = f", column {bad.column}" if bad.column else ""
    found = "nothing" if bad.found is None else str(bad.found)[:60]
    return (
        f"reading {records.path}, {records.unit} {place}{column}: found {found}; "
        f"expected {bad.expected}."
    )


def _epoch_s(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
