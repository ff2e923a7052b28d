"""The optimisation problem of N complete series as tensors; see ``prophet.problem`` for the model.

All series here share one Gram matrix, so what depends on a series' own noise v is a matrix product:

    S(v) = G_dd - C' diag(1 / (e + v)) C = G_dd - sum_i 1 / (e_i + v) c_i c_i'

is (N, P) @ (P, K^2), which a GPU does at its full rate.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from detectors.forecast.prophet.problem import LEAST_RSS, Quadratic


class Shared(NamedTuple):
    """The quadratic form of all series: eigen (P,), cross (P, K), knots (K, K), outer (P, K^2)."""

    eigen: Tensor
    cross: Tensor
    knots: Tensor
    outer: Tensor


class Targets(NamedTuple):
    """What N series bring along: smooth, offset (N, P), knots (N, K), square, readings (N,)."""

    smooth: Tensor
    knots: Tensor
    square: Tensor
    readings: Tensor
    offset: Tensor

    def rows(self, some: Tensor) -> "Targets":
        """Return some of the series."""
        return Targets(*(each[some] for each in self))


class Start(NamedTuple):
    """Where the polish begins: (N, K) changes of rate and (N,) variances above 0."""

    knots: Tensor
    variance: Tensor


def shared_of(quadratic: Quadratic, device: torch.device) -> Shared:
    """Return the first of the Gram matrices on the device."""
    eigen, cross, knots = (
        torch.from_numpy(each[0].copy()).to(device)
        for each in (quadratic.eigen, quadratic.cross, quadratic.knots)
    )
    cross, knots = at_least_one(cross), at_least_one(at_least_one(knots).T)
    outer = cross[:, :, None] * cross[:, None, :]
    return Shared(eigen, cross, knots, outer.reshape(len(eigen), -1))


def at_least_one(knots: Tensor) -> Tensor:
    """Return (N, K) as it is; (N, 1) zeros for none: flat growth gets a knot that never moves."""
    return knots if knots.shape[1] else knots.new_zeros(len(knots), 1)


def schur(shared: Shared, ridge: Tensor) -> Tensor:
    """Return (N, K, K) Schur complements of the knots, each at its own ridge (N,)."""
    shrink = 1.0 / (shared.eigen + ridge[:, None])
    flat = torch.addmm(shared.knots.reshape(1, -1), shrink, shared.outer, alpha=-1)
    return flat.reshape(len(ridge), *shared.knots.shape)


def reduced(shared: Shared, targets: Targets, ridge: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the smooth columns leave over of Z_d'y (N, K) and of y'y (N,)."""
    projected = targets.smooth - ridge[:, None] * targets.offset
    share = projected / (shared.eigen + ridge[:, None])
    left = targets.square - (share * projected).sum(1)
    return targets.knots - share @ shared.cross, torch.maximum(left, LEAST_RSS * targets.square)
