"""Rows at any times, in any order, on one even grid; and long grids made shorter by averages."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.types import Floats, Ints

Values = NDArray[np.floating[Any]]

# More grid points than this add nothing to a forecast: the step is widened instead.
MOST_POINTS = 100_000
# The same for all series together: 0.8 GB as float32.
MOST_READINGS = 200_000_000
# What pandas can date: 1684 to 2255.
LATEST_S = 9e9
# Squares of larger readings overflow.
LARGEST = 1e100
# Series that are averaged in one go: their sums and counts stay small beside the readings.
PART = 256


@dataclass(frozen=True, slots=True, eq=False)
class Tidied:
    """time_s (T,) even spacing; value (S, T), NaN where a grid point has no row."""

    time_s: Floats
    value: Values
    notes: tuple[str, ...]


def tidy(time_s: Floats, value: Values, *, name: str) -> Tidied:
    """Sort rows, average those of one time, and lay them on a grid of their median spacing.

    time_s: (N,); value: (S, N); rows without a time, or without a usable value in any series, are
    passed over. InputError for times that no calendar holds.
    """
    with np.errstate(invalid="ignore"):
        largest = min(LARGEST, float(np.finfo(value.dtype).max))
        finite = np.isfinite(value) & (np.abs(value) <= largest)
    usable = np.isfinite(time_s) & finite.any(axis=0)
    notes = [_count(int((~usable).sum()), "row", "without a usable time or value passed over")]
    if not finite.all():
        value = np.where(finite, value, np.asarray(np.nan, value.dtype))
    if not usable.all():
        time_s, value = time_s[usable], value[:, usable]
    if time_s.size and np.abs(time_s).max() > LATEST_S:
        raise InputError(
            f"Forecasting {name}: found the time {time_s[np.abs(time_s).argmax()]:.0f} s, which is "
            "past the year 2255. Give times in seconds since the epoch, or as RFC 3339."
        )
    if (np.diff(time_s) < 0).any():
        notes.append("rows were not in order of time: sorted")
        order = np.argsort(time_s, kind="stable")
        time_s, value = time_s[order], value[:, order]
    moments, place = np.unique(time_s, return_inverse=True)
    notes.append(_count(len(time_s) - len(moments), "row", "with a time seen before averaged"))
    if len(moments) < 2:
        return Tidied(moments, _averaged(value, place, len(moments)), _said(notes))
    span_s = float(moments[-1] - moments[0])
    most = min(MOST_POINTS, max(2, MOST_READINGS // max(1, len(value))))
    usual_s = float(np.median(np.diff(moments)))
    step_s = max(usual_s, span_s / most)
    if step_s > usual_s:
        notes.append(f"a grid of {usual_s:g} s would be too long: readings averaged to {step_s:g}")
    points = round(span_s / step_s) + 1
    cell = np.minimum(np.rint((time_s - moments[0]) / step_s).astype(np.int64), points - 1)
    gridded = _averaged(value, cell, points)
    missing = points - len(np.unique(cell))
    notes.append(_count(missing, "grid point", f"of {points} without a row left as a gap"))
    return Tidied(moments[0] + step_s * np.arange(points), gridded, _said(notes))


def shorter(time_s: Floats, value: Values, most: int) -> tuple[Floats, Values]:
    """Average neighbours so that fewer than twice ``most`` readings are left of (S, T).

    An average is placed in the middle of what it covers, so that a ramp stays where it was. The
    newest readings come out; the oldest that fill no block are dropped.
    """
    block = len(time_s) // most
    if block <= 1:
        return time_s, value
    count = len(time_s) // block
    kept = value[:, -count * block :].reshape(len(value), count, block)
    total = np.zeros(kept.shape[:2], value.dtype)
    number = np.zeros(kept.shape[:2], value.dtype)
    for column in np.moveaxis(kept, 2, 0):  # strided sums: a reduction over so few is slower
        known = np.isfinite(column)
        total += np.where(known, column, 0)
        number += known
    middle_s = time_s[-count * block :].reshape(count, block).mean(axis=1)
    with np.errstate(invalid="ignore"):
        return middle_s, total / number


def _averaged(value: Values, cell: Ints, size: int) -> Values:
    """Return (S, size) means of (S, N) readings by ascending ``cell`` (N,), NaN where none is."""
    if len(cell) == size and (np.diff(cell) == 1).all():
        return value
    found = np.full((len(value), size), np.nan, value.dtype)
    begins = np.flatnonzero(np.diff(cell, prepend=-1))
    if not begins.size:
        return found
    for start in range(0, len(value), PART):
        part = value[start : start + PART]
        known = np.isfinite(part)
        total = np.add.reduceat(np.where(known, part, 0.0), begins, axis=1, dtype=np.float64)
        count = np.add.reduceat(known, begins, axis=1, dtype=np.int64)
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        found[start : start + PART, cell[begins]] = mean
    return found


def _count(number: int, noun: str, what: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {what}" if number else ""


def _said(notes: list[str]) -> tuple[str, ...]:
    return tuple(note for note in notes if note)
