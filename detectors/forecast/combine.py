"""Weighs the members: by what was learned on other series, then by each series' own back-test.

The shipped weights are convex, one set for a class of metrics and a lead. A series tilts them to
the members that did better on it, as an exponentially weighted forecaster does (Cesa-Bianchi and
Lugosi, Prediction, Learning, and Games, 2006, chapter 2), less so where few origins speak for it.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from core.types import Floats
from detectors.forecast.averages import divided, mean_of
from detectors.forecast.backtest import BackTest
from detectors.forecast.members import NAMES

# How strongly a back-test moves weights, and what every member keeps so that it can come back:
# chosen on development series from 0, 2, 4, 6, 8, 16.
TILT = 8.0
KEPT = 0.05
# Relative advantages beyond these count no further.
BEST, WORST = -2.0, 8.0
# Leads up to here are weighed apart from those beyond.
NEAR_S = 1800.0
# Errors below this share of a window's spread are no difference.
TINY_SHARE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """What was learned on development series for one class of metrics.

    knot_s: (N,) leads; between two of them everything is interpolated in the logarithm of the lead
    weight: (N, M) of the members in their order, summing to 1
    width:  (N, 2, F) of the scales in ``conformal``: lower and upper half of the 80 % interval
    """

    knot_s: Floats
    weight: Floats
    width: Floats

    def weight_at(self, lead_s: Floats) -> Floats:
        """Return (H, M)."""
        return between(self.knot_s, self.weight, lead_s)

    def width_at(self, lead_s: Floats) -> Floats:
        """Return (H, 2, F)."""
        return between(self.knot_s, self.width, lead_s)


def between(knot_s: Floats, table: Floats, lead_s: Floats) -> Floats:
    """Return (H, ...) a table (N, ...) of knots at leads, linear in the logarithm of the lead."""
    flat = table.reshape(len(knot_s), -1)
    at, knots = np.log(lead_s), np.log(knot_s)
    found = np.stack([np.interp(at, knots, column) for column in flat.T], axis=1)
    return found.reshape(len(lead_s), *table.shape[1:])


# What a metric's name holds decides its class; "other" was learned on machines' load and traffic.
CLASSES = {
    "utilization": "utilization",
    "memory_used": "memory",
    "swap_used": "memory",
    "volume_": "memory",
}
OTHER = "other"


def class_of(metric: str) -> str:
    """Return the class of metrics whose weights a metric takes."""
    return next((name for word, name in CLASSES.items() if word in metric), OTHER)


@cache
def shipped(name: str) -> Shipped:
    """Return the weights of a class; agent/evaluations/weights.py makes the file."""
    table = tomllib.loads(resources.files(__package__).joinpath("weights.toml").read_text())
    one = table[name]
    return Shipped(
        knot_s=np.array(table["knot_s"], dtype=np.float64),
        weight=np.array([[row.get(member, 0.0) for member in NAMES] for row in one["weight"]]),
        width=np.array(one["width"], dtype=np.float64),
    )


def combined(expected: Floats, weight: Floats) -> Floats:
    """Return (S, H): members' forecasts (M, S, H) under weights (S, H, M) or (H, M).

    The weight of a member that says NaN goes to the others.
    """
    share = np.moveaxis(np.broadcast_to(weight, (*expected.shape[1:], len(expected))), -1, 0)
    known = np.isfinite(expected)
    if known.all():
        even: Floats = (share * expected).sum(axis=0) / share.sum(axis=0)
        return even
    share = np.where(known, share, 0.0)
    total, size = (share * np.where(known, expected, 0.0)).sum(axis=0), share.sum(axis=0)
    return divided(total, size)


@dataclass(frozen=True, slots=True, eq=False)
class Tilt:
    """What each series' back-test says of the members: factors on the weights.

    near, far: (S, M) for leads up to NEAR_S and beyond
    """

    near: Floats
    far: Floats

    def weights(self, shipped_weight: Floats, lead_s: Floats) -> Floats:
        """Return (S, H, M) that sum to 1."""
        even = KEPT / shipped_weight.shape[1]
        base = (1 - KEPT) * shipped_weight + even
        is_near = (lead_s <= NEAR_S)[None, :, None]
        factor = np.where(is_near, self.near[:, None], self.far[:, None])
        weight = base[None] * factor
        return np.asarray(weight / weight.sum(axis=2, keepdims=True))


def tilt(test: BackTest, shipped_weight: Floats, spread: Floats) -> Tilt:
    """Compare every member with the combination on earlier origins.

    shipped_weight: (L, M) at the test's leads; spread: (S,) standard deviation of the window
    """
    members, series = len(NAMES), len(spread)
    if not len(test.actual):
        return Tilt(np.ones((series, members)), np.ones((series, members)))
    made = np.stack([combined(one, shipped_weight) for one in test.expected])
    own = np.abs(test.expected - test.actual[:, None])
    pooled = np.abs(made - test.actual)
    near = test.lead_s <= NEAR_S
    first = _factor(own[..., near], pooled[..., near], spread)
    far = ~near
    return Tilt(first, _factor(own[..., far], pooled[..., far], spread) if far.any() else first)


def _factor(own: Floats, pooled: Floats, spread: Floats) -> Floats:
    """Return (S, M) exp(-TILT x relative error above the combination's), shrunk by its noise.

    own: (K, M, S, L) errors of the members; pooled: (K, S, L) of the combination
    """
    level = mean_of(pooled, axis=2)
    better = mean_of(own, axis=3) - level[:, None]
    count = np.isfinite(better).sum(axis=0)
    mean = mean_of(better, axis=0)
    noise = mean_of((better - mean) ** 2, axis=0) / np.maximum(count - 1, 1)
    sure = np.divide(mean**2, mean**2 + noise, out=np.zeros_like(mean), where=mean**2 > 0)
    typical = np.maximum(mean_of(level, axis=0), np.maximum(TINY_SHARE * spread, 1e-300))
    relative = np.where(count > 1, mean * sure / typical, 0.0)
    known = np.where(np.isfinite(relative), np.clip(relative, BEST, WORST), 0.0)
    return np.asarray(np.exp(-TILT * known)).T
