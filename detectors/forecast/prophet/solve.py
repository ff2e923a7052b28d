"""The exact MAP of one series after another from its sufficient statistics, in compiled code.

The negative log posterior of prophet.stan, with v = sigma^2, n readings and the scaled series y, is

    n/2 log v + |y - Z w|^2 / (2 v) + 2 v + u' L u / 2 + |d|_1 / tau

where w = (u, d): u are the smooth coefficients (k, m, beta) with the prior precision L, and d are
the K changes of rate. Three facts make it cheap.

1. **Given v, u is linear in d.** With the generalised eigenvectors V of the smooth columns' Gram
   matrix (V' G V = diag(e), V' L V = 1), (G + v L)^-1 = V diag(1 / (e + v)) V' for *every* v. The
   coordinates q = V^-1 u are kept ("whitened"): their prior is N(0, 1). What is left is a LASSO
   in d with the penalty lambda = v / tau.
2. **The LASSO's solution is piecewise linear in lambda** (Efron et al., Least angle regression,
   2004; Osborne et al., 2000). Starting where all d are 0 and lowering lambda, one knot enters or
   leaves at a time. On each piece the residual sum of squares is alpha + q lambda^2, so the place
   where lambda = v(lambda) / tau is the root of a quadratic: the path is followed to that place
   and no further. It uses one Schur complement for all series, with the ridge v left at a
   typical value, so it ends near the optimum and not at it.
3. **Given the active knots and signs, everything is smooth in v**, so Newton's method on the
   stationarity of v,  4 v^2 + n v = RSS(v),  with the exact ridge, ends it in two or three rounds.
   Knots whose sign flips leave, knots whose gradient exceeds lambda enter (Lee et al., Efficient
   sparse coding, 2007), until the Karush-Kuhn-Tucker conditions hold.

Only arithmetic in a fixed order: the same statistics give the same bits.
"""

from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled

# The ridge of the path's Schur complement: a noise of 3 % of the scale. The polish has the true one.
PATH_RIDGE = 1e-3
_PIVOT = 1e-11  # of a knot that the active ones already span, over its own square: it stays out
_KKT = 1e-7  # the gradient may exceed lambda by this share
_NEWTON = 1e-9  # v is settled when it moves by less than this share
_NEWTON_ROUNDS = 30  # after these v moves by its closed form, which never climbs
_MAX_ROUNDS = 400
# Where the fit is perfect sigma would go to 0 and the posterior to infinity; prophet gives a
# constant series sigma = 1e-9. RSS is a difference: what is below this share of |y|^2 is rounding.
LEAST_VARIANCE = 1e-18
_LEAST_RSS = 1e-13


class Quadratic(NamedTuple):
    """The quadratic form of M Gram matrices: one that all complete series share, or one a mask.

    eigen:  (M, P) e;  cross: (M, P, K) V' G_ud;  knots: (M, K, K) G_dd
    path:   (M, K, K) the Schur complement of the knots at v = PATH_RIDGE
    """

    eigen: Floats
    cross: Floats
    knots: Floats
    path: Floats


class Targets(NamedTuple):
    """What N series bring along, centred.

    which:  (N,) row of the Quadratic
    smooth: (N, P) V' Z_u' y;  knots: (N, K) Z_d' y;  square: (N,) y'y;  count: (N,) readings
    offset: (N, P) by how much centring moved the whitened coefficients
    """

    which: Ints
    smooth: Floats
    knots: Floats
    square: Floats
    count: Floats
    offset: Floats


class Start(NamedTuple):
    """Where to begin: (N, K) changes of rate and (N,) variances; variance 0: by the path."""

    knots: Floats
    variance: Floats


class Solution(NamedTuple):
    """What comes out, written in place.

    whitened: (N, P) q, without the centring's offset;  knots: (N, K);  variance: (N,)
    loss:     (N,) negative log posterior;  rounds: (N,) of the polish
    """

    whitened: Floats
    knots: Floats
    variance: Floats
    loss: Floats
    rounds: Ints


class _Work(NamedTuple):
    """Scratch of one series; ``active`` lists the knots in use in the order of the factor."""

    active: Ints  # (K,)
    sign: Floats  # (K,) by knot; 0 where not in use
    barred: Floats  # (K,) 1 where a knot may not enter
    factor: Floats  # (K, K) Cholesky factor of the active block, lower
    solved: Floats  # (2, K) forward solutions of the factor
    step: Floats  # (2, K) back-substituted
    gradient: Floats  # (2, K) by knot
    shrink: Floats  # (P,) 1 / (e + v)
    smooth: Floats  # (P,)


@compiled
def solve(
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
        np.zeros((2, knots)),
        np.zeros((2, knots)),
        np.zeros(smooth),
        np.zeros(smooth),
    )
    for s in range(len(targets.which)):
        work.sign[:] = 0.0
        work.barred[:] = 0.0
        if start.variance[s] > 0.0:
            solution.variance[s] = start.variance[s]
            solution.knots[s] = start.knots[s]
            count = 0
            for j in range(knots):
                if start.knots[s, j] != 0.0:
                    work.active[count] = j
                    work.sign[j] = 1.0 if start.knots[s, j] > 0.0 else -1.0
                    count += 1
        else:
            solution.knots[s] = 0.0
            count = _follow_path(quadratic, targets, (s, tau), work, solution)
        _polish(quadratic, targets, (s, count, tau), work, solution)


@compiled
def _variance_of(rss: float, count: float) -> float:
    """Return the root of 4 v^2 + n v = RSS: the best v for that residual."""
    return max(2.0 * rss / (count + np.sqrt(count * count + 16.0 * rss)), LEAST_VARIANCE)


@compiled
def _append(block: Floats, added: int, count: int, work: _Work) -> bool:
    """Extend the factor by one knot; False where the active ones already span it."""
    factor, active = work.factor, work.active
    rest = block[added, added]
    for i in range(count):
        value = block[added, active[i]]
        for j in range(i):
            value -= factor[i, j] * factor[count, j]
        value /= factor[i, i]
        factor[count, i] = value
        rest -= value * value
    if not rest > _PIVOT * block[added, added]:
        return False
    factor[count, count] = np.sqrt(rest)
    active[count] = added
    return True


@compiled
def _drop(place: int, count: int, work: _Work) -> None:
    """Take the knot at ``place`` out of the list and restore the factor by rotations."""
    factor, active = work.factor, work.active
    work.sign[active[place]] = 0.0
    for i in range(place, count - 1):
        active[i] = active[i + 1]
        for j in range(i + 2):
            factor[i, j] = factor[i + 1, j]
    for k in range(place, count - 1):
        # Row k has one entry too many, at k + 1: turn columns k and k + 1 so that it vanishes.
        a, b = factor[k, k], factor[k, k + 1]
        norm = np.sqrt(a * a + b * b)
        c, s = a / norm, b / norm
        factor[k, k] = norm
        for i in range(k + 1, count - 1):
            left, right = factor[i, k], factor[i, k + 1]
            factor[i, k] = c * left + s * right
            factor[i, k + 1] = c * right - s * left


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


@compiled
def _reduced(quadratic: Quadratic, targets: Targets, s: int, work: _Work) -> float:
    """Write the knots' right-hand side at PATH_RIDGE to the gradient; return y'y that is left."""
    which = targets.which[s]
    cross = quadratic.cross[which]
    left = targets.square[s]
    work.gradient[0] = targets.knots[s]
    for i in range(cross.shape[0]):
        projected = targets.smooth[s, i] - PATH_RIDGE * targets.offset[s, i]
        share = projected / (quadratic.eigen[which, i] + PATH_RIDGE)
        left -= share * projected
        for j in range(cross.shape[1]):
            work.gradient[0, j] -= share * cross[i, j]
    return max(left, _LEAST_RSS * targets.square[s])


@compiled
def _follow_path(
    quadratic: Quadratic, targets: Targets, series: tuple[int, float], work: _Work, out: Solution
) -> int:
    """Walk from no knot at all down to lambda = v / tau; return how many knots are in use there."""
    s, tau = series
    block = quadratic.path[targets.which[s]]
    knots, count, length = block.shape[0], 0, targets.count[s]
    rhs = work.step[1].copy()
    left = _reduced(quadratic, targets, s, work)
    rhs[:] = work.gradient[0]
    limit, entering, leaving = np.inf, -1, -1
    for _ in range(8 * knots + 8):
        # On this piece d = x - lambda z, and RSS = alpha + turn lambda^2.
        alpha, turn = left, 0.0
        for i in range(count):
            alpha -= work.solved[0, i] ** 2
            turn += work.solved[1, i] ** 2
        _backward(count, work.solved[0], work.factor, work.step[0])
        _backward(count, work.solved[1], work.factor, work.step[1])
        event, entering, leaving = _next_event(block, rhs, (count, limit, leaving), work)
        alpha = max(alpha, _LEAST_RSS * targets.square[s])
        bend = length * length + 4.0 * alpha * (4.0 - turn / (tau * tau))
        variance = 2.0 * alpha / (length + np.sqrt(bend)) if bend > 0.0 else 0.0
        if variance >= event * tau or event <= 0.0:
            limit = max(variance, LEAST_VARIANCE) / tau
            break
        limit = event
        if leaving >= 0:
            gone = work.active[leaving]
            _drop(leaving, count, work)
            count -= 1
            for i in range(leaving, count):
                _forward(i, rhs[work.active[i]], work.solved[0], work.factor)
                _forward(i, work.sign[work.active[i]], work.solved[1], work.factor)
            leaving = gone
        elif _append(block, entering, count, work):
            # The sign of its correlation with the residual, which is +-lambda here.
            here = work.gradient[0, entering] + limit * work.gradient[1, entering]
            work.sign[entering] = 1.0 if here > 0.0 else -1.0
            _forward(count, rhs[entering], work.solved[0], work.factor)
            _forward(count, work.sign[entering], work.solved[1], work.factor)
            count += 1
            leaving = -1
        else:
            work.barred[entering] = 1.0
            leaving = -1
    out.variance[s] = max(limit * tau, LEAST_VARIANCE)
    _backward(count, work.solved[0], work.factor, work.step[0])
    _backward(count, work.solved[1], work.factor, work.step[1])
    kept = 0
    for i in range(count):
        j = work.active[i]
        value = work.step[0, i] - limit * work.step[1, i]
        if value * work.sign[j] > 0.0:
            out.knots[s, j] = value
            work.active[kept] = j
            kept += 1
        else:
            work.sign[j] = 0.0
    return kept


@compiled
def _next_event(
    block: Floats, rhs: Floats, state: tuple[int, float, int], work: _Work
) -> tuple[float, int, int]:
    """Return (lambda, knot that enters or -1, place in the list that leaves or -1).

    Writes the correlation of each knot with the residual, as gradient[0] + lambda gradient[1].
    """
    count, limit, gone = state
    below = limit * (1.0 - 1e-10)
    fixed, slope = work.gradient[0], work.gradient[1]
    fixed[:] = rhs
    slope[:] = 0.0
    for i in range(count):
        row = block[work.active[i]]
        x, z = work.step[0, i], work.step[1, i]
        for j in range(len(rhs)):
            fixed[j] -= x * row[j]
            slope[j] += z * row[j]
    event, entering, leaving = 0.0, -1, -1
    for j in range(len(rhs)):
        if work.sign[j] != 0.0 or work.barred[j] != 0.0:
            continue
        for side in (1.0, -1.0):
            # side * (fixed + lambda slope) = lambda
            gap = 1.0 - side * slope[j]
            if gap <= 1e-12:
                continue
            at = side * fixed[j] / gap
            # A knot that has just left still touches this bound.
            if at > event and (at < below or (limit == np.inf or (j != gone and at <= limit))):
                event, entering = at, j
    for i in range(count):
        x, z = work.step[0, i], work.step[1, i]
        if x * z > 0.0:
            at = x / z
            if event < at < below:
                event, entering, leaving = at, -1, i
    return event, entering, leaving


@compiled
def _polish(
    quadratic: Quadratic,
    targets: Targets,
    series: tuple[int, int, float],
    work: _Work,
    out: Solution,
) -> None:
    """Move from a nearby point to the exact optimum of one series."""
    s, count, tau = series
    which = targets.which[s]
    variance, rounds, added = out.variance[s], 0, -1
    knots = out.knots[s]
    work.barred[:] = 0.0
    rss = 0.0
    while rounds < _MAX_ROUNDS:
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
            count -= 1
            continue
        added = -1
        rss, slope = _residual(quadratic, targets, (s, count, variance, tau), work, knots)
        better = _variance_of(rss, targets.count[s])
        if rounds <= _NEWTON_ROUNDS:
            excess = (4.0 * variance + targets.count[s]) * variance - rss
            bend = 8.0 * variance + targets.count[s] - slope
            newton = variance - excess / bend if bend > 0.0 else 0.0
            better = newton if newton > 0.1 * better else better
        if abs(better - variance) > _NEWTON * variance:
            variance = max(better, LEAST_VARIANCE)
            continue
        added = _violated(quadratic.knots[which], quadratic.cross[which], targets.knots[s],
                          (count, variance / tau), work, knots)  # fmt: skip
        if added < 0:
            break
        work.active[count] = added
        count += 1
    penalty, prior = 0.0, 0.0
    for i in range(len(work.smooth)):
        out.whitened[s, i] = work.smooth[i]
        prior += (work.smooth[i] + targets.offset[s, i]) ** 2
    for j in range(len(knots)):
        penalty += abs(knots[j])
    out.variance[s] = variance
    out.rounds[s] = rounds
    out.loss[s] = (
        0.5 * targets.count[s] * np.log(variance)
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
            # gradient[1] holds the knot's column, shrunk, while its row of the factor is made
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
        if factor[kept, kept] > _PIVOT * block[added, added]:
            factor[kept, kept] = np.sqrt(factor[kept, kept])
            work.active[kept] = added
            _forward(kept, value, work.solved[0], factor)
            kept += 1
        else:
            work.barred[added] = 1.0
            work.sign[added] = 0.0
            knots[added] = 0.0
    _backward(kept, work.solved[0], factor, work.step[0])
    return kept


@compiled
def _move(count: int, work: _Work, knots: Floats) -> int:
    """Go to the solution, or as far as the first knot that would change its sign; return its place.

    -1: the solution is reached.
    """
    share, first = 1.0, -1
    for i in range(count):
        j = work.active[i]
        target = work.step[0, i]
        if target * work.sign[j] <= 0.0:
            way = knots[j] / (knots[j] - target) if knots[j] != target else 0.0
            if way < share or first < 0:
                share, first = way, i
    for i in range(count):
        j = work.active[i]
        knots[j] += (
            share * (work.step[0, i] - knots[j]) if first >= 0 else work.step[0, i] - knots[j]
        )
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
    return max(rss, _LEAST_RSS * targets.square[s]), 2.0 * variance * slope


@compiled
def _violated(
    block: Floats,
    cross: Floats,
    rhs: Floats,
    state: tuple[int, float],
    work: _Work,
    knots: Floats,
) -> int:
    """Return the idle knot whose gradient exceeds lambda the most, its sign set; -1 for none."""
    count, limit = state
    gradient = work.gradient[0]
    gradient[:] = rhs
    for i in range(count):
        row = block[work.active[i]]
        value = knots[work.active[i]]
        for j in range(len(rhs)):
            gradient[j] -= value * row[j]
    for i in range(cross.shape[0]):
        for j in range(len(rhs)):
            gradient[j] -= work.smooth[i] * cross[i, j]
    worst, found = limit * (1.0 + _KKT), -1
    for j in range(len(rhs)):
        if work.sign[j] == 0.0 and work.barred[j] == 0.0 and abs(gradient[j]) > worst:
            worst, found = abs(gradient[j]), j
    if found >= 0:
        work.sign[found] = 1.0 if gradient[found] > 0.0 else -1.0
    return found
