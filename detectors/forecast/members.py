"""The forecasters of the pool, each for all series in one pass.

A member answers NaN where it has too little to go on; the combination then does without it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from detectors.forecast.averages import mean_of
from detectors.forecast.grid import thinned
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.prophet.settings import ProphetSettings
from detectors.robust import row_median

HOUR_S = 3600.0
DAY_S = 86_400.0
# A level or a line rests on at least this many readings' room, however coarse the grid.
MIN_STEPS = 3
# A line through less of its span than this swings with the noise.
LINE_SHARE = 0.5
# Readings that a median of the whole window looks at: every so-many-th, enough for a median.
SAMPLE = 240
# Half the width of what "at this time yesterday" averages over.
AROUND_S = 900.0


def _last(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the newest reading."""
    recent = _tail(value, step_s, HOUR_S)
    known = np.isfinite(recent)
    newest = recent.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return _flat(recent[np.arange(len(recent)), newest], lead)


def _level(span_s: float) -> "Member":
    """Make a member: the median of the last ``span_s``."""

    def level(value: Floats, step_s: float, lead: Floats) -> Floats:
        return _flat(row_median(_tail(value, step_s, span_s)), lead)

    return level


def _hour_mean(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the mean of the last hour."""
    return _flat(mean_of(_tail(value, step_s, HOUR_S), axis=1), lead)


def _window_median(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the median of the whole window."""
    stride = max(1, value.shape[1] // SAMPLE)
    return _flat(row_median(value[:, ::-stride]), lead)


def _window_mean(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the mean of the whole window."""
    return _flat(mean_of(value, axis=1), lead)


def _line(span_s: float) -> "Member":
    """Make a member: the least-squares line through the last ``span_s``, extrapolated."""

    def line(value: Floats, step_s: float, lead: Floats) -> Floats:
        recent = _tail(value, step_s, span_s)
        known = np.isfinite(recent)
        t = np.arange(-recent.shape[1], 0) + 1.0
        weight = known.astype(np.float64)
        y = np.where(known, recent, 0.0)
        count = np.maximum(weight.sum(axis=1), 1.0)
        mean_t, mean_y = weight @ t / count, y.sum(axis=1) / count
        spread = weight @ (t * t) - count * mean_t**2
        slope = (y @ t - count * mean_t * mean_y) / np.maximum(spread, 1e-9)
        found = (mean_y - slope * mean_t)[:, None] + slope[:, None] * (lead / step_s)
        enough = count >= max(MIN_STEPS, LINE_SHARE * span_s / step_s)
        return np.where(enough[:, None], found, np.nan)

    return line


def _day_ago(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return what was read about one day before each time; NaN where the window is shorter."""
    return _around_yesterday(value, step_s, lead)


def _day_ago_from_here(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the level now, and yesterday's change from this time of day on."""
    now = _around_yesterday(value, step_s, np.zeros(1))
    level = row_median(_tail(value, step_s, 2 * AROUND_S))[:, None]
    return level + _around_yesterday(value, step_s, lead) - now


def _day_mean(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return the mean of the same time on all days of the window; NaN with under two."""
    day = round(DAY_S / step_s)
    days = value.shape[1] // day
    if days < 2:
        return np.full((len(value), len(lead)), np.nan)
    folded = value[:, -days * day :].reshape(len(value), days, day)
    mean = mean_of(folded, axis=1)
    return _averaged(np.concatenate([mean, mean], axis=1), step_s, lead, begin=0)


# (S, T) readings, their step in seconds, (H,) leads in seconds -> (S, H)
Member = Callable[[Floats, float, Floats], Floats]

CHEAP: dict[str, Member] = {
    "last": _last,
    "level_10m": _level(600.0),
    "level_30m": _level(1800.0),
    "mean_1h": _hour_mean,
    "median": _window_median,
    "mean": _window_mean,
    "linear_1h": _line(HOUR_S),
    "linear_4h": _line(4 * HOUR_S),
    "day_ago": _day_ago,
    "day_ago_from_here": _day_ago_from_here,
    "day_mean": _day_mean,
}


# Fleet Prophet: facebook's default stiffness; a tenth of it, the best on GPU telemetry of those
# tried (facts: 0.5, 0.05, 0.005); and the newest four hours alone. "ar": the residual fades out.
PROPHETS = ("prophet_ar", "prophet", "prophet_stiff_ar", "prophet_stiff", "prophet_4h_ar")
STIFF = 0.005
# Points that Prophet sees: fitting them takes 0.03 ms, and a two-hour forecast needs no more.
PROPHET_POINTS = 480
SHORT_S = 4 * HOUR_S
# A trend of fewer points, or of a shorter time, runs away: on the first half hour of recorded
# series Prophet's errors were 5 to 4,000 times the last value's.
TREND_POINTS = 20
TREND_S = 2 * HOUR_S

NAMES = (*CHEAP, *PROPHETS)
LAST, DAY_AGO, LEVEL = (NAMES.index(name) for name in ("last", "day_ago", "level_30m"))


def expected(value: Floats, step_s: float, lead_s: Floats) -> Floats:
    """Return (M, S, H) what each of NAMES expects at ``lead_s`` after the last column.

    value: (S, T) NaN for gaps; lead_s: (H,) increasing, above 0
    """
    cheap = [member(value, step_s, lead_s) for member in CHEAP.values()]
    return np.stack([*cheap, *_prophets(value, step_s, lead_s)])


def _prophets(value: Floats, step_s: float, lead_s: Floats) -> list[Floats]:
    """Return what the PROPHETS expect."""
    time_s, points = thinned(np.arange(1.0 - value.shape[1], 1.0) * step_s, value, PROPHET_POINTS)
    if len(time_s) < 2:
        return [np.full((len(value), len(lead_s)), np.nan)] * len(PROPHETS)
    usual = FleetProphet(ProphetSettings()).fit(time_s, points)
    stiff = FleetProphet(ProphetSettings(changepoint_prior_scale=STIFF)).fit(time_s, points)
    since = min(int(np.searchsorted(time_s, -SHORT_S)), len(time_s) - 2)
    short = FleetProphet(ProphetSettings()).fit(time_s[since:], points[:, since:])
    whole, part = _has_trend(time_s, points), _has_trend(time_s[since:], points[:, since:])
    return [
        np.where(enough[:, None], said, np.nan)
        for enough, said in (
            (whole, usual.forecast(lead_s)),
            (whole, usual.mean_at(lead_s)),
            (whole, stiff.forecast(lead_s)),
            (whole, stiff.mean_at(lead_s)),
            (part, short.forecast(lead_s)),
        )
    ]


def _has_trend(time_s: Floats, points: Floats) -> NDArray[np.bool_]:
    """Say which of (S, N) points are enough, over long enough, for a trend."""
    known = np.isfinite(points)
    begun = known.argmax(axis=1)
    long = time_s[-1] - time_s[begun] >= TREND_S
    return np.asarray((known.sum(axis=1) >= TREND_POINTS) & long)


def _tail(value: Floats, step_s: float, span_s: float) -> Floats:
    steps = max(MIN_STEPS, round(span_s / step_s))
    return value[:, -steps:]


def _flat(level: Floats, lead: Floats) -> Floats:
    return np.repeat(level[:, None], len(lead), axis=1)


def _around_yesterday(value: Floats, step_s: float, lead: Floats) -> Floats:
    """Return (S, H) means of AROUND_S to either side of a day before each lead."""
    day = round(DAY_S / step_s)
    if value.shape[1] < day:
        return np.full((len(value), len(lead)), np.nan)
    return _averaged(value, step_s, lead, begin=value.shape[1] - 1 - day)


def _averaged(value: Floats, step_s: float, lead: Floats, *, begin: int) -> Floats:
    """Return (S, H) means around column ``begin`` + lead."""
    half = max(1, round(AROUND_S / step_s))
    middle = begin + np.rint(lead / step_s).astype(np.int64)
    first = np.maximum(int(middle.min()) - half, 0)
    part = value[:, first : int(middle.max()) + half + 1]
    known = np.isfinite(part)
    total = _running(np.where(known, part, 0.0))
    count = _running(known.astype(np.float64))
    low = np.clip(middle - half - first, 0, part.shape[1])
    high = np.clip(middle + half + 1 - first, 0, part.shape[1])
    size = count[:, high] - count[:, low]
    mean = (total[:, high] - total[:, low]) / np.maximum(size, 1.0)
    return np.where(size > 0, mean, np.nan)


def _running(value: Floats) -> Floats:
    """Return (S, T + 1) sums of what comes before each column."""
    return np.concatenate([np.zeros((len(value), 1)), np.cumsum(value, axis=1)], axis=1)
