"""Published methods on the same tables: each column is a variable, a component its worst column."""

from collections.abc import Callable

import numpy as np

from agent.evaluations.rca import baselines
from core.types import Floats, Ints
from rca.frames.inputs import Tables
from rca.frames.kinds import TROUBLE, kind

METHODS: dict[str, baselines.Baseline] = {
    "nsigma": baselines.nsigma,
    "baro": baselines.robust,
    "circa": baselines.regression,
    "traversal": baselines.traversal,
    "random_walk": baselines.random_walk,
}


def ranked(method: str) -> Callable[[Tables], tuple[str, ...]]:
    """Return what ranks the components of checked tables by a published method."""

    def rank(read: Tables) -> tuple[str, ...]:
        score = METHODS[method](read.normal, read.abnormal, variable_links(read), read.target)
        most = np.full(len(read.components), -np.inf)
        np.maximum.at(most, read.component, score)
        order = np.argsort(-most, kind="stable")
        return tuple(read.components[k] for k in order if np.isfinite(most[k]) and most[k] > 0)

    return rank


def variable_links(read: Tables) -> Ints:
    """Return (L, 2) columns, cause and effect, as these methods are given them.

    Within a component every resource may move what is passed on; between linked components a
    metric moves its like, and what is passed on moves the watched column.
    """
    passed = np.array([kind(metric) in TROUBLE for metric in read.metric], dtype=bool)
    names = np.array([f"{a}|{b}" for a, b in zip(read.metric, read.statistic, strict=True)])
    linked = np.zeros((len(read.components), len(read.components)), dtype=bool)
    linked[read.links[:, 0], read.links[:, 1]] = True
    between = linked[np.ix_(read.component, read.component)]
    watched = np.arange(passed.size) == read.target
    alike = (names[:, None] == names) | (passed[:, None] & watched)
    within = read.component[:, None] == read.component
    found: Floats = (between & alike) | (within & ~passed[:, None] & passed)
    return np.argwhere(found)
