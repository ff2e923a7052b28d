"""When each series of a fleet crosses its limit for good, from its forecast's mean and band.

A future of a series is its mean plus z times the half band on that side, z being a path of unit
normals that hang together from step to step: a level that is off by then was off the step before
(the share of the variance that was there already), times the persistence of the series' own noise.
The paths are drawn once from a fixed seed, in pairs of opposite sign, and shared by all series: the
same forecast gives the same answer, and two series are compared by the same luck. Series whose
limit is out of reach are not walked.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from core.types import Floats
from core.units import Bad
from detectors.compiled import compiled
from detectors.forecast.task import Crossings

# Futures of a series: a probability of one half is then known to 0.02 (one sigma).
PATHS = 512
SEED = 7
# Of the crossing time, given that it comes: an 80 % interval and the median.
QUANTILES = (0.1, 0.5, 0.9)
# A limit further away than this many sigmas at every step is out of reach: one in 30,000 a step.
REACH = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """What is expected of S series, in the metric's base unit.

    now_s, now (S,): the newest reading, NaN where there is none
    time_s: (H,) increasing; mean, lower, upper: (S, H); a row with NaN is not forecast
    coverage: share of readings that fall between lower and upper
    persistence: (S,) in [0, 1]: share of a deviation from the mean that is left a step later;
                 1: deviations never fade, as with a random walk
    """

    now_s: float
    now: Floats
    time_s: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    coverage: float
    persistence: Floats | float = 1.0


def crossings(
    ahead: Ahead, limit: float | Floats, *, bad: Bad = Bad.HIGH, sustain_s: float = 60.0
) -> Crossings:
    """Return how likely each of S series crosses its limit within the horizon, and when.

    limit: one for all or (S,) one each; NaN: none, and the answer is NaN
    A crossing counts when it lasts ``sustain_s`` or to the end of the horizon; between two steps
    its time is interpolated. Where the newest reading is beyond the limit already, a path counts
    when it comes back and crosses again: see ``standing`` for crossings that are old news.
    Cost: about 0.2 CPU-ms a series whose limit is within reach, 1 us for others.
    """
    series, steps = ahead.mean.shape
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), (series,))
    answer = np.full((4, series), np.nan)
    if bad is Bad.NEITHER or not steps:
        return Crossings(*answer)
    side = -1.0 if bad is Bad.LOW else 1.0
    excess, over, under = _toward_limit(ahead, limits, bad)
    known = np.isfinite(excess).all(axis=1) & np.isfinite(over).all(axis=1)
    answer[0, known] = 0.0
    rows = np.flatnonzero(known & (excess + REACH * over >= 0).any(axis=1))
    if rows.size:
        now = side * (ahead.now[rows] - limits[rows])
        first = np.empty((len(rows), PATHS))
        _walk(
            _unit_normals(steps),
            (excess[rows], over[rows], under[rows], _hang_together(ahead, over)[rows]),
            np.where(np.isfinite(now), now, excess[rows, 0]),
            (np.asarray(ahead.time_s, dtype=np.float64), float(ahead.now_s), float(sustain_s)),
            first,
        )
        answer[:, rows] = summary(first)
    probability, earliest, expected, latest = answer
    return Crossings(probability, expected, earliest, latest)


def summary(first_s: Floats) -> Floats:
    """Return (4, R): probability and 10, 50, 90 % quantiles of crossing times (R, K), NaN never."""
    count = np.isfinite(first_s).sum(axis=1)
    ordered = np.sort(first_s, axis=1)
    place = np.maximum(count - 1, 0) * np.asarray(QUANTILES)[:, None]
    low = np.floor(place).astype(np.int64)
    row = np.arange(len(first_s))
    below, above = ordered[row, low], ordered[row, np.minimum(low + 1, np.maximum(count - 1, 0))]
    times = below + (place - low) * (above - below)
    return np.concatenate([(count / first_s.shape[1])[None], times])


def standing(
    time_s: Floats, value: Floats, limit: float | Floats, *, bad: Bad, sustain_s: float = 60.0
) -> Floats:
    """Return (S,) since when a series is beyond its limit, if for ``sustain_s`` by now; else NaN.

    time_s: (T,); value: (S, T), NaN for gaps, which do not end a run; limit: NaN: none
    """
    series, length = value.shape
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), (series,))[:, None]
    side = -1.0 if bad is Bad.LOW else 1.0
    known = np.isfinite(value) & np.isfinite(limits)
    good = known & (side * (value - limits) < 0)
    after = np.where(good.any(axis=1), length - np.argmax(good[:, ::-1], axis=1), 0)
    beyond = known & (np.arange(length) >= after[:, None])
    since = np.where(beyond.any(axis=1), time_s[np.argmax(beyond, axis=1)], np.nan)
    held = (time_s[-1] - since >= sustain_s) & (bad is not Bad.NEITHER)
    return np.asarray(np.where(held, since, np.nan))


def _toward_limit(ahead: Ahead, limits: Floats, bad: Bad) -> tuple[Floats, Floats, Floats]:
    """Return (S, H) each: how far the mean is beyond the limit, one sigma onwards, one back."""
    sigmas = NormalDist().inv_cdf((1 + ahead.coverage) / 2)
    up = np.maximum(ahead.upper - ahead.mean, 0.0) / sigmas
    down = np.maximum(ahead.mean - ahead.lower, 0.0) / sigmas
    if bad is Bad.LOW:
        return limits[:, None] - ahead.mean, down, up
    return ahead.mean - limits[:, None], up, down


def _hang_together(ahead: Ahead, sigma: Floats) -> Floats:
    """Return (S, H) the correlation of each step's deviation with that of the step before."""
    persistence = np.broadcast_to(np.asarray(ahead.persistence, float), (len(sigma),))
    share = np.ones_like(sigma)
    before, here = sigma[:, :-1], sigma[:, 1:]
    np.divide(before, here, out=share[:, 1:], where=here > before)
    return np.clip(persistence[:, None] * share, 0.0, 1.0)


@lru_cache(maxsize=4)
def _unit_normals(steps: int) -> Floats:
    half = np.random.default_rng(SEED).standard_normal((PATHS // 2, steps))
    return np.concatenate([half, -half])


@compiled
def _first(path: Floats, before: float, when: tuple[Floats, float, float]) -> float:
    """Return when a path (H,) first rises to 0 for long enough, or to its end; NaN: never."""
    time_s, before_s, sustain_s = when
    begin_s = np.nan
    for step in range(len(path)):
        here, here_s = path[step], time_s[step]
        if here >= 0.0 and before < 0.0:
            begin_s = before_s + before / (before - here) * (here_s - before_s)
        elif here < 0.0 and not np.isnan(begin_s):
            if here_s - begin_s >= sustain_s:
                return begin_s
            begin_s = np.nan
        before, before_s = here, here_s
    return begin_s


@compiled
def _walk(
    normals: Floats,
    series: tuple[Floats, Floats, Floats, Floats],
    excess_now: Floats,
    when: tuple[Floats, float, float],
    first: Floats,
) -> None:
    """Write (R, K) when each path first rises to 0 for long enough; NaN where never."""
    excess, over, under, together = series
    path = np.empty(excess.shape[1])
    for row in range(first.shape[0]):
        for draw in range(first.shape[1]):
            z = 0.0
            for step in range(len(path)):
                keep = together[row, step] if step else 0.0
                z = keep * z + np.sqrt(1.0 - keep * keep) * normals[draw, step]
                sigma = over[row, step] if z > 0 else under[row, step]
                path[step] = excess[row, step] + z * sigma
            first[row, draw] = _first(path, excess_now[row], when)
