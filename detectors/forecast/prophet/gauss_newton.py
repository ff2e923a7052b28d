"""MAP of the curved model for many series: Gauss-Newton rounds around the linear one.

At theta_0 the curve is replaced by its tangent, f ~ f(theta_0) + J (theta - theta_0). The MAP of
that is the linear ``problem`` with the design J and the readings y - f(theta_0) +
J theta_0, each series having a Gram matrix of its own. The step towards it is halved until the true
objective falls; where no step lowers it, it is a stationary point of the true posterior, for the
tangent has the same gradient.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints
from detectors.forecast.prophet.curve import Curve
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.posterior import Statistics, maximise_each
from detectors.forecast.prophet.problem import LEAST_VARIANCE

_ROUNDS = 60
_TRIAL_ROUNDS = 8  # of each beginning, before the best goes on
_HALVINGS = 8
_SETTLED = 1e-4  # nat; the goal is 0.01 against upstream
_TOGETHER = 64  # series at once: 64 Jacobians of 1,440 x 35 doubles are 26 MB
_LEAST_RATE = 0.5  # of a first guess: with less m would have to start far out in its prior
_FIT_SHARE = (0.01, 0.99)  # of the capacity: upstream's own bounds for its first guess


class CurvedFit(NamedTuple):
    """theta: (S, P + K) as [k, m, beta, delta]; sigma, loss: (S,); all of the scaled series."""

    theta: Floats
    sigma: Floats
    loss: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Series of one part: scaled readings (N, T), 0 where missing; known (N, T) ones and zeros."""

    design: Design
    curve: Curve
    scaled: Floats
    known: Floats
    count: Floats
    cap: Floats

    def rows(self, rows: Ints) -> "_Problem":
        return _Problem(
            self.design,
            self.curve,
            self.scaled[rows],
            self.known[rows],
            self.count[rows],
            self.cap[rows],
        )

    def loss(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return (N,) negative log posterior at the best variance for theta, and that variance."""
        off = (self.scaled - self.curve.value(theta, self.cap)) * self.known
        rss, n = np.einsum("nt,nt->n", off, off), self.count
        variance = np.maximum(2 * rss / (n + np.sqrt(n * n + 16 * rss)), LEAST_VARIANCE)
        smooth = self.design.smooth
        prior = 0.5 * np.square(theta[:, :smooth]) @ self.design.precision
        penalty = np.abs(theta[:, smooth:]).sum(axis=1) / self.design.tau
        fit = 0.5 * n * np.log(variance) + 0.5 * rss / variance + 2 * variance
        return fit + prior + penalty, variance


def fit_curved(design: Design, curve: Curve, scaled: Floats, cap: Floats) -> CurvedFit:
    """Return the MAP of scaled readings (S, T), NaN where missing; cap: (S,) scaled capacity.

    Logistic growth is not convex: no step leads from a rate above 0 to one below, as the offset
    m = -level / k would pass through infinity. So it is begun three times, from upstream's first
    guess and from a line through the readings' logits with its rate and with the opposite one, and
    the best after a few rounds goes on. 3 to 20 CPU-ms a series of 1,440 readings.
    """
    series, width = len(scaled), design.width
    out = CurvedFit(np.zeros((series, width)), np.zeros(series), np.full(series, np.inf))
    for start in range(0, series, _TOGETHER):
        part = slice(start, start + _TOGETHER)
        known = np.isfinite(scaled[part])
        problem = _Problem(
            design,
            curve,
            np.where(known, scaled[part], 0.0),
            known.astype(np.float64),
            known.sum(axis=1).astype(np.float64),
            cap[part],
        )
        out.theta[part], out.loss[part], variance = _descend(problem, _begun(problem), _ROUNDS)
        out.sigma[part] = np.sqrt(variance)
    return out


def _begun(problem: _Problem) -> Floats:
    """Return the beginning (N, P + K) that is best after a few rounds."""
    begins = _beginnings(problem)
    if len(begins) == 1:
        return begins[0]
    tried = [_descend(problem, begin, _TRIAL_ROUNDS) for begin in begins]
    best = np.argmin([loss for _, loss, _ in tried], axis=0)
    return np.asarray(np.array([theta for theta, _, _ in tried])[best, np.arange(len(best))])


def _beginnings(problem: _Problem) -> tuple[Floats, ...]:
    """Return first guesses (N, P + K): no season, no change of rate."""
    series, time = len(problem.scaled), problem.curve.time
    plain = np.zeros((series, problem.design.width))
    mean = problem.scaled.sum(axis=1) / problem.count
    if not problem.curve.has_rate:
        plain[:, 0] = mean
        return (plain,)
    if not problem.curve.is_logistic:
        plain[:, 0], plain[:, 1] = _line(problem.scaled, problem.known, time)
        return (plain,)
    low, high = _FIT_SHARE
    share = np.clip(problem.scaled / problem.cap[:, None], low, high)
    logit = np.log(share / (1 - share))
    k, level = _line(logit, problem.known, time)
    ends = plain.copy()
    first = problem.known.argmax(axis=1)
    last = problem.known.shape[1] - 1 - problem.known[:, ::-1].argmax(axis=1)
    rows = np.arange(series)
    begin, end = logit[rows, first], logit[rows, last]
    # A guess of no growth at all would leave m without effect: upstream moves it by 5 % as well.
    rise = np.where(np.abs(end - begin) < 0.01, 0.05, end - begin)
    ends[:, 0], ends[:, 1] = rise, -begin / rise
    steep = np.where(k < 0, -1.0, 1.0) * np.maximum(np.abs(k), _LEAST_RATE)
    falls = plain.copy()
    plain[:, 0], plain[:, 1] = steep, -level / steep
    falls[:, 0], falls[:, 1] = -steep, level / steep
    return plain, ends, falls


def _line(value: Floats, known: Floats, time: Floats) -> tuple[Floats, Floats]:
    """Return (N,) slope and (N,) level at time 0 of the straight line through known values."""
    count = known.sum(axis=1)
    middle, mean = known @ time / count, (value * known).sum(axis=1) / count
    away = (time - middle[:, None]) * known
    spread = np.maximum(np.einsum("nt,nt->n", away, away), 1e-12)
    slope = np.einsum("nt,nt->n", away, value) / spread
    return slope, mean - slope * middle


def _descend(problem: _Problem, theta: Floats, rounds: int) -> tuple[Floats, Floats, Floats]:
    """Return where the rounds end: theta (N, P + K), loss (N,), variance (N,)."""
    theta = theta.copy()
    loss, variance = problem.loss(theta)
    rows = np.arange(len(theta))
    for _ in range(rounds):
        some = problem.rows(rows)
        towards = _tangent_map(some, theta[rows]) - theta[rows]
        moved, now = _shortened(some, theta[rows], towards, loss[rows])
        gained = loss[rows] - now
        theta[rows], loss[rows] = moved, np.minimum(now, loss[rows])
        rows = rows[gained > _SETTLED]
        if not rows.size:
            break
    loss, variance = problem.loss(theta)
    return theta, loss, variance


def _shortened(
    problem: _Problem, theta: Floats, towards: Floats, loss: Floats
) -> tuple[Floats, Floats]:
    """Return the point on each way that lowers the loss, the way halved as often as needed."""
    best, lowest = theta.copy(), loss.copy()
    open_rows, share = np.arange(len(theta)), 1.0
    for _ in range(_HALVINGS):
        tried = theta[open_rows] + share * towards[open_rows]
        now, _ = problem.rows(open_rows).loss(tried)
        lower = now < lowest[open_rows]
        best[open_rows[lower]], lowest[open_rows[lower]] = tried[lower], now[lower]
        open_rows, share = open_rows[~lower], share / 2
        if not open_rows.size:
            break
    return best, lowest


def _tangent_map(problem: _Problem, theta: Floats) -> Floats:
    """Return (N, P + K) the MAP of the curve's tangent at theta."""
    tangent = problem.curve.jacobian(theta, problem.cap) * problem.known[:, :, None]
    at = problem.curve.value(theta, problem.cap)
    wanted = (problem.scaled - at) * problem.known + np.einsum("ntp,np->nt", tangent, theta)
    statistics = Statistics(
        cross=np.einsum("ntp,nt->np", tangent, wanted),
        square=np.einsum("nt,nt->n", wanted, wanted),
        readings=problem.count,
    )
    found = maximise_each(problem.design, tangent.transpose(0, 2, 1) @ tangent, statistics)
    return np.hstack([found.whitened, found.knots])
