"""The LASSO's path for many series in lockstep, by sweeps of a tableau.

What is walked, and where it ends, is told in ``prophet.path``. Here each series holds the symmetric
tableau that pivoting algorithms use (Dempster, Elements of continuous multivariate analysis, 1969;
Goodnight, A tutorial on the SWEEP operator, 1979). With A the knots in use and I the idle ones,

            A              I                      right-hand side
    A   [ -S_AA^-1     S_AA^-1 S_AI           x = S_AA^-1 b_A      ]
    I   [   ...        S_II - S_IA S_AA^-1 S_AI    b_I - S_IA x    ]
    rhs [   ...            ...                y'y - b_A' x         ]

One rank-one update lets a knot in or out, whichever it is; so all series can take their next step
together, each at a place of its own. A step reads and writes the tableau (K = 25: 5 kB), which is
what it costs on a GPU. Series that have arrived are put aside.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from detectors.forecast.prophet.on_torch.problem import Shared, Start, Targets, reduced, schur
from detectors.forecast.prophet.path import NEGLIGIBLE
from detectors.forecast.prophet.problem import LEAST_RSS, LEAST_VARIANCE, PATH_RIDGE, PIVOT

_CROWDED = 0.75  # below this share of series still on their way the others are put aside


@dataclass(slots=True)
class _Walk:
    """N series on their way.

    row:   (N,) which series;  table: (N, K + 1, K + 1);  diagonal: (N, K) of S
    sign:  (N, K) of the knots in use, 0 else;  barred: (N, K) those the ones in use span
    limit: (N,) the penalty reached;  gone: (N,) the knot that has just left, -1 for none
    square, readings: (N,);  done: (N,) whether the result has been written
    """

    row: Tensor
    table: Tensor
    diagonal: Tensor
    sign: Tensor
    barred: Tensor
    limit: Tensor
    gone: Tensor
    square: Tensor
    readings: Tensor
    done: Tensor

    def keep(self, some: Tensor) -> None:
        """Go on with some of the series only."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[some])


@dataclass(slots=True)
class _Event:
    """What happens next: at (N,) which penalty, to which knot, with what sign it enters."""

    at: Tensor
    knot: Tensor
    sign: Tensor
    leaves: Tensor


def follow_paths(shared: Shared, targets: Targets, tau: float) -> Start:
    """Return changes of rate near the optimum, and the noise that goes with them."""
    start = _follow(shared, targets, tau, torch.full_like(targets.square, PATH_RIDGE))
    variance = start.variance
    least = shared.eigen.min() + variance.clamp(max=PATH_RIDGE)
    again = torch.nonzero((variance - PATH_RIDGE).abs() > NEGLIGIBLE * least)[:, 0]
    if len(again):
        second = _follow(shared, targets.rows(again), tau, variance[again])
        start.knots[again], start.variance[again] = second.knots, second.variance
    return start


def _follow(shared: Shared, targets: Targets, tau: float, ridge: Tensor) -> Start:
    """Walk all series to where their penalty is v / tau, with the ridge (N,) left as it is."""
    out = Start(torch.zeros_like(targets.knots), torch.zeros_like(targets.square))
    walk = _begin(shared, targets, ridge)
    most = 8 * targets.knots.shape[1] + 8
    for step in range(most + 1):
        turned = (walk.table[:, :-1, :-1] @ walk.sign[:, :, None])[:, :, 0]
        event = _next_event(walk, turned)
        variance = _variance_here(walk, turned, tau)
        arrived = (variance >= event.at * tau) | (event.at <= 0)
        limit = torch.where(arrived, variance / tau, walk.limit)
        arrived = (arrived | (step == most)) & ~walk.done
        _write(walk, (arrived, limit, turned), tau, out)
        walk.done |= arrived
        walk.limit = event.at
        _take(walk, event)
        going = ~walk.done
        left = int(going.sum())
        if left == 0:
            break
        if left < _CROWDED * len(going):
            walk.keep(going)
    return out


def _begin(shared: Shared, targets: Targets, ridge: Tensor) -> _Walk:
    """Return all series with no knot in use."""
    block = schur(shared, ridge)
    rhs, left = reduced(shared, targets, ridge)
    series, knots = rhs.shape
    table = block.new_empty(series, knots + 1, knots + 1)
    table[:, :-1, :-1] = block
    table[:, -1, :-1] = table[:, :-1, -1] = rhs
    table[:, -1, -1] = left
    return _Walk(
        row=torch.arange(series, device=rhs.device),
        table=table,
        diagonal=block.diagonal(dim1=1, dim2=2).clone(),
        sign=torch.zeros_like(rhs),
        barred=torch.zeros_like(rhs, dtype=torch.bool),
        limit=torch.full_like(left, torch.inf),
        gone=torch.full_like(left, -1, dtype=torch.int64),
        square=targets.square,
        readings=targets.readings,
        done=torch.zeros_like(left, dtype=torch.bool),
    )


def _next_event(walk: _Walk, turned: Tensor) -> _Event:
    """Return the next knot to enter or leave; ``turned`` (N, K) is the tableau times the signs."""
    fixed, used = walk.table[:, :-1, -1], walk.sign != 0
    below = walk.limit[:, None] * (1.0 - 1e-10)
    just_left = torch.arange(fixed.shape[1], device=fixed.device) == walk.gone[:, None]
    # A knot that has just left still touches its bound; others may enter together.
    most = torch.where(just_left, below, walk.limit[:, None])
    idle = ~(used | walk.barred)
    rising, falling = (
        _within(side * fixed, gap, most, idle & (gap > 1e-12))
        for side, gap in ((1.0, 1.0 - turned), (-1.0, 1.0 + turned))
    )
    enters, entering = torch.maximum(rising, falling).max(dim=1)
    leaves, leaving = _within(fixed, -turned, below, used).max(dim=1)
    out = leaves > enters
    at = entering[:, None]
    up = rising.gather(1, at) >= falling.gather(1, at)
    return _Event(
        at=torch.maximum(enters, leaves),
        knot=torch.where(out, leaving, entering),
        sign=torch.where(up[:, 0], 1.0, -1.0).to(fixed.dtype),
        leaves=out,
    )


def _within(over: Tensor, under: Tensor, most: Tensor, wanted: Tensor) -> Tensor:
    """Return over / under where wanted and between 0 and ``most``, else 0."""
    at = over / under
    return torch.where(wanted & (at > 0) & (at <= most), at, 0.0)


def _variance_here(walk: _Walk, turned: Tensor, tau: float) -> Tensor:
    """Return (N,) v where lambda = v / tau and 4 v^2 + n v = RSS, were the piece to last; 0: none.

    RSS = alpha + lambda^2 s' S^-1 s, with alpha the tableau's corner
    """
    alpha = torch.maximum(walk.table[:, -1, -1], LEAST_RSS * walk.square)
    turn = -(walk.sign * turned).sum(1)
    bend = walk.readings.square() + 4.0 * alpha * (4.0 - turn / (tau * tau))
    root = 2.0 * alpha / (walk.readings + bend.clamp(min=0.0).sqrt())
    return torch.where(bend > 0, root, 0.0)


def _write(walk: _Walk, at: tuple[Tensor, Tensor, Tensor], tau: float, out: Start) -> None:
    """Write the changes of rate x - lambda z of those that have arrived; at: who, lambda, -z."""
    arrived, limit, turned = at
    change = walk.table[:, :-1, -1] + limit[:, None] * turned
    change = torch.where(change * walk.sign > 0, change, 0.0)
    rows = walk.row[arrived]
    out.knots[rows] = change[arrived]
    out.variance[rows] = (limit[arrived] * tau).clamp(min=LEAST_VARIANCE)


def _take(walk: _Walk, event: _Event) -> None:
    """Let each series' knot in or out; one that the knots in use span is barred for good."""
    table, knot = walk.table, event.knot[:, None]
    index = event.knot[:, None, None].expand(-1, -1, table.shape[2])
    column = table.gather(1, index)[:, 0]
    pivot = column.gather(1, knot)[:, 0]
    independent = event.leaves | (pivot > PIVOT * walk.diagonal.gather(1, knot)[:, 0])
    moves = independent & ~walk.done
    inverse = torch.where(moves, 1.0 / pivot, 0.0)
    table.baddbmm_(column[:, :, None], (inverse[:, None] * column)[:, None, :], alpha=-1)
    crossed = torch.where(moves[:, None], column * inverse.abs()[:, None], column)
    crossed.scatter_(1, knot, torch.where(moves, -inverse, pivot)[:, None])
    table.scatter_(1, index, crossed[:, None, :])
    table.scatter_(2, index.transpose(1, 2), crossed[:, :, None])
    sign = torch.where(moves & ~event.leaves, event.sign, 0.0)
    walk.sign.scatter_(1, knot, sign[:, None])
    barred = walk.barred.gather(1, knot) | ~independent[:, None]
    walk.barred.scatter_(1, knot, barred)
    walk.gone = torch.where(event.leaves, event.knot, -1)
