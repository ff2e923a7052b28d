"""Rises of many shapes and speeds that reach the limit, and such that only look like it.

Half run on real pods' memory, half on a level with nothing but noise, the canonical volume. A rise
takes 10 minutes to 8 hours, each factor of two as often. Of the look-alikes some level off, stop,
or come back before the limit, and some are saw-teeth: logs that are rotated, memory collected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.recorded import Panel, is_dev
from agent.evaluations.warning_sets import (
    LEAK_TO,
    MEMORY_LIMIT,
    ROOMY,
    WARM_UP_MIN,
    Watched,
    watched_of,
)
from core.types import Floats, Ints

NAME = "ramps"
LASTS_MIN = (10, 480)
FAST_MIN = 60
# Warnings are looked for as often as a controller refits: each 5 minutes.
DECIDE_MIN = 5
# Shares of the series whose rise reaches the limit, and of those that only look like it.
REACHES, RESEMBLES = 0.5, 0.25
# A straight rise is so many times as common as one of any other shape.
STRAIGHT = 3.0
# How far a look-alike gets, of the room to the limit.
GETS = (0.2, 0.9)

Draw = np.random.Generator
Shape = Callable[[Floats, Draw], Floats]


def _steps(u: Floats, rng: Draw) -> Floats:
    count = int(rng.integers(4, 13))
    return np.asarray(np.floor(u * count + 1e-9) / count)


def _bursts(u: Floats, rng: Draw) -> Floats:
    """Rise by gamma distributed amounts: as a writer that comes and goes."""
    part = rng.gamma(0.3, size=len(u)) * (np.diff(u, prepend=u[0]) > 0)
    return np.asarray(np.cumsum(part) / max(part.sum(), 1e-12))


SHAPES: dict[str, Shape] = {
    "straight": lambda u, _: u,
    "slowing": lambda u, _: np.sqrt(u),
    "quickening": lambda u, _: np.square(u),
    "exponential": lambda u, _: np.expm1(3.0 * u) / np.expm1(3.0),
    "steps": _steps,
    "bursts": _bursts,
}


def _gets(rng: Draw) -> float:
    return float(rng.uniform(*GETS))


def _saw(u: Floats, rng: Draw) -> Floats:
    """Rise and restart, again and again; no tooth is higher than nine tenths of the room."""
    return _gets(rng) * np.mod(u, 1.0)


# u goes on beyond 1, where the rise would have been over.
LOOK_ALIKES: dict[str, Shape] = {
    "levels off": lambda u, rng: _gets(rng) * -np.expm1(-3.0 * u),
    "stops": lambda u, rng: np.minimum(u, _gets(rng)),
    "comes back": lambda u, rng: np.maximum(0.0, (g := _gets(rng)) - np.abs(u - g)),
    "restarts": _saw,
}


@dataclass(frozen=True, slots=True, eq=False)
class Ramps:
    """The series, and of each the shape that was added ('': none) and how long its rise takes."""

    watched: Watched
    shape: NDArray[np.str_]
    lasts_min: Ints

    def rows(self, keep: NDArray[np.bool_]) -> "Ramps":
        """Return some of the series."""
        return Ramps(self.watched.rows(keep), self.shape[keep], self.lasts_min[keep])


def ramps(panel: Panel, *, seeds: int) -> Ramps:
    """Add one rise, or a look-alike, to most series; anew for each seed."""
    roomy = panel.rows(np.flatnonzero(np.nanmedian(panel.value, axis=1) < ROOMY))
    dev = np.array([is_dev(pod) for pod in roomy.names])
    value, shape, lasts = [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng((seed, 1))
        base = np.where(rng.uniform(size=(len(dev), 1)) < 0.5, roomy.value, _quiet(roomy, rng))
        for row in base:
            grown, name, minutes = _with_rise(row, rng)
            value.append(grown)
            shape.append(name)
            lasts.append(minutes)
    pods = np.tile(np.arange(len(dev)), seeds)
    limit = np.full(len(pods), MEMORY_LIMIT)
    watched = watched_of(NAME, (np.stack(value), limit), pods, dev[pods], every_min=DECIDE_MIN)
    return Ramps(watched, np.array(shape), np.array(lasts))


def _quiet(panel: Panel, rng: Draw) -> Floats:
    """Return levels with noise of a tenth of a thousandth to a hundredth, some in whole percent."""
    shape = panel.value.shape
    level = rng.uniform(0.05, 0.75, (shape[0], 1))
    value = level + rng.normal(size=shape) * 10.0 ** rng.uniform(-4.0, -2.0, (shape[0], 1))
    coarse = rng.uniform(size=(shape[0], 1)) < 0.2
    return np.asarray(np.where(coarse, np.round(value, 2), value))


def _with_rise(value: Floats, rng: Draw) -> tuple[Floats, str, int]:
    kind, lasts = rng.uniform(), round(float(np.exp(rng.uniform(*np.log(LASTS_MIN)))))
    read = np.flatnonzero(np.isfinite(value))
    first, last = read[0] + WARM_UP_MIN // 2, read[-1] - lasts - 1
    if kind > REACHES + RESEMBLES or last <= first:
        return value, "", 0
    start = int(rng.integers(first, last))
    before = value[max(0, start - 60) : start]
    room = LEAK_TO - float(np.nanmedian(before)) if np.isfinite(before).any() else 0.0
    if room < 2 * (LEAK_TO - MEMORY_LIMIT):
        return value, "", 0
    reaches = kind < REACHES
    shapes = SHAPES if reaches else LOOK_ALIKES
    odds = np.array([STRAIGHT if shape == "straight" else 1.0 for shape in shapes])
    name = str(rng.choice(list(shapes), p=odds / odds.sum()))
    u = np.maximum((np.arange(len(value)) - start) / lasts, 0.0)
    grown = shapes[name](np.minimum(u, 1.0) if reaches else u, rng)
    if not reaches:
        room -= LEAK_TO - MEMORY_LIMIT
    return np.minimum(value + room * grown, 1.0), name, lasts
