"""Small causal graphs with known laws, for the tests of rca.scm."""

import numpy as np

from core.types import Floats, Ints
from rca.scm.links import Links, link

DIAMOND: Ints = np.array([[0, 1], [0, 2], [1, 3], [2, 3], [3, 4]])
GAIN: Floats = np.array([0.8, -0.6, 1.2, 0.5, 0.9])


def diamond() -> Links:
    """0 -> 1 and 2 -> 3 -> 4."""
    return link(5, DIAMOND, names=("inlet", "left", "right", "clock", "step"))


def propagate(links: Links, gain: Floats, noise: Floats) -> Floats:
    """(V, T) what linear laws make of (V, T) noise, without lags."""
    value = noise.copy()
    for step in links.steps:
        np.add.at(value, links.effect[step], gain[step, None] * value[links.cause[step]])
    return value


def normal_rows(rows: int = 400, *, seed: int = 0) -> Floats:
    """(5, rows) of the diamond."""
    noise = np.random.default_rng(seed).standard_normal((5, rows))
    return propagate(diamond(), GAIN, noise)


def abnormal_row(root: int, shift: float, *, seed: int = 9) -> Floats:
    """(5, 1) of the diamond, one mechanism shifted."""
    noise = np.random.default_rng(seed).standard_normal((5, 1))
    noise[root] += shift
    return propagate(diamond(), GAIN, noise)
