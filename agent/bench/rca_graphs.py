"""Random linear causal graphs to measure root cause on: normal rows and some abnormal ones."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from rca.scm.links import Links, link

ROWS = 1440  # a day of minutes
ABNORMAL = 9  # rows, each with another mechanism shifted
_EXTRA = 0.8  # links a variable beside the one that leads on towards the target


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One graph with data.

    links: each variable reaches the last, the target, along about 1.8 links a variable
    normal: (V, ROWS); abnormal: (V, ABNORMAL), one mechanism shifted in each row
    root:   (ABNORMAL,) which one; oddest: (ABNORMAL,) which one's noise is the largest there: of a
            thousand mechanisms one may be further off by chance
    """

    links: Links
    normal: Floats
    abnormal: Floats
    root: Ints
    oddest: Ints

    @property
    def target(self) -> int:
        """Return the variable without effects."""
        return self.links.size - 1


def draw(variables: int, *, seed: int, shift: float) -> Drawn:
    """Draw a graph, gains of 0.3 to 1 either way, and normal noise of standard deviation 1.

    shift: of one random variable's noise in each abnormal row, in its standard deviations
    """
    rng = np.random.default_rng(seed)
    pairs = _pairs(variables, rng)
    links = link(variables, pairs)
    gain = rng.uniform(0.3, 1.0, len(pairs)) * rng.choice([-1.0, 1.0], len(pairs))
    value = rng.standard_normal((variables, ROWS + ABNORMAL))
    root = rng.integers(0, variables, ABNORMAL)
    value[root, ROWS + np.arange(ABNORMAL)] += shift
    oddest = np.abs(value[:, ROWS:]).argmax(axis=0)
    for step in links.steps:
        np.add.at(value, links.effect[step], gain[step, None] * value[links.cause[step]])
    return Drawn(links, value[:, :ROWS], value[:, ROWS:], root, oddest)


def _pairs(variables: int, rng: np.random.Generator) -> Ints:
    """(E, 2) links from lower to higher numbers; one from every variable but the last."""
    onward = np.arange(variables - 1)
    more = rng.integers(0, variables - 1, int(_EXTRA * variables))
    cause = np.concatenate([onward, more])
    return np.unique(np.stack([cause, rng.integers(cause + 1, variables)], axis=1), axis=0)
