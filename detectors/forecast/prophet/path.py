"""Follow the LASSO's path from no change of rate at all to where its penalty fits the noise.

For a fixed ridge the changes of rate d(lambda) are piecewise linear in the penalty lambda (Osborne,
Presnell and Turlach, A new approach to variable selection, 2000; Efron et al., Least angle
regression, 2004): lowering lambda, one knot enters or leaves at a time. On a piece, with A the
active knots, s their signs, S their Schur complement and b their right-hand side,

    d_A = S^-1 b - lambda S^-1 s,    RSS = (y'y - b' S^-1 b) + lambda^2 s' S^-1 s

so the place where lambda = v / tau and 4 v^2 + n v = RSS is the root of a quadratic in v. The path
is followed to the first such place and no further: some ten steps of 2 |A| K operations each. The
first walk uses one Schur complement for all series; where its ridge turns out to matter (a season
seen for less than a period) a second walk has the series' own.
"""

from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled
from detectors.forecast.prophet.problem import (
    LEAST_RSS,
    LEAST_VARIANCE,
    PATH_RIDGE,
    PIVOT,
    Quadratic,
    Start,
    Targets,
)

# The ridge matters where it moves e + v of any smooth direction by more than this share.
NEGLIGIBLE = 0.01


class _Work(NamedTuple):
    """Scratch of one series; ``active`` lists the knots in use in the order of the factor."""

    active: Ints  # (K,)
    sign: Floats  # (K,) by knot; 0 where not in use
    barred: Floats  # (K,) 1 where the active ones span a knot
    factor: Floats  # (K, K) Cholesky factor of the active block, lower
    solved: Floats  # (2, K) forward solutions of the factor: b, s
    step: Floats  # (2, K) back-substituted: x = S^-1 b, z = S^-1 s
    gradient: Floats  # (2, K) by knot, of the residual: [0] + lambda [1]
    rhs: Floats  # (K,) b
    schur: Floats  # (K, K) the Schur complement at a series' own ridge
    entry: Floats  # (1,) the sign with which the next knot enters


@compiled
def follow_paths(quadratic: Quadratic, targets: Targets, tau: float, start: Start) -> None:
    """Write changes of rate near the optimum, and the noise that goes with them, to ``start``."""
    knots = quadratic.knots.shape[1]
    work = _Work(
        np.zeros(knots, np.int64),
        np.zeros(knots),
        np.zeros(knots),
        np.zeros((knots, knots)),
        np.zeros((2, knots)),
        np.zeros((2, knots)),
        np.zeros((2, knots)),
        np.zeros(knots),
        np.zeros((knots, knots)),
        np.zeros(1),
    )
    for s in range(len(targets.which)):
        which = targets.which[s]
        block = quadratic.path[which]
        count, limit = _follow(quadratic, targets, (s, tau, PATH_RIDGE), block, work)
        variance = max(limit * tau, LEAST_VARIANCE)
        least = quadratic.eigen[which].min() + min(variance, PATH_RIDGE)
        if abs(variance - PATH_RIDGE) > NEGLIGIBLE * least:
            _schur(quadratic, which, variance, work.schur)
            count, limit = _follow(quadratic, targets, (s, tau, variance), work.schur, work)
        start.variance[s] = max(limit * tau, LEAST_VARIANCE)
        start.knots[s] = 0.0
        for i in range(count):
            j = work.active[i]
            value = work.step[0, i] - limit * work.step[1, i]
            if value * work.sign[j] > 0.0:
                start.knots[s, j] = value


@compiled
def _follow(
    quadratic: Quadratic,
    targets: Targets,
    series: tuple[int, float, float],
    block: Floats,
    work: _Work,
) -> tuple[int, float]:
    """Return how many knots are in use where lambda = v / tau, and that lambda.

    series: which one, tau, the ridge; block: (K, K) the Schur complement at that ridge
    """
    s, tau, ridge = series
    work.sign[:] = 0.0
    work.barred[:] = 0.0
    count, length = 0, targets.readings[s]
    left = _reduced(quadratic, targets, (s, ridge), work.rhs)
    limit, gone = np.inf, -1
    for _ in range(8 * len(work.rhs) + 8):
        _substitute(count, work)
        event, entering, leaving = _next_event(block, (count, limit, gone), work)
        alpha, turn = left, 0.0
        for i in range(count):
            alpha -= work.solved[0, i] ** 2
            turn += work.solved[1, i] ** 2
        alpha = max(alpha, LEAST_RSS * targets.square[s])
        bend = length * length + 4.0 * alpha * (4.0 - turn / (tau * tau))
        variance = 2.0 * alpha / (length + np.sqrt(bend)) if bend > 0.0 else 0.0
        if variance >= event * tau or event <= 0.0:
            return count, variance / tau
        limit, gone = event, -1
        if leaving >= 0:
            gone = work.active[leaving]
            _drop(leaving, count, work)
            count -= 1
        elif _append(block, entering, count, work):
            count += 1
    _substitute(count, work)
    return count, limit


@compiled
def _substitute(count: int, work: _Work) -> None:
    """Write x and z: the forward solutions, back-substituted."""
    for side in range(2):
        out = work.step[side]
        for i in range(count):
            out[i] = work.solved[side, i]
        for i in range(count - 1, -1, -1):
            value = out[i] / work.factor[i, i]
            out[i] = value
            for j in range(i):
                out[j] -= work.factor[i, j] * value


@compiled
def _forward(place: int, work: _Work) -> None:
    """Add the entry of one knot to the forward solutions of b and s."""
    factor = work.factor
    first, second = work.rhs[work.active[place]], work.sign[work.active[place]]
    for j in range(place):
        first -= factor[place, j] * work.solved[0, j]
        second -= factor[place, j] * work.solved[1, j]
    work.solved[0, place] = first / factor[place, place]
    work.solved[1, place] = second / factor[place, place]


@compiled
def _append(block: Floats, added: int, count: int, work: _Work) -> bool:
    """Take a knot in; False, and barred for good, where the active ones already span it."""
    factor, active = work.factor, work.active
    rest = block[added, added]
    for i in range(count):
        value = block[added, active[i]]
        for j in range(i):
            value -= factor[i, j] * factor[count, j]
        value /= factor[i, i]
        factor[count, i] = value
        rest -= value * value
    if not rest > PIVOT * block[added, added]:
        work.barred[added] = 1.0
        return False
    factor[count, count] = np.sqrt(rest)
    active[count] = added
    # The sign of its correlation with the residual, which is +-lambda where it enters.
    work.sign[added] = work.entry[0]
    _forward(count, work)
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
    for i in range(place, count - 1):
        _forward(i, work)


@compiled
def _schur(quadratic: Quadratic, which: int, ridge: float, out: Floats) -> None:
    """Write the knots' Gram matrix without what the smooth columns explain, at this ridge."""
    cross, eigen = quadratic.cross[which], quadratic.eigen[which]
    out[:] = quadratic.knots[which]
    for i in range(len(eigen)):
        for j in range(len(out)):
            share = cross[i, j] / (eigen[i] + ridge)
            for k in range(len(out)):
                out[j, k] -= share * cross[i, k]


@compiled
def _reduced(
    quadratic: Quadratic, targets: Targets, series: tuple[int, float], rhs: Floats
) -> float:
    """Write b, the knots' right-hand side without the smooth columns; return y'y without them."""
    s, ridge = series
    which = targets.which[s]
    cross = quadratic.cross[which]
    left = targets.square[s]
    rhs[:] = targets.knots[s]
    for i in range(cross.shape[0]):
        projected = targets.smooth[s, i] - ridge * targets.offset[s, i]
        share = projected / (quadratic.eigen[which, i] + ridge)
        left -= share * projected
        for j in range(cross.shape[1]):
            rhs[j] -= share * cross[i, j]
    return float(max(left, LEAST_RSS * targets.square[s]))


@compiled
def _next_event(
    block: Floats, state: tuple[int, float, int], work: _Work
) -> tuple[float, int, int]:
    """Return (lambda, knot that enters or -1, place in the list that leaves or -1).

    state: knots in use, the lambda reached, the knot that has just left or -1
    """
    count, limit, gone = state
    rhs, fixed, slope = work.rhs, work.gradient[0], work.gradient[1]
    fixed[:] = rhs
    slope[:] = 0.0
    for i in range(count):
        row = block[work.active[i]]
        x, z = work.step[0, i], work.step[1, i]
        for j in range(len(rhs)):
            fixed[j] -= x * row[j]
            slope[j] += z * row[j]
    event, entering, leaving = 0.0, -1, -1
    below = limit * (1.0 - 1e-10)
    for j in range(len(rhs)):
        if work.sign[j] != 0.0 or work.barred[j] != 0.0:
            continue
        # A knot that has just left still touches its bound; others may enter together.
        most = below if j == gone else limit
        for side in (1.0, -1.0):
            # side * (fixed + lambda slope) = lambda
            gap = 1.0 - side * slope[j]
            at = side * fixed[j] / gap if gap > 1e-12 else 0.0
            if event < at <= most:
                event, entering, work.entry[0] = at, j, side
    for i in range(count):
        x, z = work.step[0, i], work.step[1, i]
        at = x / z if x * z > 0.0 else 0.0
        if event < at < below:
            event, entering, leaving = at, -1, i
    return event, entering, leaving
