"""One series out of a CSV file of anybody's making, and what had to be done to it."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.epoch import in_seconds
from core.errors import InputError
from core.types import Floats

DELIMITERS = ",;\t|"
LOOKED_AT = 20  # lines to tell the delimiter by
TIME_NAMES = ("time", "timestamp", "time_s", "ts", "date", "datetime", "ds", "epoch", "unix")
GAP_STEPS = 1.5


def called(name: str) -> str:
    """Return a column's name for a message; an index that was written along often has none."""
    return repr(name) if name else "(no name)"


@dataclass(frozen=True, slots=True, eq=False)
class CsvSeries:
    """time_s (N,) strictly increasing, value (N,) finite; ``notes`` say what was done to the file.

    A row without a value is not there: gaps are gaps in ``time_s``.
    """

    time_s: Floats
    value: Floats
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    header: tuple[str, ...]  # empty: there is none
    rows: tuple[tuple[int, tuple[str, ...]], ...]  # each with its line number
    decimal_comma: bool
    notes: tuple[str, ...]


def read_csv_series(path: Path, column: str, *, time_column: str | None = None) -> CsvSeries:
    """Read the times and values of one column.

    column: its name; where the file has no header its number from 1, and of two columns simply the
        other one
    time_column: likewise; else a column with a usual name, else the first other one

    Times are epoch seconds (or ms, us, ns, by their size) or ISO 8601, UTC where no zone is given.
    Rows may be unsorted, repeated, empty or NaN. InputError says what the file has instead.
    """
    table = _table(path)
    value_at = _column(path, table, column, what="value")
    time_at = _time_column(path, table, time_column, value_at)
    time_s, value, notes = _numbers(path, table, time_at, value_at)
    order = np.argsort(time_s, kind="stable")
    if (np.diff(time_s) < 0).any():
        notes.append("rows were not in order of time and were sorted")
    time_s, value = time_s[order], value[order]
    last = np.append(np.diff(time_s) > 0, True)
    if not last.all():
        notes.append(f"{int((~last).sum())} rows repeat a time; the last of each was kept")
    time_s, value = time_s[last], value[last]
    return CsvSeries(time_s, value, (*table.notes, *notes, *_gaps(time_s)))


def _table(path: Path) -> _Table:
    """Split the file into rows; InputError where it is no text with columns."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"reading {path}: {error.strerror}. Name a CSV or Parquet file."
        ) from error
    if not raw.strip():
        raise InputError(f"reading {path}: it is empty. It needs a time and a value a row.")
    if b"\0" in raw[:65536]:
        raise InputError(f"reading {path}: it is binary, not CSV. Export it as text first.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"reading {path}: it is not UTF-8 text ({error.reason}).") from error
    delimiter = delimiter_of(text)
    notes, rows = [], []
    comments = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        for cells in reader:
            plain = tuple(cell.strip() for cell in cells)
            comments += plain[:1] != () and plain[0].startswith("#")
            if any(plain) and not plain[0].startswith("#"):
                rows.append((reader.line_num, plain))
    except csv.Error as error:
        raise InputError(f"reading {path}: it is not CSV ({error}).") from error
    if max((len(cells) for _, cells in rows), default=0) < 2:
        shown = rows[0][1][0][:60] if rows else ""
        raise InputError(
            f"reading {path}: it has one column ({shown!r} ...), and needs a time and a value."
        )
    if comments:
        notes.append(f"{comments} comment lines were passed over")
    comma = delimiter != ","
    first = rows[0][1]
    named = not any(is_cell(cell, decimal_comma=comma) for cell in first if cell)
    if not named:
        notes.append("there is no header")
    return _Table(first if named else (), tuple(rows[1 if named else 0 :]), comma, tuple(notes))


def delimiter_of(text: str) -> str:
    """Return the delimiter that most of the first lines agree on; a comma in doubt."""
    lines = [line for line in text.splitlines()[:LOOKED_AT] if line and line[0] != "#"]

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=counts.count) if counts else 0
        # Of two that fit, the one that is not also the decimal sign.
        return (counts.count(usual) if usual else 0, delimiter != ",")

    return max(DELIMITERS, key=agreement) if lines else ","


def is_cell(cell: str, *, decimal_comma: bool) -> bool:
    """Say whether the cell is a time or a number, which no header is."""
    return number(cell, decimal_comma=decimal_comma) is not None or iso(cell) is not None


def _column(path: Path, table: _Table, wanted: str, *, what: str) -> int:
    if table.header:
        names = [name.lower() for name in table.header]
        if wanted in table.header:
            return table.header.index(wanted)
        if wanted.lower() in names:
            return names.index(wanted.lower())
        raise InputError(
            f"reading {path}: it has no column {wanted!r}, only {', '.join(table.header)}. "
            f"Name the {what} column."
        )
    width = max(len(cells) for _, cells in table.rows)
    if wanted.isdigit() and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    if width == 2 and what == "value":
        return 1
    raise InputError(
        f"reading {path}: it has no header and {width} columns, so {wanted!r} names none. Give "
        f"the {what} column's number, 1 to {width}."
    )


def _time_column(path: Path, table: _Table, wanted: str | None, value_at: int) -> int:
    if wanted is not None:
        return _column(path, table, wanted, what="time")
    names = [name.lower() for name in table.header]
    for name in TIME_NAMES:
        if name in names and names.index(name) != value_at:
            return names.index(name)
    return 0 if value_at != 0 else 1


def _numbers(
    path: Path, table: _Table, time_at: int, value_at: int
) -> tuple[Floats, Floats, list[str]]:
    """Return times, values and notes; rows that cannot be read or have no value are left out."""
    times: list[float] = []
    values: list[float] = []
    bad: list[tuple[int, str]] = []
    empty = zoneless = epochs = 0
    for line, cells in table.rows:
        cell = cells[time_at] if time_at < len(cells) else ""
        epoch = number(cell, decimal_comma=table.decimal_comma)
        when = iso(cell) if epoch is None else None
        text = cells[value_at] if value_at < len(cells) else ""
        value = number(text, decimal_comma=table.decimal_comma) if text else math.nan
        if value is None or (when is None and (epoch is None or not math.isfinite(epoch))):
            bad.append((line, _row_text(cells)))
        elif not math.isfinite(value):
            empty += 1
        else:
            zoneless += when is not None and when.tzinfo is None
            epochs += epoch is not None
            times.append(epoch if epoch is not None else utc_s(when))
            values.append(value)
    notes = list(_left_out(path, bad, empty, kept=len(times)))
    if zoneless:
        notes.append("times without a zone were taken as UTC")
    if 0 < epochs < len(times):
        raise InputError(f"reading {path}: its times are partly numbers, partly dates. Use one.")
    time_s = np.array(times)
    if epochs:
        time_s, unit = in_seconds(time_s)
        notes += unit
    return time_s, np.array(values), notes


def _row_text(cells: Sequence[str]) -> str:
    """Return a row as one would quote it."""
    return ",".join(cells)[:60]


def _left_out(
    path: Path, bad: Sequence[tuple[int, str]], empty: int, *, kept: int
) -> Iterator[str]:
    if kept == 0:
        example = f", such as line {bad[0][0]}: {bad[0][1]!r}" if bad else ""
        raise InputError(
            f"reading {path}: no row has both a time and a value ({len(bad)} cannot be read"
            f"{example}; {empty} have no value). Times must be epoch seconds or ISO 8601."
        )
    if bad:
        line, text = bad[0]
        yield f"{len(bad)} rows cannot be read and were left out, the first in line {line}: {text}"
    if empty:
        yield f"{empty} rows have no finite value and count as missing"


def _gaps(time_s: Floats) -> Iterator[str]:
    if len(time_s) < 3:
        return
    apart_s = np.diff(time_s)
    usual_s = float(np.median(apart_s))
    wide = apart_s > GAP_STEPS * usual_s
    if wide.any():
        yield (
            f"readings are {usual_s:g} s apart, with {int(wide.sum())} gaps of up to "
            f"{float(apart_s.max()):g} s"
        )


def number(cell: str, *, decimal_comma: bool) -> float | None:
    """Return the cell's number, NaN for the usual words for none; None where it is neither."""
    if cell.lower() in ("", "na", "n/a", "null", "none", "-"):
        return math.nan
    try:
        return float(cell.replace(",", ".") if decimal_comma else cell)
    except ValueError:
        return None


def iso(cell: str) -> datetime | None:
    """Return the cell's ISO 8601 time; None where it is none."""
    try:
        return datetime.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        return None


def utc_s(when: datetime | None) -> float:
    """Return seconds since the epoch, UTC where no zone is given; NaN for None."""
    if when is None:
        return math.nan
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
