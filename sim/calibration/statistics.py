"""The statistics that calibration needs, as pure functions: intervals, counts, gaps, lifetimes.

Shapes: (N,) unless said otherwise; times in one unit of the caller's choice.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from core.types import Floats, Ints

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate with the interval that holds the truth in ``LEVEL`` of cases."""

    value: float
    low: float
    high: float

    def holds(self, other: float) -> bool:
        """Say whether another figure lies within."""
        return self.low <= other <= self.high


def poisson_interval(count: float, *, level: float = LEVEL) -> Interval:
    """Return a Poisson count's exact interval (Garwood, 1936)."""
    tail = (1 - level) / 2
    low = float(special.gammaincinv(count, tail)) if count > 0 else 0.0
    return Interval(count, low, float(special.gammaincinv(count + 1, 1 - tail)))


def share_interval(count: float, of: float, *, level: float = LEVEL) -> Interval:
    """Return a share's exact interval (Clopper and Pearson, 1934); 0 to 1 of nothing."""
    if of <= 0:
        return Interval(math.nan, 0.0, 1.0)
    tail = (1 - level) / 2
    low = float(special.betaincinv(count, of - count + 1, tail)) if count > 0 else 0.0
    high = float(special.betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return Interval(count / of, low, high)


def mean_interval(values: Floats, *, level: float = LEVEL) -> Interval:
    """Return the mean of independent runs with Student's interval; of one run, all of the line."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach)


def bonferroni(tests: int, *, level: float = LEVEL) -> float:
    """Return the level of each of several tests so that all hold together at ``level``."""
    return 1 - (1 - level) / tests


class NegativeBinomial(NamedTuple):
    """Counts that scatter more than Poisson's: their mean, the gamma's shape k, the gain in nats.

    The variance is mean + mean^2 / k; 1 / k is the variance of the gamma frailty behind it.
    """

    mean: float
    k: float
    nats: float


def negative_binomial(counts: Ints) -> NegativeBinomial:
    """Fit counts by maximum likelihood; k is inf where they scatter no more than Poisson's."""
    mean = float(np.mean(counts))
    poisson = float(np.sum(counts * math.log(mean) - special.gammaln(counts + 1.0))) - mean * len(
        counts
    )
    if np.var(counts) <= mean:
        return NegativeBinomial(mean, math.inf, 0.0)

    def slope(k: float) -> float:
        first = float(np.sum(special.digamma(counts + k))) - len(counts) * float(special.digamma(k))
        return first - len(counts) * math.log1p(mean / k)

    k = root(slope, 1e-3, 1e4)
    share = mean / (mean + k)
    terms = special.gammaln(counts + k) - special.gammaln(counts + 1.0) - special.gammaln(k)
    fitted = float(np.sum(terms + counts * math.log(share))) + len(counts) * k * math.log1p(-share)
    return NegativeBinomial(mean, k, fitted - poisson)


def variance_to_mean(counts: Ints) -> float:
    """Return the index of dispersion: 1 of Poisson counts."""
    return float(np.var(counts, ddof=1) / np.mean(counts))


def top_share(counts: Ints, share: float) -> float:
    """Return what the most afflicted ``share`` of units have of all counts."""
    most = np.sort(counts)[::-1]
    return float(most[: max(1, round(share * len(most)))].sum() / most.sum())


def gaps(unit: Ints, start: Floats, end: Floats) -> Floats:
    """Return the time from each repair to the next fault of that unit; inf where none came.

    unit, start, end: (F,) of each fault; nan as end: it was not repaired and gives no gap
    """
    order = np.lexsort((start, unit))
    unit, start, end = unit[order], start[order], end[order]
    edges = np.flatnonzero(np.diff(unit)) + 1
    found = [np.empty(0)]
    for starts, ends in zip(np.split(start, edges), np.split(end, edges), strict=True):
        repaired = ends[~np.isnan(ends)]
        following = np.append(starts, math.inf)[np.searchsorted(starts, repaired, side="left")]
        found.append(following - repaired)
    return np.concatenate(found)


def relapse_share(gap: Floats, within: float) -> Interval:
    """Return the share of repairs after which the unit failed again within that time."""
    return share_interval(float(np.sum(gap < within)), len(gap))


def company_share(unit: Ints, start: Floats, within: float) -> Interval:
    """Return the share of faults with another unit's fault starting at most that far away."""
    order = np.argsort(start, kind="stable")
    unit, start = unit[order], start[order]
    low = np.searchsorted(start, start - within, side="left")
    high = np.searchsorted(start, start + within, side="right")
    beside = sum(
        bool(np.any(unit[first:last] != own))
        for first, last, own in zip(low, high, unit, strict=True)
    )
    return share_interval(beside, len(start))


def lognormal(times: Floats) -> tuple[float, float]:
    """Return mu and sigma of positive times' logarithms, by maximum likelihood."""
    logs = np.log(times)
    return float(np.mean(logs)), float(np.std(logs))


def weibull_shape(times: Floats) -> float:
    """Return the shape of positive times by maximum likelihood: 1 is exponential."""
    logs = np.log(times)
    logs = logs - logs.max()

    def slope(k: float) -> float:
        weights = np.exp(k * logs)
        return float(np.sum(weights * logs) / np.sum(weights) - 1 / k - np.mean(logs))

    return root(slope, 1e-3, 1e3)


def quantile_interval(values: Floats, share: float, *, level: float = LEVEL) -> Interval:
    """Return a quantile with its distribution-free interval, from the order statistics."""
    ordered = np.sort(values)
    spread = math.sqrt(len(ordered) * share * (1 - share)) * float(special.ndtri((1 + level) / 2))
    middle = len(ordered) * share
    low = max(0, math.floor(middle - spread))
    high = min(len(ordered) - 1, math.ceil(middle + spread))
    return Interval(float(np.quantile(ordered, share)), float(ordered[low]), float(ordered[high]))


def least_of_parabola(x: Floats, y: Floats) -> float:
    """Return where the parabola through points (least squares) has its extreme; nan: nowhere."""
    square, linear, _ = np.polyfit(x, y, 2)
    return -linear / (2 * square) if square else math.nan


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return where a monotonous function of a positive number crosses 0, by halving its log."""
    sign = f(low) > 0
    for _ in range(200):
        middle = math.sqrt(low * high)
        if (f(middle) > 0) is sign:
            low = middle
        else:
            high = middle
        if high / low < 1 + 1e-12:
            break
    return math.sqrt(low * high)


def ettr(
    failures_a_s: float, *, interval_s: float, restart_s: float, write_s: float = 0.0
) -> float:
    """Return the expected share of a job's time that is useful (Kokolis et al., HPCA 2025).

    failures_a_s: of the whole job, N_nodes times r_f; interval_s: between checkpoints; restart_s:
    from a failure until steps are made again; write_s: all ranks wait for each checkpoint

    First order: it holds where few failures come in an interval.
    """
    lost = failures_a_s * (restart_s + interval_s / 2)
    return (1 - lost) / (1 + write_s / interval_s)


def best_interval_s(failures_a_s: float, write_s: float) -> float:
    """Return the interval that wastes least: Young's square root (CACM 1974)."""
    return math.sqrt(2 * write_s / failures_a_s)
