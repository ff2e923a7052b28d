"""Where the rise that a series is in began, and how it has gone since.

Of lines through the last 8 minutes to 8 hours the one that stands out most from what it leaves over
(the largest t statistic of a rise) is taken to span the present rise: a shorter one wastes
readings, a longer one takes in what went before and fits worse. A change point by exhaustion, as
for a broken line (Quandt 1958), on candidates that are a fifth apart.
"""

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled

# fmt: off
AGES_MIN = (
    8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 58, 70, 85, 100, 120, 150, 180, 220, 270, 330, 400, 480,
)
# fmt: on
# A log that is rotated, or memory that is collected, falls within this time.
FALL_MIN = 10
NEEDED = 6
# Noise below this share of the room is none: quantised readings on a line leave nothing over.
FLOOR = 1e-4
NAMES = (
    "onset_age",
    "onset_reach",
    "onset_sure",
    "onset_noise",
    "onset_bend",
    "onset_risen",
    "onset_news",
    "onset_peak",
    "onset_fall",
)


def onsets(y: Floats, step_s: float, ahead_s: float) -> Floats:
    """Return (S, 9) in the order of ``NAMES``; NaN where readings are too few for any line.

    y: (S, T) readings less the present level, in room to the limit, NaN for gaps
    age: log of minutes since the rise began; reach: share of the room that its line covers in
    ``ahead_s``; sure: log of its t statistic; noise: log of what is left over; bend: how much
    steeper the later half is than the earlier, in slopes of the whole; risen: log of how far it has
    come; news: log of that over the largest rise in such a time before it; peak: highest reading
    before it; fall: log of the largest fall within 10 minutes. Cost: 4 us a series of 720 readings.
    """
    ages = np.array([max(2, round(age * 60.0 / step_s)) for age in AGES_MIN])
    out = np.full((len(y), len(NAMES)), np.nan)
    lag = max(1, round(FALL_MIN * 60.0 / step_s))
    _onsets(y, (ages, lag, step_s / 60.0, ahead_s / step_s), out)
    return out


@compiled
def _onsets(y: Floats, shape: tuple[Ints, int, float, float], out: Floats) -> None:
    ages, lag, step_min, ahead = shape
    for row in range(len(y)):
        age, slope, sure, noise = _steepest(y[row], ages)
        if age == 0:
            continue
        begin = max(len(y[row]) - age, 0)
        middle = (begin + len(y[row])) // 2
        bend = _slope(y[row, middle:]) - _slope(y[row, begin:middle])
        reach = min(max(slope * ahead, -3.0), 20.0)
        out[row, 0] = np.log(age * step_min)
        out[row, 1] = reach
        out[row, 2] = np.log(max(sure, 1.0))
        out[row, 3] = np.log(noise)
        out[row, 4] = min(max(bend / max(abs(slope), 1e-9), -3.0), 3.0)
        out[row, 5] = np.log(min(max(slope * age, 1e-3), 1e2))
        usual = max(_most(y[row, :begin], age), noise)
        out[row, 6] = np.log(min(max(slope * age / usual, 1e-2), 1e4))
        out[row, 7] = _peak(y[row, :begin])
        out[row, 8] = np.log(min(max(_most(-y[row], lag), 1e-3), 1e2))


@compiled
def _steepest(y: Floats, ages: Ints) -> tuple[int, float, float, float]:
    """Return age in readings, slope a reading, t statistic and noise of the surest rise."""
    best = (0, 0.0, -np.inf, 1.0)
    n = t = tt = total = ty = yy = 0.0
    last, index = len(y) - 1, 0
    for back in range(len(y)):
        one = y[last - back]
        if np.isfinite(one):
            n, t, tt = n + 1.0, t - back, tt + float(back) * back
            total, ty, yy = total + one, ty - back * one, yy + one * one
        if back + 1 < ages[index]:
            continue
        if n >= NEEDED:
            vt, cty = tt - t * t / n, ty - t * total / n
            vy = max(yy - total * total / n, 0.0)
            slope = cty / vt
            left = max(np.sqrt(max(vy - slope * cty, 0.0) / (n - 2.0)), FLOOR)
            sure = slope * np.sqrt(vt) / left
            if sure > best[2]:
                best = (back + 1, slope, sure, left)
        index += 1
        if index == len(ages):
            break
    return best


@compiled
def _slope(y: Floats) -> float:
    n = t = tt = total = ty = 0.0
    for at in range(len(y)):
        if np.isfinite(y[at]):
            n, t, tt = n + 1.0, t + at, tt + float(at) * at
            total, ty = total + y[at], ty + at * y[at]
    vt = tt - t * t / max(n, 1.0)
    return (ty - t * total / n) / vt if n >= 2.0 and vt > 0.0 else 0.0


@compiled
def _peak(y: Floats) -> float:
    """Return the highest reading, at most 3 rooms off; 1 where there is none: nothing is news."""
    top = -np.inf
    for at in range(len(y)):
        top = max(top, y[at]) if np.isfinite(y[at]) else top
    return min(max(top, -3.0), 3.0) if np.isfinite(top) else 1.0


@compiled
def _most(y: Floats, lag: int) -> float:
    """Return the largest rise over so many readings; 0 where there is none."""
    most = 0.0
    for at in range(lag, len(y)):
        if np.isfinite(y[at]) and np.isfinite(y[at - lag]):
            most = max(most, y[at] - y[at - lag])
    return most
