"""Many series out of one table, CSV or Parquet: a column each, or a row a reading."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.csv_series import TIME_NAMES, called, read_csv_series
from agent.collect.csv_table import head_of, read_csv, start_of
from agent.collect.table_times import check_distinct, times_of
from agent.even_grid import Values
from core.errors import InputError
from core.types import Floats

# 120,000 series of a day of minutes are 173 million; as float32 that is 0.7 GB.
MOST_READINGS = 200_000_000
# Columns of a Parquet file that are in memory as Arrow's at once.
PART = 256
SERIES_NAMES = ("series", "unique_id", "metric", "name")
# What pandas calls a data frame's index in a Parquet file, where it has no name.
TIMES = (*TIME_NAMES, "__index_level_0__", "index")
RESAMPLE = "Choose columns with --columns, shorten the file, or average it to a longer step"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """time_s (N,) as the rows come; names S, value (S, N), NaN where a cell is empty.

    Times may be unsorted or repeated. ``notes`` say what was left out and what was guessed.
    Tables of many columns are float32, which keeps 7 digits, unless read as ``exact``.
    """

    names: tuple[str, ...]
    time_s: Floats
    value: Values
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Columns:
    """time; values: columns to read; series: of a long table, the column with the names."""

    time: str
    values: tuple[str, ...]
    series: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        shown = ", ".join(self.left_out[:3]) + (", ..." if len(self.left_out) > 3 else "")
        count = len(self.left_out)
        one = "column is" if count == 1 else "columns are"
        return (f"{count} {one} no numbers and left out: {shown}",) if count else ()


def is_parquet(path: Path) -> bool:
    """Say whether a file is Parquet, by its first bytes; InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(
            f"reading {path}: {error.strerror}. Name a CSV or Parquet file."
        ) from error


def read_series(
    path: Path,
    *,
    column: str | None = None,
    columns: str | None = None,
    time_column: str | None = None,
) -> Table:
    """Read one column, or all that ``columns`` chooses, of a CSV or Parquet file.

    A CSV file that holds one series is read cell by cell, however untidy it is: where ``column``
    names it, or it has two columns, or one is called ``value`` and none names series.
    """
    if is_parquet(path):
        return read_table(path, column=column, columns=columns, time_column=time_column)
    if column is None and columns is None:
        column = _only_column(path, time_column)
    if column is None:
        return read_table(path, columns=columns, time_column=time_column)
    one = read_csv_series(path, column, time_column=time_column)
    return Table((column,), one.time_s, one.value[None], one.notes)


def _only_column(path: Path, time_column: str | None) -> str | None:
    """Return the column of values of a file that holds one series, None where it holds more."""
    head = start_of(path)
    if "value" in head.names and not set(head.names) & set(SERIES_NAMES):
        return "value"
    if len(head.names) > 2:
        return None
    if not head.named or len(head.names) < 2:
        return "value"
    return head.names[1 - head.names.index(_time_of(path, head.names, time_column))]


def read_table(
    path: Path,
    *,
    column: str | None = None,
    columns: str | None = None,
    time_column: str | None = None,
    exact: bool = False,
) -> Table:
    """Read every series of a table.

    A table with the columns ``series``, a time and ``value`` holds a reading a row; any other a
    series a column.
    column: the name of one series; columns: names with * and ?, or a regular expression between
    slashes; both None: all
    time_column: else a column with a usual name, or the first
    exact: keep 16 digits, in twice the memory
    InputError says what the file has instead, or how much too large it is.
    """
    chosen = _chooser(column, columns)
    read = _read_parquet if is_parquet(path) else _read_csv
    found, table, rows_of = read(path, chosen, time_column)
    time_s, said = times_of(path, found.time, table[found.time])
    notes = (*found.notes, *said)
    kind = np.float64 if exact else np.float32
    if found.series:
        long = _pivoted(path, table, found, time_s, kind=kind, chosen=chosen)
        return replace(long, notes=(*notes, *long.notes))
    value: Values = np.empty((len(found.values), len(time_s)), kind)
    with np.errstate(over="ignore"):
        for start in range(0, len(found.values), PART):
            names = found.values[start : start + PART]
            part = rows_of(names)
            for row, name in enumerate(names, start):
                value[row] = part[name].to_numpy()
    check_distinct(path, found.time, time_s)
    return Table(found.values, time_s, value, notes)


def _chooser(exact: str | None, pattern: str | None) -> Callable[[str], bool]:
    if exact is not None:
        return lambda name: name == exact
    if pattern is None:
        return lambda name: True
    if len(pattern) > 1 and pattern[0] == pattern[-1] == "/":
        try:
            expression = re.compile(pattern[1:-1])
        except re.error as error:
            raise InputError(
                f"choosing columns by {pattern}: it is no regular expression ({error})."
            ) from error
        return lambda name: expression.search(name) is not None
    return lambda name: fnmatchcase(name, pattern)


def _choose(
    path: Path,
    names: Sequence[str],
    numeric: Sequence[bool],
    *,
    chosen: Callable[[str], bool],
    time_column: str | None,
) -> _Columns:
    """Tell the time, the values and what else there is apart."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"reading {path}: {len(twice)} column names are there more than once, such as "
            f"{twice[0]!r}. Give each column a name of its own."
        )
    time = _time_of(path, names, time_column)
    series = next((name for name in SERIES_NAMES if name in names), "")
    if series and "value" in names and not numeric[list(names).index(series)]:
        return _Columns(time, ("value",), series)
    kinds = dict(zip(names, numeric, strict=True))
    values = tuple(name for name in names if kinds[name] and name != time and chosen(name))
    others = tuple(n for n in names if not kinds[n] and n != time and chosen(n))
    if not values:
        shown = ", ".join(name or called(name) for name in names[:5]) + (
            ", ..." if len(names) > 5 else ""
        )
        raise InputError(
            f"reading {path}: of its {len(names)} columns ({shown}) none that was asked for holds "
            f"numbers beside the time {called(time)}. Name others with --columns, or the time with "
            "--time."
        )
    return _Columns(time, values, left_out=others)


def _time_of(path: Path, names: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in names:
        shown = ", ".join(name or called(name) for name in names[:9])
        raise InputError(
            f"reading {path}: it has no column {wanted!r}, only {shown}"
            f"{' ...' if len(names) > 9 else ''}. Name the time column with --time."
        )
    lower = {name.lower(): name for name in reversed(names)}
    usual = next((lower[name] for name in TIMES if name in lower), names[0])
    return usual if wanted is None else wanted


def _check_size(path: Path, series: int, rows: float) -> None:
    if series * rows > MOST_READINGS:
        size = series * rows
        raise InputError(
            f"reading {path}: about {series:,} series of {rows:,.0f} readings are {size:,.0f} "
            f"({size * 4 / 2**30:.1f} GiB in memory), more than the {MOST_READINGS:,} that are "
            f"read. {RESAMPLE}."
        )


def _parquet(path: Path) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # heavy
    import pyarrow.parquet as pq  # noqa: PLC0415  # heavy

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"reading {path}: it begins like Parquet and is not ({_first_line(error)}). "
            "It may have been cut short: write or copy it again."
        ) from error


def _read_parquet(
    path: Path, chosen: Callable[[str], bool], time_column: str | None
) -> tuple[_Columns, Any, Callable[[Sequence[str]], Any]]:
    import pyarrow.types as kinds  # noqa: PLC0415  # heavy

    file = _parquet(path)
    schema, rows = file.schema_arrow, file.metadata.num_rows
    if not rows or not schema.names:
        raise InputError(f"reading {path}: it has {rows} rows and {len(schema.names)} columns.")
    numeric = [
        kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
        for kind in schema.types
    ]
    found = _choose(path, schema.names, numeric, chosen=chosen, time_column=time_column)
    _check_size(path, len(found.values), rows)
    first = [found.time, *([found.series, "value"] if found.series else [])]

    def part(names: Sequence[str]) -> Any:
        return file.read(columns=list(names))

    return found, part(first), part


def _read_csv(
    path: Path, chosen: Callable[[str], bool], time_column: str | None
) -> tuple[_Columns, Any, Callable[[Sequence[str]], Any]]:
    head = head_of(path)
    numeric = head.numeric
    found = _choose(path, head.names, numeric, chosen=chosen, time_column=time_column)
    _check_size(path, len(found.values), path.stat().st_size / head.row_bytes)
    text = [found.time, *([found.series] if found.series else [])]
    table = read_csv(path, head, text, found.values)
    return found, table, lambda names: table


def _pivoted(
    path: Path,
    table: Any,
    found: _Columns,
    time_s: Floats,
    *,
    kind: type[np.floating[Any]],
    chosen: Callable[[str], bool],
) -> Table:
    """Turn a reading a row into a series a row; of two readings at one time the later row's."""
    coded = table[found.series].combine_chunks().dictionary_encode()
    names = [str(name) for name in coded.dictionary.to_pylist()]
    wanted = np.array([chosen(name) for name in names] + [False])
    series = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    kept = np.isfinite(time_s) & wanted[series]
    if not kept.any():
        raise InputError(
            f"reading {path}: of its {len(names)} series none was asked for. Name others with "
            "--columns."
        )
    rows, row = np.unique(series[kept], return_inverse=True)
    moments, place = np.unique(time_s[kept], return_inverse=True)
    _check_size(path, len(rows), len(moments))
    value: Values = np.full((len(rows), len(moments)), np.nan, kind)
    with np.errstate(over="ignore"):
        value[row, place] = np.asarray(table["value"].to_numpy(), np.float64)[kept]
    repeated = int(kept.sum()) - len(np.unique(row * len(moments) + place))
    said = (f"{repeated} rows repeat a time; the last of each was kept",) if repeated else ()
    return Table(tuple(names[at] for at in rows), moments, value, said)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
