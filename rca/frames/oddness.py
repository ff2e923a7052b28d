"""How odd each column is during the trouble, held against windows of its own normal readings.

The mean of the abnormal rows is compared with the means of normal windows of the same length, so
that a column that always wanders is not odd because it wandered again. The level it is measured
from is the nearest to it of three: all normal rows, the rows near the trouble, and those next to
it. A level that had moved before the trouble began is thereby no sign of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from rca.frames.inputs import LEAST_NORMAL_ROWS, Tables
from rca.frames.kinds import TROUBLE, Kind, kind

Bools = NDArray[np.bool_]

FLOOR = 1e-3  # of a column's size: less is rounding
MOST_WINDOWS = 80  # normal windows looked at, evenly spread: more changed no rank here
# Consecutive readings are not independent: a mean of many is held no surer than one of ten.
MOST_INDEPENDENT = 10
NEAR, LEAST_NEAR, LEAST_NEXT = 3, 20, 8  # rows: near = three windows, next = one
COUNTER_RISES = 0.8  # share of the steps at which a counter rises; it never falls
CLEAR = 3.0  # scales: a change smaller than this has no size worth speaking of
MOST_ODD = 1e4  # scales; beyond it only the floor of the scale speaks
MOST_CHANGE = 5.0  # natural logarithm: 150 times
LEAST_PEERS = 4
COLLAPSED = 0.2  # of the normal level
STEADY = 0.3  # of the normal level: a column whose 5th percentile is below it falls often
GONE = 0.5  # share of the scrapes, beyond the normal share, that are lost
COMMON = 0.25  # of the columns of one metric: more are lost together by the scraper


@dataclass(frozen=True, slots=True, eq=False)
class Oddness:
    """What can be said of each of V columns by itself.

    z: (V,) signed distance from normal, in scales of a normal window's mean; 0 where unknown
    own: (V,) unsigned z, less where all columns of this metric are odd
    change: (V,) absolute logarithm of abnormal over normal level; 0 where not clearly odd
    shift: (V,) abnormal less normal level, in the column's unit
    fallen: (V,) whether it collapsed to a fraction of its level or is no longer scraped
    trouble, bad: (V,) whether it is a kind that is passed on, and moved to the bad side
    """

    z: Floats
    own: Floats
    change: Floats
    shift: Floats
    fallen: Bools
    kinds: tuple[Kind, ...]
    names: Ints
    trouble: Bools
    bad: Bools
    normal: Floats
    abnormal: Floats


def oddness(tables: Tables) -> Oddness:
    """Return how odd each column is, and in which way."""
    watched = tables.metric[tables.target]
    kinds = tuple(kind(metric, watched) for metric in tables.metric)
    before, after = _known(*_rates(tables))
    latency = _is(kinds, (Kind.LATENCY,))
    before_log, after_log = _logarithms(before, after, latency)
    z = _distances(before_log, after_log, tables)
    names = _names(tables)
    level, now = median(before), _mean(after)
    fallen = _fallen(before, after, z, names)
    bad = np.where(_is(kinds, (Kind.SUCCESS,)), z < 0, (z > 0) | _is(kinds, (Kind.UNNAMED,)))
    return Oddness(
        z=z,
        own=_beside_peers(np.minimum(np.abs(z), MOST_ODD), names),
        change=np.where(np.abs(z) > CLEAR, _change(level, now), 0.0),
        shift=np.nan_to_num(now - level),
        fallen=fallen,
        kinds=kinds,
        names=names,
        trouble=_is(kinds, TROUBLE),
        bad=bad,
        normal=before_log,
        abnormal=after_log,
    )


def _is(kinds: tuple[Kind, ...], wanted: tuple[Kind, ...]) -> Bools:
    return np.array([each in wanted for each in kinds], dtype=np.bool_)


def _names(tables: Tables) -> Ints:
    """Return (V,) a number for each metric and statistic; equal names have equal numbers."""
    both = [f"{a}|{b}" for a, b in zip(tables.metric, tables.statistic, strict=True)]
    return np.asarray(np.unique(both, return_inverse=True)[1], dtype=np.int64)


def _known(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Blank columns with so few normal readings that nothing is known of their spread."""
    unknown = np.isfinite(before).sum(axis=1) < LEAST_NORMAL_ROWS
    before, after = (np.where(unknown[:, None], np.nan, value) for value in (before, after))
    return before, after


def _rates(tables: Tables) -> tuple[Floats, Floats]:
    """Turn columns that only ever rise into increase per second."""
    step = np.diff(tables.normal, axis=1)
    rises = (step > 0).sum(axis=1) > COUNTER_RISES * max(1, step.shape[1])
    counter = rises & ~(step < 0).any(axis=1)
    if not counter.any() or tables.abnormal.shape[1] < 2:
        return tables.normal, tables.abnormal
    return (
        _rate(tables.normal, tables.normal_s, counter),
        _rate(tables.abnormal, tables.abnormal_s, counter),
    )


def _rate(value: Floats, time_s: Floats, counter: Bools) -> Floats:
    rate = value.copy()
    rate[counter, 1:] = np.diff(value[counter], axis=1) / np.diff(time_s)
    rate[counter, 0] = np.nan
    rate[counter] = np.where(rate[counter] < 0, np.nan, rate[counter])  # a counter began anew
    return rate


def _logarithms(before: Floats, after: Floats, latency: Bools) -> tuple[Floats, Floats]:
    """Take logarithms of latencies: they spread by factors, and a slow one hides the rest."""
    low = np.where(np.isnan(before), np.inf, before).min(axis=1)
    chosen = latency & (low > 0) & np.isfinite(low)
    before, after = before.copy(), after.copy()
    before[chosen] = np.log(before[chosen])
    after[chosen] = np.log(np.maximum(after[chosen], 0.1 * low[chosen, None]))
    return before, after


def _distances(before: Floats, after: Floats, tables: Tables) -> Floats:
    rows, length = before.shape[1], after.shape[1]
    means = window_means(before, length)
    centre, now = median(means), _mean(after)
    scale = scales(before, means, length)
    middle = tables.abnormal_s.mean()
    near = np.argsort(np.abs(tables.normal_s - middle), kind="stable")
    least, all_rows = now - centre, median(before)
    for count in (max(NEAR * length, LEAST_NEAR), max(length, LEAST_NEXT)):
        if count < rows:
            level = median(before[:, near[:count]])
            moved = now - np.where(np.isnan(level), centre, centre + level - all_rows)
            nearer = np.where(np.abs(least) < np.abs(moved), least, moved)
            least = np.where(least * moved > 0, nearer, 0.0)
    return np.asarray(np.nan_to_num(least / scale))


def window_means(value: Floats, length: int) -> Floats:
    """Return (V, W) means of windows of ``length`` rows, of a quarter of all rows at most."""
    rows = value.shape[1]
    length = min(length, max(1, rows // 4))
    start = np.unique(np.linspace(0, rows - length, MOST_WINDOWS).astype(np.int64))
    there = np.isfinite(value)
    total, count = (
        np.concatenate([np.zeros((value.shape[0], 1)), np.cumsum(each, axis=1)], axis=1)
        for each in (np.where(there, value, 0.0), there)
    )
    summed = total[:, start + length] - total[:, start]
    counted = count[:, start + length] - count[:, start]
    return np.where(counted > 0, summed / np.maximum(counted, 1), np.nan)


def scales(value: Floats, means: Floats, length: int) -> Floats:
    """Return (V,) what the mean of ``length`` rows is expected to differ by, with its floors."""
    spread = np.maximum(_sd(means), _sd(value) / np.sqrt(min(length, MOST_INDEPENDENT)))
    floor = FLOOR * np.abs(np.nan_to_num(median(value))) + 1e-12
    return np.asarray(np.maximum(np.maximum(spread, floor), _quantum(value) / 2))


def _quantum(value: Floats) -> Floats:
    """Return (V,) the smallest step between two readings; 0 for a constant column."""
    step = np.diff(np.sort(value, axis=1), axis=1)
    step = np.where(step > 0, step, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(step), step, 0.0)


def _beside_peers(own: Floats, names: Ints) -> Floats:
    """Shrink what all columns of one metric share: no one component's fault moves them all."""
    left = own.copy()
    order = np.argsort(names, kind="stable")
    for peers in np.split(order, np.flatnonzero(np.diff(names[order])) + 1):
        if peers.size >= LEAST_PEERS:
            left[peers] /= np.sqrt(1.0 + np.median(own[peers]) ** 2)
    return left


def _change(level: Floats, now: Floats) -> Floats:
    size = np.abs(np.nan_to_num(level))
    ratio = np.maximum(np.abs(np.nan_to_num(now)), 0.01 * size + 1e-12) / np.maximum(size, 1e-12)
    return np.asarray(np.where(size > 0, np.minimum(np.abs(np.log(ratio)), MOST_CHANGE), 0.0))


def _fallen(before: Floats, after: Floats, z: Floats, names: Ints) -> Bools:
    level = median(before)
    steady = (_percentile(before, 5) > STEADY * level) & (level > 0)
    collapsed = (_mean(after) < COLLAPSED * level) & steady & (np.abs(z) > CLEAR)
    lost = np.isnan(after).mean(axis=1) - np.isnan(before).mean(axis=1) > GONE
    together = np.bincount(names, lost) / np.bincount(names)
    return np.asarray(collapsed | (lost & (together[names] <= COMMON)), dtype=np.bool_)


def median(value: Floats) -> Floats:
    """Return (V,) medians of what there is, NaN where there is nothing."""
    return _percentile(value, 50)


def _percentile(value: Floats, percent: float) -> Floats:
    """Return (V,) percentiles of what there is, NaN where there is nothing; no warning."""
    ordered = np.sort(value, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    place = np.maximum(count - 1, 0) * percent / 100
    low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    row = np.arange(value.shape[0])
    left, right = ordered[row, low], ordered[row, high]
    return np.asarray(left + (right - left) * (place - low))


def _mean(value: Floats) -> Floats:
    there = np.isfinite(value)
    count = there.sum(axis=1)
    total = np.where(there, value, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sd(value: Floats) -> Floats:
    centred = value - _mean(value)[:, None]
    return np.sqrt(np.nan_to_num(_mean(centred**2)))
