"""Means and spreads along an axis that pass over gaps, without numpy's warnings."""

import numpy as np

from core.types import Floats, Ints


def mean_of(value: Floats, *, axis: int) -> Floats:
    """Return the mean along an axis, passing over NaN; NaN where there is nothing else."""
    plain = value.sum(axis=axis)
    if value.shape[axis] and np.isfinite(plain).all():
        return np.asarray(plain / value.shape[axis])
    known = np.isfinite(value)
    count = known.sum(axis=axis)
    total = np.where(known, value, 0.0).sum(axis=axis)
    return divided(total, count)


def divided(total: Floats, size: Floats | Ints) -> Floats:
    """Return total / size; NaN where size is 0."""
    out = np.full(total.shape, np.nan)
    np.divide(total, size, out=out, where=size > 0)
    return out


def spread_of(value: Floats) -> Floats:
    """Return (S,) standard deviations along rows, passing over NaN; NaN where there is nothing."""
    mean = mean_of(value, axis=1)
    return np.sqrt(mean_of((value - mean[:, None]) ** 2, axis=1))
