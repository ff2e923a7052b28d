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
# Back-tests at leads up to here speak for the near, those beyond for the far. One passes smoothly
# into the other: at half of this lead the far have 6 % of the say, at twice 94 %.
NEAR_S = 1800.0
# A control point of a cubic spline is felt so many knots away.
SPLINE_REACH = 2
# Errors below this share of a window's spread are no difference.
TINY_SHARE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """What was learned on development series for one class of metrics.

    knot_s: (N,) leads, each the same multiple of the one before; what is at them are the control
            points of a cubic spline over the logarithm of the lead, so no lead shows a kink
    weight: (N, M) of the members in their order, summing to 1
    width:  (N, 2, F) of the scales in ``conformal``: lower and upper half of the 80 % interval
    """

    knot_s: Floats
    weight: Floats
    width: Floats

    def weight_at(self, lead_s: Floats) -> Floats:
        """Return (H, M)."""
        return over_leads(self.knot_s, self.weight, lead_s)

    def width_at(self, lead_s: Floats) -> Floats:
        """Return (H, 2, F)."""
        return over_leads(self.knot_s, self.width, lead_s)


def over_leads(knot_s: Floats, table: Floats, lead_s: Floats) -> Floats:
    """Return (H, ...) the spline whose control points are a table (N, ...), at leads."""
    return np.asarray(np.tensordot(spline(knot_s, lead_s), table, axes=1))


def spline(knot_s: Floats, lead_s: Floats) -> Floats:
    """Return (H, N) the uniform cubic B-spline over log leads: none negative, rows sum to 1.

    Convex control points therefore stay convex between the knots. Beyond the ends the outermost
    control point repeats for ever.
    """
    last = len(knot_s) - 1
    place = np.log(lead_s / knot_s[0]) / np.log(knot_s[1] / knot_s[0])
    control = np.arange(-SPLINE_REACH - 1, last + SPLINE_REACH + 2)
    inside = np.clip(place, -SPLINE_REACH, last + SPLINE_REACH)
    away = np.abs(inside[:, None] - control)
    bump = np.where(away < 1, (4 - 6 * away**2 + 3 * away**3) / 6, np.maximum(2 - away, 0) ** 3 / 6)
    owner = np.clip(control, 0, last)
    return np.asarray(bump @ np.eye(last + 1)[owner])


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
    """What each series' back-test says of the members: logarithms of factors on the weights.

    near, far: (S, M) for leads up to NEAR_S and beyond
    """

    near: Floats
    far: Floats

    def weights(self, shipped_weight: Floats, lead_s: Floats) -> Floats:
        """Return (S, H, M) that sum to 1."""
        even = KEPT / shipped_weight.shape[1]
        base = (1 - KEPT) * shipped_weight + even
        share = (1 / (1 + (NEAR_S / lead_s) ** 4))[None, :, None]
        factor = np.exp(self.near[:, None] * (1 - share) + self.far[:, None] * share)
        weight = base[None] * factor
        return np.asarray(weight / weight.sum(axis=2, keepdims=True))


def tilt(test: BackTest, shipped_weight: Floats, spread: Floats) -> Tilt:
    """Compare every member with the combination on earlier origins.

    shipped_weight: (L, M) at the test's leads; spread: (S,) standard deviation of the window
    """
    members, series = len(NAMES), len(spread)
    if not len(test.actual):
        return Tilt(np.zeros((series, members)), np.zeros((series, members)))
    made = np.stack([combined(one, shipped_weight) for one in test.expected])
    own = np.abs(test.expected - test.actual[:, None])
    pooled = np.abs(made - test.actual)
    near = test.lead_s <= NEAR_S
    first = _factor(own[..., near], pooled[..., near], spread)
    far = ~near
    return Tilt(first, _factor(own[..., far], pooled[..., far], spread) if far.any() else first)


def _factor(own: Floats, pooled: Floats, spread: Floats) -> Floats:
    """Return (S, M) -TILT x the relative error above the combination's, shrunk by its noise.

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
    return np.asarray(-TILT * known).T
