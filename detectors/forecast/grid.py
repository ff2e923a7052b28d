"""Puts readings on a grid that a model can work with, and lays out the times to forecast."""

from typing import Any

import numpy as np

from core.types import Floats
from detectors.forecast.averages import mean_of

FINE_STEPS = 120
MAX_STEPS = 240


def clean(value: np.ndarray[Any, np.dtype[np.floating]], *, low: float, high: float) -> Floats:
    """Return a float64 copy with NaN for what is not finite or outside of what is plausible."""
    cleaned = np.array(value, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        cleaned[~(np.isfinite(cleaned) & (cleaned >= low) & (cleaned <= high))] = np.nan
    return cleaned


def thinned(time_s: Floats, value: Floats, most: int) -> tuple[Floats, Floats]:
    """Average neighbours so that at most ``most`` columns are left: (N,) times and (S, N) means.

    An average is placed in the middle of what it covers, so a ramp stays where it was; the oldest
    readings that fill no block are dropped. A block without a reading is NaN.
    """
    block = -(-value.shape[1] // most)
    if block <= 1:
        return time_s, value
    count = value.shape[1] // block
    blocks = value[:, -count * block :].reshape(len(value), count, block)
    centre = time_s[-count * block :].reshape(count, block).mean(axis=1)
    return np.asarray(centre), mean_of(blocks, axis=2)


def ahead(now_s: float, *, step_s: float, horizon_s: float) -> Floats:
    """Lay out the times to forecast: the series' own step at first, growing steps further out.

    returns (H,) with now_s < t <= now_s + horizon_s; the last is the horizon's end
    A filling disk at one reading a second has to be seen to the second when it is nearly full, and
    two hours of that are 7,200 steps: beyond MAX_STEPS the spacing grows like the distance.
    """
    steps = max(1, int(np.ceil(horizon_s / step_s - 1e-9)))
    if steps <= MAX_STEPS:
        return now_s + horizon_s * np.arange(1, steps + 1) / steps
    fine = np.arange(1, FINE_STEPS + 1) * step_s
    coarse = np.geomspace(fine[-1], horizon_s, MAX_STEPS - FINE_STEPS + 1)[1:]
    coarse[-1] = horizon_s
    return now_s + np.concatenate([fine, coarse])
