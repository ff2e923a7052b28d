"""What one series' past says about reaching its limit, in numbers that mean the same on any metric.

Every length is measured in the room between the present level and the limit, so a leak in a disk
and one in a GPU's memory look alike. Lines through spans of 20 minutes to 8 hours are drawn at
once from running sums; the rest are changes the series is known to make, against which a rise is
news or not.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from core.units import Bad
from detectors.compiled import compiled
from detectors.forecast.onset import NAMES, onsets
from detectors.robust import row_median

# A warning is about the next two hours.
AHEAD_S = 7200.0
SPANS_MIN = (20, 40, 60, 120, 240, 480)
# Changes over these spans are the series' habits; longer history than 12 hours is not looked at.
HABITS_MIN = (30, 120)
HISTORY_S = 12 * 3600.0
# What happened in the last two hours is the news, not the habit it is held against.
NEWS_MIN = 120
LEVEL_READINGS = 5
# A line needs a quarter of an hour of readings.
MIN_SPAN_S = 900.0
FEATURES = (
    *(f"{name}_{span}min" for span in SPANS_MIN for name in ("reach", "noise", "straight")),
    *(f"{name}_{span}min" for span in HABITS_MIN for name in ("largest", "usual")),
    "shake",
    "peak",
    *NAMES,
)
REACH = FEATURES.index("onset_reach")
RISEN, NOISE = FEATURES.index("onset_risen"), FEATURES.index("onset_noise")
# Logs of a rise over its noise (7 and 20 times) between which it goes from lost in it to clean.
# Chosen by cross-validation among development series, see warning_learning.
LOST, CLEAN = 2.0, 3.0
# Features of which more may only make a crossing likelier.
RISING = tuple(
    name.startswith(("reach", "straight", "onset_reach", "onset_sure", "onset_risen"))
    for name in FEATURES
)
# Room never counts as less than this share of the limit: beyond it, all is noise.
MIN_ROOM = 0.005


def evidence(
    value: NDArray[np.floating[Any]], limit: float | Floats, *, step_s: float, bad: Bad
) -> Floats:
    """Return (S, F) features in the order of ``FEATURES``; NaN where readings are too few.

    value: (S, T) on an even grid of ``step_s``, NaN for gaps, newest last
    limit: one for all or (S,) one each
    reach: share of the room that the line through the span covers in two hours; noise: log of the
    residual's sigma over the room; straight: r^2 with the slope's sign; largest, usual: log of the
    largest and the root-mean-square change before the last two hours over the room; shake: the same
    for one step; peak: how much of the room was once used up before the last two hours; onset:
    see ``onset``.
    """
    side = -1.0 if bad is Bad.LOW else 1.0
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), (len(value),))
    keep = max(2, int(HISTORY_S / step_s) + 1)
    y = side * np.asarray(value[:, -keep:], dtype=np.float64)
    level = row_median(y[:, -LEVEL_READINGS:])
    scale = np.maximum(np.abs(limits), np.abs(level))
    room = np.maximum(side * limits - level, MIN_ROOM * np.maximum(scale, 1e-12))
    # Differences from the present level: large offsets would cost digits in the sums.
    y = (y - level[:, None]) / room[:, None]
    return np.column_stack([*_lines(y, step_s), *_habits(y, step_s), onsets(y, step_s, AHEAD_S)])


def time_to_limit(features: Floats) -> Floats:
    """Return (...) seconds until the line of the present rise reaches the limit; infinite: never.

    On development series the true time was 0.8 to 1.2 times as long (80 % of crossings), where the
    median of the lines through 1, 2 and 4 hours was off by 0.4 to 1.3: those see a rise too late.
    """
    reach = features[..., REACH]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(reach > 0, AHEAD_S / reach, np.inf))


def cleanness(features: Floats) -> Floats:
    """Return (...) how far the present rise stands out from the noise along it: 0 to 1.

    The swings of a busy GPU are as steep as a volume that fills, but not as straight.
    """
    above = features[..., RISEN] - features[..., NOISE]
    return np.asarray(np.clip((above - LOST) / (CLEAN - LOST), 0.0, 1.0))


def _lines(y: Floats, step_s: float) -> Iterator[Floats]:
    """Yield reach, noise and straightness of each span's least-squares line, as (S,) each."""
    length = y.shape[1]
    columns = np.array([min(length, max(1, round(span * 60.0 / step_s))) for span in SPANS_MIN])
    totals = np.empty((len(SPANS_MIN), 6, len(y)))
    _sums(y, columns, totals)
    for column, total in zip(columns.tolist(), totals, strict=True):
        yield from _line(total, min(column, round(MIN_SPAN_S / step_s)), AHEAD_S / step_s)


@compiled
def _sums(y: Floats, columns: Ints, totals: Floats) -> None:
    """Write (spans, 6, S) count, t, t^2, y, ty, y^2 of the newest readings; t is 0 at the last."""
    last = y.shape[1] - 1
    for row in range(len(y)):
        n = t = tt = total = ty = yy = 0.0
        span = 0
        for back in range(y.shape[1]):
            one = y[row, last - back]
            if np.isfinite(one):
                n, t, tt = n + 1.0, t - back, tt + float(back) * back
                total, ty, yy = total + one, ty - back * one, yy + one * one
            while span < len(columns) and back + 1 == columns[span]:
                totals[span, 0, row], totals[span, 1, row], totals[span, 2, row] = n, t, tt
                totals[span, 3, row], totals[span, 4, row], totals[span, 5, row] = total, ty, yy
                span += 1
            if span == len(columns):
                break


def _line(total: Floats, needed: int, ahead: float) -> tuple[Floats, Floats, Floats]:
    count, t, tt, y, ty, yy = total
    n = np.maximum(count, 1.0)
    vt, cty, vy = tt - t * t / n, ty - t * y / n, np.maximum(yy - y * y / n, 0.0)
    slope = np.divide(cty, vt, out=np.zeros_like(vt), where=vt > 1e-9)
    left = np.maximum(vy - slope * cty, 0.0)
    short = count < needed
    straight = np.sign(slope) * (1.0 - left / np.maximum(vy, 1e-12))
    noise = np.log(np.maximum(np.sqrt(left / np.maximum(n - 2.0, 1.0)), 1e-4))
    reach = np.clip(slope * ahead, -3.0, 5.0)
    return tuple(np.where(short, np.nan, one) for one in (reach, noise, straight))  # type: ignore[return-value]


def _habits(y: Floats, step_s: float) -> Iterator[Floats]:
    """Yield how the series moved before the news; as restless as the room where that is unknown."""
    news = round(NEWS_MIN * 60.0 / step_s)
    old = y[:, : max(0, y.shape[1] - news)]
    for span in HABITS_MIN:
        largest, usual = _changes(old, max(1, round(span * 60.0 / step_s)))
        yield _log(largest)
        yield _log(usual)
    yield _log(_changes(y, 1)[1])
    yield np.clip(np.nan_to_num(_highest(old), nan=1.0), -3.0, 3.0)


@compiled
def _changes(y: Floats, lag: int) -> tuple[Floats, Floats]:
    """Return (S,) the largest and the root-mean-square change over so many readings, or NaN."""
    largest, usual = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for row in range(len(y)):
        top, energy, count = -np.inf, 0.0, 0
        for at in range(lag, y.shape[1]):
            change = y[row, at] - y[row, at - lag]
            if np.isfinite(change):
                top, energy, count = max(top, change), energy + change * change, count + 1
        if count:
            largest[row], usual[row] = top, np.sqrt(energy / count)
    return largest, usual


@compiled
def _highest(y: Floats) -> Floats:
    highest = np.full(len(y), np.nan)
    for row in range(len(y)):
        for at in range(y.shape[1]):
            if np.isfinite(y[row, at]) and not y[row, at] <= highest[row]:
                highest[row] = y[row, at]
    return highest


def _log(size: Floats) -> Floats:
    return np.asarray(np.nan_to_num(np.log(np.clip(size, 1e-3, 1e2)), nan=0.0))
