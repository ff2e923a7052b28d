"""How each variable reaches the symptoms along links whose variables are out of order."""

import math
from dataclasses import dataclass

import numpy as np

from core.topology import NOWHERE
from core.types import Floats, Hop, Ints
from rca.graph.causal_graph import CausalGraph
from rca.graph.templates import UNMEASURED_HOP, Provenance, Template
from rca.posterior.standing import ODD_Z, Standing

NOWHERE_NEAR = 0.05  # a candidate without a path keeps this share: ancestry is a prior, no filter
_SHARPNESS = 1.5


def oddness(odd: Floats) -> Floats:
    """Return how surely readings are out of the ordinary, (0, 1); 0.5 at ODD_Z, NaN stays."""
    return np.asarray(1 / (1 + np.exp(-_SHARPNESS * (np.clip(odd, -30, 30) - ODD_Z))))


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """The best way from every variable to a symptom.

    share: (V,) of a symptom that a variable could have caused along it, in [0, 1]
    link:  (V,) the first link of it; -1 at a symptom, and where there is no way
    """

    share: Floats
    link: Ints

    def links(self, graph: CausalGraph, start: int) -> tuple[int, ...]:
        """Return the links from a variable to the symptom, in order; none where it has no way."""
        found: list[int] = []
        while self.link[start] != NOWHERE:
            found.append(int(self.link[start]))
            start = int(graph.effect[found[-1]])
        return tuple(found)


def ways(graph: CausalGraph, standing: Standing, symptoms: Ints, *, learned: bool = True) -> Ways:
    """Return how each variable could best have caused a symptom.

    1 at a symptom; every hop multiplies by the link's strength and by how out of order the
    variable in between is; one nobody measured keeps UNMEASURED_HOP. One pass over the links,
    effects before causes. learned: whether a way may take links that only readings suggest.
    """
    found, first = np.zeros(graph.size), np.full(graph.size, NOWHERE)
    found[symptoms] = 1.0
    passes = np.where(standing.measured, oddness(standing.odd), UNMEASURED_HOP)
    passes[symptoms] = 1.0
    strength = np.array(
        [link.strength * (learned or not _learned(link)) for link in graph.templates]
    )[graph.template]
    strength = strength * _barrier_share(graph, standing)
    metric_of_link = graph.metric[graph.effect]
    by_metric = np.argsort(metric_of_link, kind="stable")
    bounds = np.searchsorted(metric_of_link[by_metric], np.arange(len(graph.metrics) + 1))
    for index in range(len(graph.metrics) - 1, -1, -1):
        links = by_metric[bounds[index] : bounds[index + 1]]
        cause, effect = graph.cause[links], graph.effect[links]
        share, before = strength[links] * found[effect] * passes[effect], found[cause]
        np.maximum.at(found, cause, share)
        better = (share > before) & (share == found[cause])
        first[cause[better]] = links[better]
    return Ways(found, first)


def reach(graph: CausalGraph, standing: Standing, symptoms: Ints) -> Floats:
    """(V,) share of a symptom that a variable could have caused along its best way, in [0, 1]."""
    return ways(graph, standing, symptoms).share


def hops(graph: CausalGraph, standing: Standing, found: Ways, start: int) -> tuple[Hop, ...]:
    """Return the way from a variable to the symptom, itself first; readings nobody measures too."""
    steps = [_hop(graph, standing, start)]
    for number in found.links(graph, start):
        effect = int(graph.effect[number])
        link = graph.templates[int(graph.template[number])]
        guess = _learned(link)
        steps += [
            Hop(graph.target(effect), metric, None, None, learned=guess) for metric in link.over
        ]
        steps.append(_hop(graph, standing, effect, learned=guess))
    return tuple(steps)


def _learned(link: Template) -> bool:
    return link.provenance is Provenance.LEARNED


def _hop(graph: CausalGraph, standing: Standing, variable: int, *, learned: bool = False) -> Hop:
    usual, level, moved, began_s = (
        float(part[variable])
        for part in (standing.centre, standing.level, standing.own, standing.onset_s)
    )
    return Hop(
        target=graph.target(variable),
        metric=graph.metrics[int(graph.metric[variable])],
        moved=moved if math.isfinite(moved) else None,
        began_s=began_s if math.isfinite(began_s) else None,
        usual=usual if math.isfinite(usual) else None,
        level=level if math.isfinite(level) else None,
        learned=learned,
    )


def _barrier_share(graph: CausalGraph, standing: Standing) -> Floats:
    """(E,) how much of a barrier's delay the cause brings alone, as arithmetic; 1 elsewhere."""
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    moved = standing.level - standing.centre
    share = np.ones(len(graph.cause))
    delay = moved[graph.effect[barrier]]
    ratio = np.where(delay > 0, moved[graph.cause[barrier]] / np.where(delay > 0, delay, 1.0), 1.0)
    share[barrier] = np.clip(np.nan_to_num(ratio, nan=UNMEASURED_HOP), NOWHERE_NEAR, 1.0)
    return share
