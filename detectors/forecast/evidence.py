"""What one series' past says about reaching its limit, in numbers that mean the same on any metric.

Every length is measured in the room between the present level and the limit, so a leak in a disk
and one in a GPU's memory look alike. Lines through spans of 20 minutes to 8 hours are drawn at
once from running sums; the rest are changes the series is known to make, against which a rise is
news or not.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from core.units import Bad
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
WEIGHED = tuple(SPANS_MIN.index(span) for span in (60, 120, 240))
FEATURES = (
    *(f"{name}_{span}min" for span in SPANS_MIN for name in ("reach", "noise", "straight")),
    *(f"{name}_{span}min" for span in HABITS_MIN for name in ("largest", "usual")),
    "shake",
    "peak",
)
# Features of which more may only make a crossing likelier.
RISING = tuple(name.startswith(("reach", "straight")) for name in FEATURES)
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
    for one step; peak: how much of the room was once used up before the last two hours.
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
    return np.stack([*_lines(y, step_s), *_habits(y, step_s)], axis=1)


def times_to_limit(features: Floats) -> Floats:
    """Return (S, 6) seconds until the line of each span reaches the limit; infinite: never."""
    reach = features[:, : 3 * len(SPANS_MIN) : 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(reach > 0, AHEAD_S / reach, np.inf))


def usual_time_to_limit(times_s: Floats) -> Floats:
    """Return (S,) the median of what the lines through 1, 2 and 4 hours say; infinite: never.

    times_s: (S, 6) what ``times_to_limit`` returned; shorter lines swing, longer ones lag
    """
    finite = np.where(np.isfinite(times_s[:, WEIGHED]), times_s[:, WEIGHED], np.nan)
    return np.asarray(np.nan_to_num(row_median(finite), nan=np.inf))


def _lines(y: Floats, step_s: float) -> Iterator[Floats]:
    """Yield reach, noise and straightness of each span's least-squares line, as (S,) each.

    Sums are taken over the pieces between the spans' starts and added up from the newest.
    """
    length = y.shape[1]
    at = np.arange(length) - (length - 1.0)
    known = np.isfinite(y)
    filled = np.where(known, y, 0.0)
    columns = [min(length, max(1, round(span * 60.0 / step_s))) for span in SPANS_MIN]
    powers = np.stack([np.ones(length), at, at**2])
    total = np.zeros((6, len(y)))
    for newer, older in pairwise((0, *columns)):
        piece = slice(length - older, length - newer)
        mask, part, power = known[:, piece].astype(np.float64), filled[:, piece], powers[:, piece]
        total[:3] += power @ mask.T
        total[3:5] += power[:2] @ part.T
        total[5] += np.einsum("st,st->s", part, part)
        yield from _line(total, min(older, round(MIN_SPAN_S / step_s)), AHEAD_S / step_s)


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
        steps = max(1, round(span * 60.0 / step_s))
        change = old[:, steps:] - old[:, :-steps]
        yield _log(_largest(change))
        yield _log(_root_mean_square(change))
    yield _log(_root_mean_square(np.diff(y, axis=1)))
    yield np.clip(np.nan_to_num(_largest(old), nan=1.0), -3.0, 3.0)


def _log(size: Floats) -> Floats:
    return np.asarray(np.nan_to_num(np.log(np.clip(size, 1e-3, 1e2)), nan=0.0))


def _largest(change: Floats) -> Floats:
    if not change.shape[1]:
        return np.full(len(change), np.nan)
    top = np.where(np.isfinite(change), change, -np.inf).max(axis=1)
    return np.asarray(np.where(np.isfinite(top), top, np.nan))


def _root_mean_square(change: Floats) -> Floats:
    known = np.isfinite(change)
    filled = np.where(known, change, 0.0)
    energy = np.einsum("st,st->s", filled, filled)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(energy / known.sum(axis=1)))
