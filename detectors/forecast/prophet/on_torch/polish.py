"""From a point near the optimum to the optimum, for many series in lockstep.

The rounds, the Newton step on v and the conditions at the end are those of ``prophet.polish``; one
round of all series that are left is one masked Cholesky factor: rows and columns of idle knots are
those of the identity. Each round a series either drops a knot, or moves v, or takes a knot in, or
is done.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from detectors.forecast.prophet.on_torch.problem import Shared, Start, Targets, schur
from detectors.forecast.prophet.polish import KKT, MAX_ROUNDS, NEWTON, NEWTON_ROUNDS, STUCK
from detectors.forecast.prophet.problem import LEAST_RSS, LEAST_VARIANCE, PIVOT


class Solution(NamedTuple):
    """whitened (N, P), knots (N, K), variance, loss, rounds (N,): see ``prophet.problem``."""

    whitened: Tensor
    knots: Tensor
    variance: Tensor
    loss: Tensor
    rounds: Tensor


@dataclass(slots=True)
class _Search:
    """N series that are not settled.

    row: (N,) which series;  sign: (N, K) of the knots in use, 0 else;  knots: (N, K) their values
    barred: (N, K) knots that may not enter;  added: (N,) the knot that came in last, -1 for none
    variance: (N,);  move: (N,) by what share it has moved with the same knots in use
    """

    row: Tensor
    sign: Tensor
    knots: Tensor
    barred: Tensor
    variance: Tensor
    move: Tensor
    added: Tensor

    def keep(self, some: Tensor) -> None:
        """Go on with some of the series only."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[some])


class _Here(NamedTuple):
    """Where a round has led: whitened (N, P), rss and its slope in v (N,)."""

    whitened: Tensor
    rss: Tensor
    slope: Tensor


def polish(shared: Shared, targets: Targets, tau: float, start: Start) -> Solution:
    """Return the MAP of each series."""
    series = len(targets.square)
    out = Solution(
        whitened=torch.zeros_like(targets.smooth),
        knots=torch.zeros_like(start.knots),
        variance=torch.zeros_like(start.variance),
        loss=torch.zeros_like(start.variance),
        rounds=torch.zeros(series, dtype=torch.int64, device=start.knots.device),
    )
    search = _Search(
        row=torch.arange(series, device=start.knots.device),
        sign=start.knots.sign(),
        knots=start.knots.clone(),
        barred=torch.zeros_like(start.knots, dtype=torch.bool),
        variance=start.variance.clone(),
        move=torch.full_like(start.variance, torch.inf),
        added=torch.full((series,), -1, device=start.knots.device),
    )
    for rounds in range(1, MAX_ROUNDS + 1):
        here, dropped = _solve(shared, targets, tau, search)
        better = _variance(search.variance, here, targets.readings, quick=rounds <= NEWTON_ROUNDS)
        move = (better - search.variance).abs() / search.variance
        moving = ~dropped & (move > NEWTON) & ((move < search.move) | (move > STUCK))
        settled = ~dropped & ~moving
        entered = _let_in(shared, targets, tau, (search, here, settled))
        done = settled & ~entered
        if rounds == MAX_ROUNDS:
            done = torch.ones_like(done)
        _write(search, targets, tau, (here, done, rounds), out)
        search.variance = torch.where(moving, better.clamp(min=LEAST_VARIANCE), search.variance)
        search.move = torch.where(moving, move, torch.inf)
        if bool(done.all()):
            break
        if bool(done.any()):
            search.keep(~done)
            targets = targets.rows(~done)
    return out


def _solve(shared: Shared, targets: Targets, tau: float, search: _Search) -> tuple[_Here, Tensor]:
    """Move to the solution for v, or to where a knot changes its sign; return who dropped one."""
    variance = search.variance[:, None]
    used = (search.sign != 0).to(variance.dtype)
    shrink = 1.0 / (shared.eigen + variance)
    projected = targets.smooth - variance * targets.offset
    rhs = targets.knots - variance / tau * search.sign - (shrink * projected) @ shared.cross
    block = schur(shared, search.variance) * (used[:, :, None] * used[:, None, :])
    block.diagonal(dim1=1, dim2=2).add_(1.0 - used)
    factor, failed = torch.linalg.cholesky_ex(block)
    weak = _weak(factor, failed, (used > 0), shared.knots.diagonal())
    half = torch.linalg.solve_triangular(factor, (used * rhs)[:, :, None], upper=False)
    target = torch.linalg.solve_triangular(factor.mT, half, upper=True)[:, :, 0]
    dropped = _move(search, target, weak)
    whitened = shrink * (projected - search.knots @ shared.cross.T)
    prior = whitened + targets.offset
    rss = targets.square - (whitened * (targets.smooth + variance * prior)).sum(1)
    rss -= (search.knots * (targets.knots + variance / tau * search.sign)).sum(1)
    pull = used * (search.sign / tau - (shrink * prior) @ shared.cross)
    bent = torch.linalg.solve_triangular(factor, pull[:, :, None], upper=False)[:, :, 0]
    slope = (prior.square() * shrink).sum(1) + bent.square().sum(1)
    rss = torch.maximum(rss, LEAST_RSS * targets.square)
    return _Here(whitened, rss, 2.0 * search.variance * slope), dropped


def _weak(factor: Tensor, failed: Tensor, used: Tensor, diagonal: Tensor) -> Tensor:
    """Return (N,) the first knot in use that those before it span, -1 for none."""
    place = torch.arange(used.shape[1], device=used.device)
    pivot = factor.diagonal(dim1=1, dim2=2).square()
    # Where the factor failed, what stands from that place on means nothing.
    spanned = used & ~(
        (pivot > PIVOT * diagonal) & ~((failed > 0)[:, None] & (place >= failed[:, None] - 1))
    )
    first = spanned.to(torch.int8).argmax(dim=1)
    return torch.where(spanned.any(dim=1), first, -1)


def _move(search: _Search, target: Tensor, weak: Tensor) -> Tensor:
    """Go to ``target`` (N, K), or as far as the first sign that flips; drop that knot, or the weak.

    Returns (N,) whether a knot was dropped.
    """
    flips = (target * search.sign <= 0) & (search.sign != 0)
    way = torch.where(target != search.knots, search.knots / (search.knots - target), 0.0)
    share, first = torch.where(flips, way, torch.inf).min(dim=1)
    spans, turns = weak >= 0, flips.any(dim=1)
    share = torch.where(turns, share.clamp(max=1.0), 1.0)[:, None]
    moved = search.knots + share * (target - search.knots)
    moved = torch.where(turns[:, None], moved, target)
    search.knots = torch.where(spans[:, None], search.knots, moved)
    dropped = spans | turns
    place = torch.where(spans, weak, first)
    out = (torch.arange(target.shape[1], device=place.device) == place[:, None]) & dropped[:, None]
    search.knots = search.knots.masked_fill(out, 0.0)
    search.sign = search.sign.masked_fill(out, 0.0)
    search.barred |= out & (spans | (place == search.added))[:, None]
    search.added = torch.where(dropped, search.added, -1)
    return dropped


def _variance(variance: Tensor, here: _Here, readings: Tensor, *, quick: bool) -> Tensor:
    """Return (N,) the next v: by Newton's method, or where that is off by its closed form."""
    root = (readings.square() + 16.0 * here.rss).sqrt()
    closed = (2.0 * here.rss / (readings + root)).clamp(min=LEAST_VARIANCE)
    if not quick:
        return closed
    excess = (4.0 * variance + readings) * variance - here.rss
    bend = 8.0 * variance + readings - here.slope
    newton = torch.where(bend > 0, variance - excess / bend, 0.0)
    return torch.where(newton > 0.1 * closed, newton, closed)


def _let_in(
    shared: Shared, targets: Targets, tau: float, at: tuple[_Search, _Here, Tensor]
) -> Tensor:
    """Take in the idle knot whose gradient exceeds lambda the most; return (N,) who took one.

    at: the search, where it is, and (N,) who is settled; only those look
    """
    search, here, settled = at
    gradient = targets.knots - search.knots @ shared.knots - here.whitened @ shared.cross
    idle = (search.sign == 0) & ~search.barred
    worst, knot = torch.where(idle, gradient.abs(), 0.0).max(dim=1)
    entered = settled & (worst > search.variance / tau * (1.0 + KKT))
    sign = torch.where(entered, gradient.gather(1, knot[:, None])[:, 0].sign(), 0.0)
    search.sign = search.sign.scatter_add(1, knot[:, None], sign[:, None])
    search.added = torch.where(entered, knot, search.added)
    return entered


def _write(
    search: _Search,
    targets: Targets,
    tau: float,
    result: tuple[_Here, Tensor, int],
    out: Solution,
) -> None:
    """Write the series that are done."""
    here, done, rounds = result
    prior = (here.whitened + targets.offset).square().sum(1)
    loss = (
        0.5 * targets.readings * search.variance.log()
        + 0.5 * here.rss / search.variance
        + 2.0 * search.variance
        + 0.5 * prior
        + search.knots.abs().sum(1) / tau
    )
    rows = search.row[done]
    out.whitened[rows], out.knots[rows] = here.whitened[done], search.knots[done]
    out.variance[rows], out.loss[rows] = search.variance[done], loss[done]
    out.rounds[rows] = rounds
