"""Where a series lies and how much it spreads, with floors for series that hardly move."""

from dataclasses import dataclass, fields

import numpy as np

from core.types import Floats, Ints

IQR_OF_SIGMA = 1.35  # interquartile range of a normal distribution, in standard deviations
_OF_CENTRE = 1e-3  # less than this share of its own size is no change worth a sigma
_LEAST = 1e-9  # of a series that is 0 throughout
_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Where rows lie; all (V,), NaN for a row without readings but for count.

    centre: median; scale: max(sd, IQR / 1.35, floor)
    floor:  max(quantum, 1e-3 of the median): no smaller change means anything
    low, high: smallest and largest; count: readings
    """

    centre: Floats
    scale: Floats
    floor: Floats
    low: Floats
    high: Floats
    count: Ints


def spread(value: Floats) -> Spread:
    """Return centre and scale of each row of (V, T) readings, NaN allowed; sorts in chunks."""
    starts = range(0, max(1, len(value)), _AT_ONCE)
    parts = [_part(value[start : start + _AT_ONCE]) for start in starts]
    return Spread(
        *(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Spread))
    )


def _part(value: Floats) -> Spread:
    count = np.isfinite(value).sum(axis=1)
    if not count.any():
        nothing = np.full(len(value), np.nan)
        return Spread(nothing, nothing, nothing, nothing, nothing, count)
    ordered = np.sort(value, axis=1)
    least, low, middle, high, most = (_quantile(ordered, count, q) for q in (0, 0.25, 0.5, 0.75, 1))
    away = np.nan_to_num(value - middle[:, None])
    deviation = np.sqrt((away**2).sum(axis=1) / np.maximum(count, 1))
    gap = np.diff(ordered, axis=1)
    quantum = np.min(gap, axis=1, where=gap > 0, initial=np.inf)
    # A series that hardly ever moves has one gap, the size of its one jump: no quantum.
    quantum = np.where(quantum < high - low, quantum, 0.0)
    floor = np.maximum(np.maximum(quantum, _OF_CENTRE * np.abs(middle)), _LEAST)
    scale = np.maximum(np.maximum(deviation, (high - low) / IQR_OF_SIGMA), floor)
    return Spread(middle, scale, floor, least, most, count)


def _quantile(ordered: Floats, count: Ints, share: float) -> Floats:
    """Return each row's quantile among its first ``count`` entries, the lower of two."""
    place = np.floor(np.maximum(count - 1, 0) * share).astype(np.int64)
    return np.asarray(np.take_along_axis(ordered, place[:, None], axis=1)[:, 0])
