"""The times of a table's rows: whatever kind of column they are in, as seconds since the epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.collect.csv_series import called, iso, number, utc_s
from core.epoch import in_seconds
from core.errors import InputError
from core.types import Floats

# Of a wide table each row has its own time; a few may be repeated where clocks were set.
LEAST_DISTINCT = 0.9


def times_of(path: Path, name: str, column: Any) -> tuple[Floats, tuple[str, ...]]:
    """Return (N,) seconds since the epoch of a column of any kind, and what was guessed."""
    import pyarrow as pa  # noqa: PLC0415  # heavy
    import pyarrow.types as kinds  # noqa: PLC0415  # heavy

    if kinds.is_timestamp(column.type) or kinds.is_date(column.type):
        exact = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        whole = exact.cast(pa.int64()).to_numpy()
        return np.asarray(whole, np.float64) * 1e-6, ()
    if kinds.is_integer(column.type) or kinds.is_floating(column.type):
        return in_seconds(np.asarray(column.to_numpy(), np.float64))
    if not (kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        raise InputError(
            f"reading {path}: the column {called(name)} holds {column.type}, which is no time. "
            "Name the time column with --time."
        )
    coded = column.combine_chunks().dictionary_encode()
    texts = [text or "" for text in coded.dictionary.to_pylist()]
    parsed, notes = _parsed(path, name, texts)
    code = np.asarray(coded.indices.to_numpy(zero_copy_only=False), np.float64)
    known = np.isfinite(code)
    time_s = np.full(len(code), np.nan)
    time_s[known] = parsed[code[known].astype(np.int64)]
    return time_s, notes


def _parsed(path: Path, name: str, texts: Sequence[str]) -> tuple[Floats, tuple[str, ...]]:
    """Read texts as times, all of one kind: epoch times by their size, or ISO 8601."""
    epochs = [number(text, decimal_comma=False) for text in texts]
    if all(epoch is not None for epoch in epochs):
        return in_seconds(np.array(epochs, np.float64))
    dates = [iso(text) if text else None for text in texts]
    wrong = [t for t, date in zip(texts, dates, strict=True) if t and date is None]
    if wrong:
        raise InputError(
            f"reading {path}: the column {called(name)} holds {wrong[0][:40]!r}, which is no time. "
            "Times are epoch seconds or ISO 8601, all of one kind; name their column with --time."
        )
    zoneless = any(date is not None and date.tzinfo is None for date in dates)
    note = ("times without a zone were taken as UTC",) if zoneless else ()
    return np.array([utc_s(date) for date in dates]), note


def check_distinct(path: Path, name: str, time_s: Floats) -> None:
    """Refuse a column whose values repeat: it is not the time of a row."""
    known = time_s[np.isfinite(time_s)]
    distinct = len(np.unique(known))
    if distinct < LEAST_DISTINCT * len(known) or not distinct:
        raise InputError(
            f"reading {path}: the column {called(name)} has {distinct} distinct times in "
            f"{len(time_s)} rows, so it is not the time of a row. Name the time column with "
            "--time; a table of a reading a row needs the columns series, time and value."
        )
