"""Picks, among thousands of series, those that could reach their limit: only they get a fit."""

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints, Window
from core.units import CATALOG, Bad
from detectors.robust import row_median

# Slopes are medians over pairs of block means: a spike moves one block, not the median.
BLOCKS = 8
# Spans that a slope is taken over, as shares of the window: a leak may have begun just now.
SHARES = (1.0, 0.25)
# A row that began so lately that these spans hold one block of it is looked at more closely.
SHARES_YOUNG = (0.25**2, 0.25**3, 0.25**4)
# How far chance may carry a series: normal quantile of one in a thousand.
CHANCE = 3.1
MIN_READINGS = 4
# A series that lacks all of its newest readings is gone (a volume unmounted): 5 min at 15 s.
FRESH_READINGS = 20
CHUNK = 2048


def screen(window: Window, *, limit: float, horizon_s: float, bad: Bad | None = None) -> Ints:
    """Return the rows that could reach the limit within the horizon, most urgent first.

    window: (S, T) of one metric; a row with fewer than 4 readings, or none of late, is left out
    bad:    which direction is bad; the catalogue's where None
    A row comes first by the time at which its steepest recent slope meets the limit; then the rows
    that only chance could carry there, the nearer the sooner. Cost: a few passes over the window,
    no loop over series.
    """
    bad = CATALOG[window.metric].bad if bad is None else bad
    if np.isnan(limit) or bad is Bad.NEITHER or window.value.shape[1] < MIN_READINGS:
        return np.empty(0, dtype=np.int64)
    sign = -1.0 if bad is Bad.LOW else 1.0
    room, slope, noise = _state(window, limit, sign)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach_s = np.where(room <= 0, 0.0, np.where(slope > 0, room / slope, np.inf))
    spread = CHANCE * noise * np.sqrt(horizon_s)
    by_trend = reach_s <= horizon_s
    by_chance = ~by_trend & (room - np.maximum(slope, 0) * horizon_s <= spread) & (spread > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        urgency = np.where(by_trend, reach_s, horizon_s * (1 + room / spread))
    candidates = np.flatnonzero(by_trend | by_chance)
    return candidates[np.argsort(urgency[candidates], kind="stable")]


def _state(window: Window, limit: float, sign: float) -> tuple[Floats, Floats, Floats]:
    """Return (S,) each: room to the limit, steepest slope to it a second, and the scale of chance.

    Worked through in chunks of rows that stay in the processor's cache. NaN where a row is short.
    """
    rows = len(window.value)
    room, slope, noise = (np.full(rows, np.nan) for _ in range(3))
    for start in range(0, rows, CHUNK):
        part = slice(start, start + CHUNK)
        value = sign * window.value[part].astype(np.float64)
        known = np.isfinite(value)
        enough = known.sum(axis=1) >= MIN_READINGS
        value[~known] = 0.0
        spans = [_slope(value, known, window.time_s, share) for share in SHARES]
        newest = known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
        enough &= newest >= known.shape[1] - FRESH_READINGS
        level = np.where(enough, value[np.arange(len(value)), newest], np.nan)
        room[part] = sign * limit - level
        slope[part] = np.fmax(spans[0][0], spans[1][0])
        noise[part] = spans[0][1]
        _look_closer(value, known, window.time_s, enough, (slope[part], noise[part]))
    return room, slope, noise


def _look_closer(
    value: Floats,
    known: NDArray[np.bool_],
    time_s: Floats,
    enough: NDArray[np.bool_],
    found: tuple[Floats, Floats],
) -> None:
    """Give the rows that began lately a slope and a noise, over as short a span as they have."""
    slope, noise = found
    for share in SHARES_YOUNG:
        young = np.flatnonzero(enough & np.isnan(slope))
        if not young.size:
            return
        slope[young], noise[young] = _slope(value[young], known[young], time_s, share)


def _slope(
    value: Floats, known: NDArray[np.bool_], time_s: Floats, share: float
) -> tuple[Floats, Floats]:
    """Return (S,) the median slope between block means, and their changes' size per root second."""
    blocks = min(BLOCKS, max(MIN_READINGS, int(share * value.shape[1])))
    width = max(1, int(share * value.shape[1]) // blocks)
    end = value.shape[1]
    used = slice(end - blocks * width, end)
    count = known[:, used].reshape(-1, blocks, width).sum(axis=2)
    total = value[:, used].reshape(-1, blocks, width).sum(axis=2)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    middle_s = time_s[used].reshape(blocks, width).mean(axis=1)
    left, right = np.triu_indices(blocks, 1)
    slopes = (mean[:, right] - mean[:, left]) / (middle_s[right] - middle_s[left])
    change = np.diff(mean, axis=1)
    size = np.isfinite(change).sum(axis=1)
    energy = np.where(np.isfinite(change), change, 0.0) ** 2
    variance = energy.sum(axis=1) / np.maximum(size, 1) / (middle_s[1] - middle_s[0])
    return row_median(slopes), np.sqrt(variance)
