"""95 % intervals over lives: drawn again with replacement within each family, pairs kept together.

Every policy lives the same lives, so a life drawn again brings the losses of all policies with it.
The percentile bootstrap of a ratio of sums (Efron and Tibshirani, 1993, chapters 8 and 13).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints

RESAMPLES = 2000
_SEED = 1
Of = Callable[[tuple[Floats, ...]], Floats]


class Interval(NamedTuple):
    """A figure and its 95 % interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float


def interval(of: Of, parts: Mapping[str, tuple[Floats, ...]]) -> Interval:
    """Return a figure of sums over lives, and its interval.

    of: makes (R,) figures of sums, one (R,) array a column
    parts: of each family its columns, each (lives,): lives are drawn within their family
    """
    whole = of(tuple(np.array([total]) for total in _sums(parts, None)))
    drawn = of(_sums(parts, np.random.default_rng(_SEED)))
    if not np.isfinite(drawn).any() or max(len(each[0]) for each in parts.values()) < 2:
        return Interval(float(whole[0]), float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(float(whole[0]), float(low), float(high))


def mean(parts: Mapping[str, Floats]) -> Interval:
    """Return the mean of a figure over all lives."""
    return interval(_ratio, {family: (each, np.ones(len(each))) for family, each in parts.items()})


def ratio(above: Mapping[str, Floats], below: Mapping[str, Floats]) -> Interval:
    """Return sum(above) / sum(below), the same lives in both: 0.9 is a tenth less."""
    return interval(_ratio, {family: (above[family], below[family]) for family in above})


def even_ratio(above: Mapping[str, Floats], below: Mapping[str, Floats]) -> Interval:
    """Return the geometric mean over families of each family's ratio.

    So a family of large clusters counts no more than one of small ones.
    """
    random = np.random.default_rng(_SEED)
    wholes, drawns = [], []
    for family, column in above.items():
        own = {family: (column, below[family])}
        wholes.append(np.log(_ratio(tuple(np.array([x]) for x in _sums(own, None)))))
        drawns.append(np.log(_ratio(_sums(own, random))))
    low, high = np.quantile(np.exp(np.mean(drawns, axis=0)), [0.025, 0.975])
    return Interval(float(np.exp(np.mean(wholes))), float(low), float(high))


def gap_closed(
    own: Mapping[str, Floats], rule: Mapping[str, Floats], best: Mapping[str, Floats]
) -> Interval:
    """Return how much of the way from a rule to the best there is a policy goes: 0 none, 1 all."""
    return interval(_gap, {family: (own[family], rule[family], best[family]) for family in own})


def _ratio(sums: tuple[Floats, ...]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[0] / sums[1])


def _gap(sums: tuple[Floats, ...]) -> Floats:
    own, rule, best = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((rule - own) / (rule - best))


def _sums(
    parts: Mapping[str, tuple[Floats, ...]], random: np.random.Generator | None
) -> tuple[Floats, ...]:
    """Return each column's sum over all lives: one, or one a resample (RESAMPLES,)."""
    totals: list[Floats] = []
    for columns in parts.values():
        drawn = _drawn(len(columns[0]), random)
        sums = [np.asarray(column[drawn].sum(axis=-1)) for column in columns]
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
    return tuple(totals)


def _drawn(count: int, random: np.random.Generator | None) -> Ints:
    if random is None:
        return np.arange(count)
    return random.integers(count, size=(RESAMPLES, count))
