"""Move from a point near the optimum to the optimum itself, one series after another.

At a given v the active knots solve a linear system; a knot whose sign would flip on the way
leaves, a knot at rest whose gradient exceeds lambda enters (Lee et al., Efficient sparse coding
algorithms, 2007). With the active knots settled, v moves by Newton's method on its stationarity

    4 v^2 + n v = RSS(v),    d RSS / d v = 2 v p' (G + v L)^-1 p,    p = gradient of the log prior

until neither moves. Two or three rounds are usual after ``path``. What stands at the end meets the
Karush-Kuhn-Tucker conditions to 1e-7 of lambda.

Only arithmetic in a fixed order: the same statistics give the same bits.
"""

from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled
from detectors.forecast.prophet.problem import (
    LEAST_RSS,
    LEAST_VARIANCE,
    PIVOT,
    Quadratic,
    Solution,
    Start,
    Targets,
)

KKT = 1e-7  # the gradient may exceed lambda by this share
NEWTON = 1e-9  # v is settled when it moves by less than this share
# Where next to nothing is left over, RSS is a difference of large numbers, and v moves by that
# rounding for ever: it is settled as well when it moves by less than this, and no less than before.
STUCK = 1e-6
NEWTON_ROUNDS = 30  # after these v moves by its closed form, which never climbs
MAX_ROUNDS = 400


class _Work(NamedTuple):
    """Scratch of one series; ``active`` lists the knots in use in the order of the factor."""

    active: Ints  # (K,)
    sign: Floats  # (K,) by knot; 0 where not in use
    barred: Floats  # (K,) 1 where a knot may not enter
    factor: Floats  # (K, K) Cholesky factor of the active block, lower
    solved: Floats  # (2, K) forward solutions of the factor
    target: Floats  # (K,) where the active knots would be, in the list's order
    gradient: Floats  # (K,) by knot
    shrink: Floats  # (P,) 1 / (e + v)
    smooth: Floats  # (P,) whitened coefficients


@compiled
def polish(
    quadratic: Quadratic, targets: Targets, tau: float, start: Start, solution: Solution
) -> None:
    """Write the MAP of each series to ``solution``."""
    smooth, knots = quadratic.eigen.shape[1], quadratic.knots.shape[1]
    work = _Work(
        np.zeros(knots, np.int64),
        np.zeros(knots),
        np.zeros(knots),
        np.zeros((knots, knots)),
        np.zeros((2, knots)),
        np.zeros(knots),
        np.zeros(knots),
        np.zeros(smooth),
        np.zeros(smooth),
    )
    for s in range(len(targets.which)):
        work.barred[:] = 0.0
        solution.variance[s] = start.variance[s]
        solution.knots[s] = start.knots[s]
        count = 0
        for j in range(knots):
            work.sign[j] = np.sign(start.knots[s, j])
            if work.sign[j] != 0.0:
                work.active[count] = j
                count += 1
        _polish_one(quadratic, targets, (s, count, tau), work, solution)


@compiled
def _variance_of(rss: float, count: float) -> float:
    """Return the root of 4 v^2 + n v = RSS: the best v for that residual."""
    return float(max(2.0 * rss / (count + np.sqrt(count * count + 16.0 * rss)), LEAST_VARIANCE))


@compiled
def _polish_one(
    quadratic: Quadratic,
    targets: Targets,
    series: tuple[int, int, float],
    work: _Work,
    out: Solution,
) -> None:
    """Move from a nearby point to the exact optimum of one series."""
    s, count, tau = series
    variance, rounds, added = out.variance[s], 0, -1
    knots = out.knots[s]
    rss, before = 0.0, np.inf
    while rounds < MAX_ROUNDS:
        rounds += 1
        count = _factorise(quadratic, targets, (s, count, variance, tau), work, knots)
        place = _move(count, work, knots)
        if place >= 0:
            j = work.active[place]
            if j == added:
                work.barred[j] = 1.0
            knots[j] = 0.0
            work.sign[j] = 0.0
            for i in range(place, count - 1):
                work.active[i] = work.active[i + 1]
            count, before = count - 1, np.inf
            continue
        added = -1
        rss, slope = _residual(quadratic, targets, (s, count, variance, tau), work, knots)
        better = _variance_of(rss, targets.readings[s])
        if rounds <= NEWTON_ROUNDS:
            excess = (4.0 * variance + targets.readings[s]) * variance - rss
            bend = 8.0 * variance + targets.readings[s] - slope
            newton = variance - excess / bend if bend > 0.0 else 0.0
            better = newton if newton > 0.1 * better else better
        move = abs(better - variance) / variance
        if move > NEWTON and (move < before or move > STUCK):
            variance, before = max(better, LEAST_VARIANCE), move
            continue
        added = _violated(quadratic, targets, (s, count, variance / tau), work, knots)
        if added < 0:
            break
        work.active[count] = added
        count, before = count + 1, np.inf
    penalty, prior = 0.0, 0.0
    for i in range(len(work.smooth)):
        out.whitened[s, i] = work.smooth[i]
        prior += (work.smooth[i] + targets.offset[s, i]) ** 2
    for j in range(len(knots)):
        penalty += abs(knots[j])
    out.variance[s] = variance
    out.rounds[s] = rounds
    out.loss[s] = (
        0.5 * targets.readings[s] * np.log(variance)
        + 0.5 * rss / variance
        + 2.0 * variance
        + 0.5 * prior
        + penalty / tau
    )


@compiled
def _factorise(
    quadratic: Quadratic,
    targets: Targets,
    state: tuple[int, int, float, float],
    work: _Work,
    knots: Floats,
) -> int:
    """Solve the active knots at this variance to step[0]; a knot that others span is put out."""
    s, count, variance, tau = state
    which = targets.which[s]
    cross, block = quadratic.cross[which], quadratic.knots[which]
    smooth = cross.shape[0]
    for i in range(smooth):
        work.shrink[i] = 1.0 / (quadratic.eigen[which, i] + variance)
    kept, factor = 0, work.factor
    for place in range(count):
        added = work.active[place]
        value = targets.knots[s, added] - variance / tau * work.sign[added]
        for i in range(smooth):
            # smooth holds the knot's column, shrunk, while its row of the factor is made
            work.smooth[i] = work.shrink[i] * cross[i, added]
            value -= work.smooth[i] * (targets.smooth[s, i] - variance * targets.offset[s, i])
        for i in range(kept + 1):
            other = work.active[i] if i < kept else added
            entry = block[added, other]
            for k in range(smooth):
                entry -= work.smooth[k] * cross[k, other]
            for k in range(i):
                entry -= factor[i, k] * factor[kept, k]
            if i < kept:
                factor[kept, i] = entry / factor[i, i]
            else:
                factor[kept, kept] = entry
        if factor[kept, kept] > PIVOT * block[added, added]:
            factor[kept, kept] = np.sqrt(factor[kept, kept])
            work.active[kept] = added
            _forward(kept, value, work.solved[0], factor)
            kept += 1
        else:
            work.barred[added] = 1.0
            work.sign[added] = 0.0
            knots[added] = 0.0
    _backward(kept, work.solved[0], factor, work.target)
    return kept


@compiled
def _move(count: int, work: _Work, knots: Floats) -> int:
    """Go to the solution, or as far as the first knot that would change its sign; return its place.

    -1: the solution is reached.
    """
    share, first = 1.0, -1
    for i in range(count):
        j = work.active[i]
        target = work.target[i]
        if target * work.sign[j] <= 0.0:
            way = knots[j] / (knots[j] - target) if knots[j] != target else 0.0
            if way < share or first < 0:
                share, first = way, i
    for i in range(count):
        j = work.active[i]
        knots[j] += share * (work.target[i] - knots[j]) if first >= 0 else work.target[i] - knots[j]
    return first


@compiled
def _residual(
    quadratic: Quadratic,
    targets: Targets,
    state: tuple[int, int, float, float],
    work: _Work,
    knots: Floats,
) -> tuple[float, float]:
    """Return (RSS, d RSS / d v) at the solution for v, and write the whitened coefficients.

    At the solution Z'(y - Z w) = v p with p the gradient of the log prior, so RSS is
    y'y - w'Z'y - v w'p without another product, and its slope is 2 v p' (G + v L)^-1 p.
    """
    s, count, variance, tau = state
    which = targets.which[s]
    cross = quadratic.cross[which]
    rss, slope = targets.square[s], 0.0
    for i in range(cross.shape[0]):
        value = targets.smooth[s, i] - variance * targets.offset[s, i]
        for place in range(count):
            value -= cross[i, work.active[place]] * knots[work.active[place]]
        value *= work.shrink[i]
        prior = value + targets.offset[s, i]
        work.smooth[i] = value
        rss -= value * (targets.smooth[s, i] + variance * prior)
        slope += prior * prior * work.shrink[i]
    for place in range(count):
        j = work.active[place]
        rss -= knots[j] * (targets.knots[s, j] + variance / tau * work.sign[j])
        value = work.sign[j] / tau
        for i in range(cross.shape[0]):
            value -= cross[i, j] * work.shrink[i] * (work.smooth[i] + targets.offset[s, i])
        _forward(place, value, work.solved[1], work.factor)
        slope += work.solved[1, place] ** 2
    return max(rss, LEAST_RSS * targets.square[s]), 2.0 * variance * slope


@compiled
def _violated(
    quadratic: Quadratic,
    targets: Targets,
    state: tuple[int, int, float],
    work: _Work,
    knots: Floats,
) -> int:
    """Return the idle knot whose gradient exceeds lambda the most, its sign set; -1 for none."""
    s, count, limit = state
    block, cross = quadratic.knots[targets.which[s]], quadratic.cross[targets.which[s]]
    gradient = work.gradient
    gradient[:] = targets.knots[s]
    for i in range(count):
        row = block[work.active[i]]
        value = knots[work.active[i]]
        for j in range(len(gradient)):
            gradient[j] -= value * row[j]
    for i in range(cross.shape[0]):
        for j in range(len(gradient)):
            gradient[j] -= work.smooth[i] * cross[i, j]
    worst, found = limit * (1.0 + KKT), -1
    for j in range(len(gradient)):
        if work.sign[j] == 0.0 and work.barred[j] == 0.0 and abs(gradient[j]) > worst:
            worst, found = abs(gradient[j]), j
    if found >= 0:
        work.sign[found] = 1.0 if gradient[found] > 0.0 else -1.0
    return found


@compiled
def _forward(place: int, value: float, solved: Floats, factor: Floats) -> None:
    """Add one entry to a forward solution."""
    for j in range(place):
        value -= factor[place, j] * solved[j]
    solved[place] = value / factor[place, place]


@compiled
def _backward(count: int, solved: Floats, factor: Floats, out: Floats) -> None:
    """Solve the transposed factor; ``solved`` is left as it is."""
    for i in range(count):
        out[i] = solved[i]
    for i in range(count - 1, -1, -1):
        value = out[i] / factor[i, i]
        out[i] = value
        for j in range(i):
            out[j] -= factor[i, j] * value
