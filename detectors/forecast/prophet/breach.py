"""When series will cross a limit for good: probability and time, from futures all series share.

A future of a series is its mean, plus its rate times a shared path of unit turns, plus its noise
times a shared path of unit noise (see ``intervals`` for the law of both). The paths are drawn once,
from a fixed seed and in pairs of opposite sign, so a refit on the same readings gives the same
answer and two series are compared by the same luck. Series whose limit is out of reach are not
simulated.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.types import Floats
from core.units import Bad
from detectors.compiled import compiled
from detectors.forecast.prophet.intervals import Noise, TrendLaw, half_widths
from detectors.forecast.task import Crossings

# Of the crossing time, given that it comes: median and an 80 % interval.
_QUANTILES = (0.1, 0.5, 0.9)
# Futures of each series; a probability of one half is then known to 0.016 (one sigma).
_PATHS = 1024
_SEED = 1
# A limit that a reading passes with less than 1e-4 at each of 120 steps: 1 % at most in all.
_REACH_COVERAGE = 1 - 2e-4


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is expected of S series and how unsure it is; values in the metric's base unit.

    time_s: (H,) even spacing; mean: (S, H); now_s and now (S,): the newest reading, NaN unknown
    sigma:  (S,) noise; rate: (S,) mean |delta| in the value's unit
    """

    now_s: float
    now: Floats
    time_s: Floats
    mean: Floats
    law: TrendLaw
    sigma: Floats
    rate: Floats
    noise: Noise


def breach(
    outlook: Outlook, limit: float | Floats, *, bad: Bad = Bad.HIGH, sustain_s: float = 60.0
) -> Crossings:
    """Return how likely each series crosses its limit, and when.

    limit: one for all or (S,) one each; NaN: none, and the answer is NaN
    A crossing counts when it lasts ``sustain_s`` or to the end of the horizon. Between two steps
    its time is interpolated. Cost: 0.5 CPU-ms a series whose limit is within reach.
    """
    series = len(outlook.sigma)
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), (series,))
    bad = Bad(bad)
    side = -1.0 if bad is Bad.LOW else 1.0
    answer = np.full((4, series), np.nan)
    known = np.isfinite(limits) & np.isfinite(outlook.mean).all(axis=1) & (bad is not Bad.NEITHER)
    answer[0, known] = 0.0
    excess = side * (outlook.mean - limits[:, None])
    rows = np.flatnonzero(known & _within_reach(outlook, excess))
    if rows.size:
        answer[:, rows] = _simulated(
            outlook, excess, side * (outlook.now - limits), rows, sustain_s
        )
    probability, earliest, expected, latest = answer
    return Crossings(probability, expected, earliest, latest)


def crossings_of(
    paths: Floats, excess_now: float, *, time_s: Floats, now_s: float, sustain_s: float
) -> tuple[float, float, float, float]:
    """Return probability and 10, 50, 90 % quantiles of the time at which paths rise to 0 for good.

    paths: (K, H) possible futures of one series, as excess over its limit
    """
    first = _first_crossings(
        np.ascontiguousarray(paths), excess_now, (now_s, sustain_s), np.asarray(time_s)
    )
    return _summary(first)


def _within_reach(outlook: Outlook, excess: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    width = half_widths(
        outlook.law, outlook.sigma, outlook.rate, coverage=_REACH_COVERAGE, noise=outlook.noise
    )
    return np.asarray((excess + width >= 0).any(axis=1))


def _simulated(
    outlook: Outlook, excess: Floats, excess_now: Floats, rows: np.ndarray, sustain_s: float
) -> Floats:
    """Return (4, R) probability and quantiles for these rows."""
    turns, shocks = _unit_paths(outlook.law)
    noise, shape = outlook.noise, (len(rows), outlook.law.steps)
    gain = np.ones(shape) if noise.gain is None else noise.gain[rows]
    lean = np.zeros(shape) if noise.extra is None else np.sqrt(noise.extra[rows])
    persistence = np.zeros(len(rows)) if noise.persistence is None else noise.persistence[rows]
    out = np.empty((len(rows), _PATHS))
    _simulate(
        (turns, shocks),
        (excess[rows], gain * outlook.rate[rows, None], lean),
        (outlook.sigma[rows], persistence, excess_now[rows]),
        (outlook.time_s, outlook.now_s, sustain_s),
        out,
    )
    return np.array([_summary(first) for first in out]).T


def _summary(first: Floats) -> tuple[float, float, float, float]:
    crossed = first[np.isfinite(first)]
    if not crossed.size:
        return 0.0, np.nan, np.nan, np.nan
    earliest, expected, latest = np.quantile(crossed, _QUANTILES)
    return crossed.size / len(first), float(earliest), float(expected), float(latest)


@lru_cache(maxsize=4)
def _unit_paths(law: TrendLaw) -> tuple[Floats, Floats]:
    """Draw (K, H) paths of unit turns, and (K, 1 + H) unit normals, the first for a whole path."""
    rng = np.random.default_rng(_SEED)
    half = (_PATHS // 2, law.steps)
    turn = rng.laplace(0.0, 1.0, half) * (rng.uniform(size=half) < law.turning)
    before = np.hstack([np.zeros((half[0], 1)), turn[:, :-1]])
    trend = law.step * ((turn + before) / 2).cumsum(axis=1).cumsum(axis=1)
    shocks = rng.standard_normal((half[0], 1 + law.steps))
    return np.concatenate([trend, -trend]), np.concatenate([shocks, -shocks])


@compiled
def _simulate(
    unit: tuple[Floats, Floats],
    shape: tuple[Floats, Floats, Floats],
    each: tuple[Floats, Floats, Floats],
    when: tuple[Floats, float, float],
    out: Floats,
) -> None:
    """Write (R, K) first crossing times; NaN where a path does not cross.

    shape: (R, H) excess of the mean, scale of turns, scale of the parameters' own error
    each:  (R,) noise, its persistence, excess now; when: time_s (H,), now_s, sustain_s
    """
    turns, shocks = unit
    excess, rate, lean = shape
    sigma, persistence, excess_now = each
    time_s, now_s, sustain_s = when
    path = np.empty(len(time_s))
    for row in range(len(sigma)):
        fresh = sigma[row] * np.sqrt(1.0 - persistence[row] ** 2)
        for k in range(len(turns)):
            residual = 0.0
            for h in range(len(time_s)):
                residual = persistence[row] * residual + fresh * shocks[k, h + 1]
                path[h] = (
                    excess[row, h]
                    + rate[row, h] * turns[k, h]
                    + lean[row, h] * shocks[k, 0]
                    + residual
                )
            out[row, k] = _first(path, excess_now[row], now_s, sustain_s, time_s)


@compiled
def _first_crossings(
    paths: Floats, excess_now: float, when: tuple[float, float], time_s: Floats
) -> Floats:
    """Return (K,) the first crossing time of each path, NaN for none."""
    now_s, sustain_s = when
    out = np.empty(len(paths))
    for k in range(len(paths)):
        out[k] = _first(paths[k], excess_now, now_s, sustain_s, time_s)
    return out


@compiled
def _first(
    path: Floats, excess_now: float, now_s: float, sustain_s: float, time_s: Floats
) -> float:
    """Return when the path first rises to 0 to stay there for ``sustain_s``, or NaN."""
    before, before_s, begin_s = excess_now, now_s, np.nan
    for h in range(len(path)):
        if path[h] < 0.0:
            if time_s[h] - begin_s >= sustain_s:
                return begin_s
            begin_s = np.nan
        elif np.isnan(begin_s):
            rise = path[h] - before
            share = min(max(-before / rise, 0.0), 1.0) if rise > 0.0 else 0.0
            share = 1.0 if np.isnan(before) else share
            begin_s = before_s + share * (time_s[h] - before_s)
        before, before_s = path[h], time_s[h]
    return begin_s
