"""How well each variable reaches the symptoms along links whose variables are out of order."""

import numpy as np

from core.types import Floats, Ints
from rca.graph.causal_graph import CausalGraph
from rca.graph.templates import UNMEASURED_HOP
from rca.posterior.standing import ODD_Z, Standing

NOWHERE_NEAR = 0.05  # a candidate without a path keeps this share: ancestry is a prior, no filter
_SHARPNESS = 1.5


def oddness(odd: Floats) -> Floats:
    """Return how surely readings are out of the ordinary, (0, 1); 0.5 at ODD_Z, NaN stays."""
    return np.asarray(1 / (1 + np.exp(-_SHARPNESS * (np.clip(odd, -30, 30) - ODD_Z))))


def reach(graph: CausalGraph, standing: Standing, symptoms: Ints) -> Floats:
    """(V,) share of a symptom that a variable could have caused along its best path, in [0, 1].

    1 at a symptom; every hop multiplies by the link's strength and by how out of order the
    variable in between is; one nobody measured keeps UNMEASURED_HOP. One pass over the links,
    effects before causes.
    """
    found = np.zeros(graph.size)
    found[symptoms] = 1.0
    passes = np.where(standing.measured, oddness(standing.odd), UNMEASURED_HOP)
    passes[symptoms] = 1.0
    strength = np.array([link.strength for link in graph.templates])[graph.template]
    strength = strength * _barrier_share(graph, standing)
    metric_of_link = graph.metric[graph.effect]
    by_metric = np.argsort(metric_of_link, kind="stable")
    bounds = np.searchsorted(metric_of_link[by_metric], np.arange(len(graph.metrics) + 1))
    for index in range(len(graph.metrics) - 1, -1, -1):
        links = by_metric[bounds[index] : bounds[index + 1]]
        effect = graph.effect[links]
        np.maximum.at(found, graph.cause[links], strength[links] * found[effect] * passes[effect])
    return found


def _barrier_share(graph: CausalGraph, standing: Standing) -> Floats:
    """(E,) how much of a barrier's delay the cause brings alone, as arithmetic; 1 elsewhere."""
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    moved = standing.level - standing.centre
    share = np.ones(len(graph.cause))
    delay = moved[graph.effect[barrier]]
    ratio = np.where(delay > 0, moved[graph.cause[barrier]] / np.where(delay > 0, delay, 1.0), 1.0)
    share[barrier] = np.clip(np.nan_to_num(ratio, nan=UNMEASURED_HOP), NOWHERE_NEAR, 1.0)
    return share
