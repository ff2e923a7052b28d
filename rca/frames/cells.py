"""A pandas data frame as an array: its cells as numbers, its index as seconds, each name once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from core.epoch import in_seconds
from core.errors import InputError
from core.types import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

NO_VALUE = frozenset(("", "na", "n/a", "<na>", "nan", "nat", "null", "none", "-"))
MOST_OF_A_CELL = 40
# The largest float is 1.8e308: sums of the squares of larger readings would be infinite.
LARGEST = 1e150


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """value (V, T) of V columns, each named once, NaN where nothing was scraped.

    No reading is beyond LARGEST.

    time_s: (T,) seconds since the epoch, strictly increasing
    notes: what was mended or guessed, each beginning with the table's name
    """

    name: str
    columns: tuple[str, ...]
    value: Floats
    time_s: Floats
    notes: tuple[str, ...]

    def rows_of(self, columns: Sequence[str]) -> Floats:
        """Return (len(columns), T), NaN for columns that are not in this table."""
        place = {column: row for row, column in enumerate(self.columns)}
        rows = np.array([place.get(column, len(self.columns)) for column in columns], np.int64)
        return np.vstack([self.value, np.full((1, len(self.time_s)), np.nan)])[rows]


def readings(frame: "pd.DataFrame", name: str) -> Readings:
    """Read a data frame; InputError names the column, row and cell that cannot be read.

    name: of the table, for messages
    """
    import pandas as pd  # noqa: PLC0415  # heavy, and already there: the caller has a frame

    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            f"Reading {name}: found {type(frame).__name__}. It must be a pandas.DataFrame, a "
            "column a series and a row a moment."
        )
    if not frame.shape[0] or not frame.shape[1]:
        raise InputError(
            f"Reading {name}: found {frame.shape[0]} rows and {frame.shape[1]} columns. It needs "
            "at least a row of readings and a column that the other table has too."
        )
    notes: list[str] = []
    value, time_s = _cells(frame, name), _times(frame.index, name, notes)
    endless = np.abs(value) > LARGEST
    if endless.any():
        notes.append(
            f"readings that are infinite or beyond {LARGEST:g}, which count as not scraped: "
            f"{int(endless.sum())}"
        )
        value[endless] = np.nan
    timed = np.isfinite(time_s)
    if not timed.all():
        notes.append(f"rows without a time, which are left out: {int((~timed).sum())}")
        value, time_s = value[timed], time_s[timed]
    if (np.diff(time_s) < 0).any():
        notes.append("rows were sorted by time")
    moments, row = np.unique(time_s, return_inverse=True)
    if len(moments) < len(time_s):
        notes.append(
            f"rows that repeat a time, of which the mean is taken: {len(time_s) - len(moments)}"
        )
    columns, column = _once([text(each) for each in frame.columns])
    if len(columns) < frame.shape[1]:
        notes.append(
            f"columns that repeat a name, of which the mean is taken: "
            f"{frame.shape[1] - len(columns)}"
        )
    value = _merged(_merged(value, row).T, column)
    return Readings(name, columns, value, moments, tuple(f"{name}: {note}" for note in notes))


def text(name: object) -> str:
    """Return a column's or component's name; the levels of a MultiIndex are joined by ``|``."""
    return "|".join(str(part) for part in name) if isinstance(name, tuple) else str(name)


def _once(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """Return each name once, in order, and which of them each of ``names`` is."""
    place = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return tuple(place), np.array([place[name] for name in names], np.int64)


def _merged(value: Floats, group: Ints) -> Floats:
    """Return the mean of the readings of each group of rows (R, T); NaN where a group has none."""
    groups = int(group.max(initial=-1)) + 1
    order = np.argsort(group, kind="stable")
    if groups == len(group):
        return np.ascontiguousarray(value[order])
    first = np.searchsorted(group[order], np.arange(groups))
    there = np.isfinite(value)
    total = np.add.reduceat(np.where(there, value, 0.0)[order], first)
    count = np.add.reduceat(there[order].astype(np.float64), first)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _cells(frame: "pd.DataFrame", name: str) -> Floats:
    """Return (T, V) numbers, rows as they come."""
    from pandas.api import types  # noqa: PLC0415  # heavy, and already there

    plain = np.array(
        [types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind) for kind in frame.dtypes]
    )
    value = np.empty(frame.shape, np.float64)
    numbers: pd.DataFrame = frame.iloc[:, np.flatnonzero(plain).tolist()]
    value[:, plain] = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    for at in np.flatnonzero(~plain).tolist():
        cells = np.asarray(frame.iloc[:, at].to_numpy(dtype=object))
        value[:, at] = _numbers(cells, frame, at, name)
    return value


def _numbers(cells: "np.ndarray[Any, Any]", frame: "pd.DataFrame", at: int, name: str) -> Floats:
    """Return the numbers of a column of objects: numbers, numbers as text, or nothing."""
    try:
        return np.asarray(cells, np.float64)
    except (TypeError, ValueError):
        pass  # some cell is no plain number: look at each
    found = [_number(cell) for cell in cells]
    if None in found:
        row = found.index(None)
        shown = repr(str(cells[row])[:MOST_OF_A_CELL])
        raise InputError(
            f"Reading {name}: the column {text(frame.columns[at])!r} holds {shown} in row "
            f"{row + 1} (index {frame.index[row]}), which is no number. Correct it, or leave the "
            "column out."
        )
    return np.array(found, np.float64)


def _number(cell: object) -> float | None:
    """Return the number of a cell, NaN for the usual words for none; None where it is neither."""
    try:
        return float(cell)  # type: ignore[arg-type]  # what is no number is caught
    except (TypeError, ValueError):
        return math.nan if str(cell).strip().lower() in NO_VALUE else None


def _times(index: "pd.Index[Any]", name: str, notes: list[str]) -> Floats:
    """Return (T,) seconds since the epoch, NaN where there is no time."""
    kind = getattr(index.dtype, "kind", "O")
    if kind == "M":
        exact = index.to_numpy(dtype="datetime64[ns]")
        return np.where(np.isnat(exact), np.nan, exact.astype(np.int64) * 1e-9)
    if kind in "iuf":
        epoch = index.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        epoch = np.array([_time(each, name, row) for row, each in enumerate(index)], np.float64)
    epoch = np.where(np.isfinite(epoch), epoch, np.nan)
    if np.isnan(epoch).all():
        raise InputError(
            f"Reading {name}: no row of its index has a time. The index must be seconds since the "
            "epoch or datetimes."
        )
    time_s, said = in_seconds(epoch)
    notes += said
    return time_s


def _time(cell: object, name: str, row: int) -> float:
    """Return an index entry that is a number, a number as text, a datetime or ISO 8601."""
    number = _number(cell)
    if number is not None:
        return number
    try:
        when = datetime.fromisoformat(str(cell))
    except ValueError as error:
        shown = repr(str(cell)[:MOST_OF_A_CELL])
        raise InputError(
            f"Reading {name}: its index holds {shown} in row {row + 1}, which is no time. The "
            "index must be seconds since the epoch or datetimes."
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
