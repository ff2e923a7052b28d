"""Whether one reading moves another later: lagged partial correlation, pooled over many targets.

Readings of one time are never independent: jobs, rooms and storage move them together. So evidence
is counted over blocks of time and not over targets: each block of all targets gives one product
of residuals, and Student's t of these says whether they agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.types import Floats

OWN_PAST = 2  # readings of the effect's own past that are held fixed
MOST_BLOCKS = 40
LEAST_BLOCKS = 8  # fewer say nothing about how much blocks differ
_BLOCK_ROWS = 6  # the least a block has, so that neighbours hardly share anything
_MOST_SIGMA, _PASSES = 5.0, 4  # one spike is not many pieces of evidence
_STANDS_STILL = 0.05  # of the mean square of all blocks
_RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Dependence:
    """What the data say of one pair.

    r:      partial correlation at ``lag`` readings, in [-1, 1]; error: its standard error
    p:      chance of a t so large without any dependence, times the lags that were tried
    blocks: blocks of time in which both moved; below LEAST_BLOCKS nothing can be said, p is 1
    """

    r: float
    error: float
    p: float
    lag: int
    blocks: int

    @property
    def excited(self) -> bool:
        """Say whether both moved often enough for an answer."""
        return self.blocks >= LEAST_BLOCKS


NOTHING = Dependence(0.0, math.inf, 1.0, 0, 0)


def standard(value: Floats, *, counter: bool = False) -> Floats:
    """Return (S, T) readings in each series' own sigmas about its mean, clipped at 5; NaN stays.

    A counter becomes its growth between readings; a restart is NaN. A constant series is all NaN:
    it says nothing of any dependence.
    """
    if counter:
        grown = np.diff(value, axis=1, prepend=np.nan)
        value = np.where(grown < 0, np.nan, grown)
    for _ in range(_PASSES):  # a spike must not be the scale of all that is no spike
        mean, sigma = _moments(value)
        value = np.clip(value, mean - _MOST_SIGMA * sigma, mean + _MOST_SIGMA * sigma)
    mean, sigma = _moments(value)
    unit = (value - mean) / np.where(sigma > 1e-9 * (1 + np.abs(mean)), sigma, np.nan)
    return np.asarray(np.clip(unit, -_MOST_SIGMA, _MOST_SIGMA))


def _moments(value: Floats) -> tuple[Floats, Floats]:
    """Return (S, 1) mean and standard deviation of the readings that are there."""
    count = np.maximum(np.isfinite(value).sum(axis=1, keepdims=True), 1)
    mean = np.nansum(value, axis=1, keepdims=True) / count
    return mean, np.sqrt(np.nansum((value - mean) ** 2, axis=1, keepdims=True) / count)


def wanders(value: Floats) -> float:
    """Return the correlation of (S, T) standard readings with those before, median over series.

    Near 0: whatever moves is gone at the next reading, as the noise of measuring is.
    """
    before, now = value[:, :-1], value[:, 1:]
    known = np.isfinite(before) & np.isfinite(now)
    count = known.sum(axis=1)
    products = np.where(known, before * now, 0.0).sum(axis=1) / np.maximum(count, 1)
    return float(np.median(products[count > 0])) if (count > 0).any() else 0.0


def dependence(
    y: Floats, x: Floats, lags: Sequence[int], *, held: Sequence[Floats] = ()
) -> Dependence:
    """Return the strongest dependence of y on x, the lags tried accounted for.

    y, x: (S, T) as ``standard`` makes them; lags: readings that x comes before y, 0 or more
    held: other causes of y, (S, T) each, held fixed now and one reading ago, with the past of both
    Cost: one least-squares fit of S T rows on OWN_PAST + 1 + 2 len(held) columns a lag.
    """
    found = [_at_lag(y, x, lag, held) for lag in lags]
    best = max(found, key=lambda one: abs(one.r) / one.error, default=NOTHING)
    return Dependence(best.r, best.error, min(1.0, best.p * len(found)), best.lag, best.blocks)


def _at_lag(y: Floats, x: Floats, lag: int, held: Sequence[Floats]) -> Dependence:
    first = max(OWN_PAST, lag + 1)
    if y.shape[1] - first < LEAST_BLOCKS * _BLOCK_ROWS:
        return NOTHING
    effect, cause = _back(y, 0, first), _back(x, lag, first)
    fixed = [_back(y, ago, first) for ago in range(1, OWN_PAST + 1)]
    fixed.append(_back(x, lag + 1, first))
    for other in held:
        fixed += [_back(other, 0, first), _back(other, 1, first)]
    known = np.isfinite(effect) & np.isfinite(cause)
    known &= np.isfinite(fixed[0]) & np.isfinite(fixed[OWN_PAST])
    if known.sum() < LEAST_BLOCKS * _BLOCK_ROWS:
        return NOTHING
    design = np.stack([np.nan_to_num(part)[known] for part in fixed], axis=1)
    left = np.zeros((2, *effect.shape))
    left[:, known] = _residuals(design, np.stack([effect[known], cause[known]], axis=1)).T
    return _agreement(left[0], left[1], lag)


def _back(value: Floats, ago: int, first: int) -> Floats:
    return value[:, first - ago : value.shape[1] - ago]


def _residuals(design: Floats, wanted: Floats) -> Floats:
    """Return (N, 2) what a least-squares fit on the columns leaves of both."""
    full = np.concatenate([design, np.ones((len(design), 1))], axis=1)
    gram = full.T @ full + _RIDGE * len(full) * np.eye(full.shape[1])
    return np.asarray(wanted - full @ np.linalg.solve(gram, full.T @ wanted))


def _agreement(y: Floats, x: Floats, lag: int) -> Dependence:
    """Judge by blocks of time whether the residuals (S, T) go together."""
    count = min(MOST_BLOCKS, y.shape[1] // _BLOCK_ROWS)
    bounds = np.linspace(0, y.shape[1], count + 1).astype(np.int64)[:-1]
    products, of_x, of_y = (
        np.add.reduceat(part.sum(axis=0), bounds) for part in (x * y, x * x, y * y)
    )
    # A block in which one of the two stands still, next to what it does elsewhere, is no evidence.
    moved = (of_x > _STANDS_STILL * of_x.mean()) & (of_y > _STANDS_STILL * of_y.mean())
    blocks = int(moved.sum())
    size = math.sqrt(float(of_x.sum() * of_y.sum()))
    if blocks < LEAST_BLOCKS or size <= 0:
        return Dependence(0.0, math.inf, 1.0, lag, blocks)
    part = products[moved] / size
    error = float(part.std(ddof=1)) * math.sqrt(blocks) + 1e-12
    r = float(part.sum())
    return Dependence(r, error, two_sided(r / error, blocks - 1), lag, blocks)


def two_sided(t: float, freedom: int) -> float:
    """Return the chance that Student's t is at least so far from 0.

    Wallace's normal approximation (Ann. Math. Statist. 30, 1959): within 4 % of it up to a t of 5
    at 7 degrees of freedom, and nearer with more.

    >>> round(two_sided(2.262, 9), 3)
    0.05
    """
    narrower = (8 * freedom + 1) / (8 * freedom + 3)
    z = narrower * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.erfc(z / math.sqrt(2))


def discoveries(p: Sequence[float], share: float) -> list[bool]:
    """Say which findings stand if at most ``share`` of them may be false.

    Benjamini and Hochberg, J. R. Statist. Soc. B 57, 1995.
    """
    order = sorted(range(len(p)), key=lambda at: p[at])
    passed = [rank for rank, at in enumerate(order, start=1) if p[at] <= share * rank / len(p)]
    kept = set(order[: max(passed, default=0)])
    return [at in kept for at in range(len(p))]
