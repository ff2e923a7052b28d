"""How often work repeats itself, by the rhythm of a reading: a training's steps in its power."""

import math

import numpy as np

from core.types import Floats

# A swing below this share of the mean is a power meter's own noise, or a GPU that idles.
LEAST_SWING = 0.02
# So alike must readings be one period apart; white noise of 100 readings stays below 0.3.
ALIKE = 0.5
# A rhythm is one that is seen so many times. The first peak so near the highest is the period: one
# between two readings is lower than its multiples, those of parts of a step are lower still.
TIMES, NEAR = 3, 0.75


def period_s(value: Floats, every_s: float) -> float:
    """Return the period of evenly spaced readings (T,), seconds; NaN where they have none.

    The first high peak of the autocorrelation; the highest, one of its multiples, tells it finer.

    >>> wave = 500 + 200 * np.sign(np.sin(2 * np.pi * np.arange(120) / 12.5))
    >>> round(period_s(wave, 0.1), 2)
    1.25
    """
    if len(value) < 4 * TIMES or not np.isfinite(value).all():
        return math.nan
    at = np.arange(float(len(value)))
    rest = value - np.polyval(np.polyfit(at, value, 1), at)
    if rest.std() <= LEAST_SWING * abs(value.mean()):
        return math.nan
    alike = _autocorrelation(rest)[: len(value) // TIMES + 1]
    peaks = 1 + np.flatnonzero((alike[1:-1] > alike[:-2]) & (alike[1:-1] >= alike[2:]))
    high = peaks[alike[peaks] >= ALIKE]
    if not high.size:
        return math.nan
    first = _refined(alike, int(high[alike[high] >= NEAR * alike[high].max()][0]))
    top = _refined(alike, int(high[alike[high].argmax()]))
    return every_s * top / round(top / first)


def _refined(alike: Floats, peak: int) -> float:
    """Return where a peak is between two readings, by a parabola through it."""
    left, middle, right = (float(alike[peak + k]) for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    return peak + (0.5 * (left - right) / bend if bend else 0.0)


def _autocorrelation(rest: Floats) -> Floats:
    """Return (T,) how alike readings are so far apart; 1 at 0, each mean over its own pairs."""
    count = len(rest)
    power = np.abs(np.fft.rfft(rest, 2 * count)) ** 2
    summed = np.fft.irfft(power)[:count]
    return np.asarray(summed / summed[0] * count / np.arange(count, 0, -1))
