"""Finds where the present trend began: after the last jump, restart or onset of a leak."""

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import Series

# Windows to search, newest first, in readings: an onset a minute ago drowns in a day of history.
WINDOWS = (60, 120, 240, 480, 960)
MIN_READINGS = 15
# Two lines have to explain this share of what one line leaves open. Persistent noise alone reaches
# it now and then, which costs a fit: the back-test has the last word.
EXPLAINED = 0.8


def regime_start(series: Series) -> float | None:
    """Return when the present regime began, in seconds, or None where no break stands out.

    The shortest recent window that breaks clearly in two lines gives the answer. Cost: O(T).
    """
    known = np.isfinite(series.value)
    time_s, value = series.time_s[known], series.value[known]
    sizes = [size for size in WINDOWS if size < len(value)] + [len(value)]
    for size in sizes:
        if size < 2 * MIN_READINGS:
            continue
        start = _break(time_s[-size:], value[-size:])
        if start is not None:
            return float(time_s[-size:][start])
    return None


def _break(time_s: Floats, value: Floats) -> int | None:
    """Return the index at which two lines fit best, when they fit clearly better than one."""
    left, right = _errors(time_s, value), _errors(time_s[::-1], value[::-1])[::-1]
    # left[i]: error of a line through readings 0..i; right[i]: through i..T-1
    middle = slice(MIN_READINGS // 2, len(value) - MIN_READINGS)
    split = left[:-1][middle] + right[1:][middle]
    best = int(np.argmin(split))
    if split[best] > (1 - EXPLAINED) * left[-1] or left[-1] <= _rounding(value):
        return None
    return best + MIN_READINGS // 2 + 1


def _errors(time_s: Floats, value: Floats) -> Floats:
    """Return (T,) the squared error of the least-squares line through the first 1, 2, ... T."""
    t = (time_s - time_s.mean()) / max(float(np.ptp(time_s)), 1e-9)
    y = value - value.mean()
    n = np.arange(1, len(y) + 1)
    mean_t, mean_y = np.cumsum(t) / n, np.cumsum(y) / n
    tt = np.cumsum(t * t) - n * mean_t**2
    ty = np.cumsum(t * y) - n * mean_t * mean_y
    yy = np.cumsum(y * y) - n * mean_y**2
    slope = np.divide(ty, tt, out=np.zeros_like(ty), where=tt > 1e-15)
    return np.asarray(np.maximum(yy - slope * ty, 0.0))


def _rounding(value: Floats) -> float:
    """Return a squared error that is no more than rounding."""
    return float(len(value) * (1e-9 * np.abs(value).max()) ** 2)
