"""Puts readings on a grid that a model can work with, and lays out the times to forecast."""

import warnings

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import Series

# Fitting time grows faster than the number of points (130 ms at 1,440, 1 s at 5,760, measured with
# prophet 1.5), while averaging neighbours loses nothing that a two-hour forecast needs.
MAX_POINTS = 720
FINE_STEPS = 120
MAX_STEPS = 240


def clean(value: Floats, *, low: float, high: float) -> Floats:
    """Return a copy with NaN for what is not finite or outside of what is plausible."""
    cleaned = np.array(value, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        cleaned[~(np.isfinite(cleaned) & (cleaned >= low) & (cleaned <= high))] = np.nan
    return cleaned


def trimmed(series: Series) -> Series:
    """Return the series from its first to its last finite reading."""
    finite = np.flatnonzero(np.isfinite(series.value))
    keep = slice(int(finite[0]), int(finite[-1]) + 1)
    return Series(series.time_s[keep], series.value[keep])


def thinned(series: Series, most: int = MAX_POINTS) -> Series:
    """Average neighbours so that at most ``most`` readings are left.

    An average is placed in the middle of what it covers, so a ramp stays where it was; the oldest
    readings that fill no block are dropped.
    """
    block = -(-len(series.value) // most)
    if block <= 1:
        return series
    count = len(series.value) // block
    value = series.value[-count * block :].reshape(count, block)
    time_s = series.time_s[-count * block :].reshape(count, block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.nanmean(value, axis=1)
    return Series(time_s.mean(axis=1), means)


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
