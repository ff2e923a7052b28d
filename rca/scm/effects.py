"""Total effects, and what the target would be if something were put back to normal."""

from collections.abc import Sequence

import numpy as np

from core.types import Floats
from rca.scm.links import Kind
from rca.scm.model import Model
from rca.scm.residual import State


def total_effect(model: Model, state: State, target: int) -> Floats:
    """(V,) what one unit more of each variable makes of the target, here."""
    return model.laws.links.total(state.slope, target)


def put_back(model: Model, state: State, candidates: Sequence[int], target: int) -> Floats:
    """(K,) the target's expected level with each candidate alone put back to normal.

    "Would cordoning this node bring the step time back?": everything that the candidate moved
    follows, and what other mechanisms brought stays. Maxima are taken again: with two slow ranks
    the job still waits for the second. One pass along the graph for all candidates at once.
    """
    links = model.laws.links
    level = np.repeat(state.level[:, None], len(candidates), axis=1)
    column = np.arange(len(candidates))
    chosen = np.asarray(candidates, dtype=np.int64)
    level[chosen, column] = model.normal[chosen]
    fixed = np.zeros(level.shape, dtype=bool)
    fixed[chosen, column] = True
    for step in links.steps:
        effects, which = np.unique(links.effect[step], return_inverse=True)
        change = np.zeros((len(effects), len(chosen)))
        added = links.kind[links.effect[step]] != Kind.MAX
        cause = links.cause[step]
        moved = level[cause] - state.level[cause][:, None]
        np.add.at(change, which[added], state.slope[step[added], None] * moved[added])
        if not added.all():
            highest, was = np.full((2, *change.shape), -np.inf)
            np.maximum.at(highest, which[~added], level[cause[~added]])
            np.maximum.at(was, which[~added], state.level[cause[~added], None])
            joined = np.unique(which[~added])
            change[joined] = highest[joined] - was[joined]
        level[effects] += np.where(fixed[effects], 0.0, change)
    return np.asarray(level[target])
