"""Where every variable lies among the metrics' series, and which of them a link connects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from core.target import Target
from core.topology import NOWHERE, Topology
from core.types import Ints
from rca.graph.places import Places, Registry, Ties, joined, match
from rca.graph.templates import PARTS, Join, Template

_NEVER_SHARED = (Join.GPU, Join.PORT, Join.VOLUME)


@dataclass(frozen=True, eq=False)
class Layout:
    """V variables in the order of ``metrics``: metric m's lie at ``where[m]``."""

    metrics: tuple[str, ...]
    targets: tuple[tuple[Target, ...], ...]
    offset: Ints
    place: Places
    ties: Ties
    switch: Ints
    registry: Registry
    where: Mapping[str, slice]
    keys: Mapping[str, Ints]

    def pairs(self, link: Template) -> tuple[Ints, Ints]:
        """Return the variables (cause, effect) that one link connects."""
        cause, effect = self.where[link.cause], self.where[link.effect]
        of_cause, of_effect, tie = PARTS[link.join]
        left, right = self.keys[of_cause][cause], self.keys[of_effect][effect]
        if tie:
            pairs = getattr(self.ties, tie)
            between, reached = (pairs[:, 0], pairs[:, 1])[:: -1 if of_cause == "job" else 1]
            first, pair = match(left, between)
            then, effects = match(reached[pair], right)
            causes = first[then]
        else:
            causes, effects = match(left, right)
        if link.join not in _NEVER_SHARED:
            owned = self.keys["node"][cause] >= 0
            shared = np.flatnonzero((self.keys["volume"][cause] >= 0) & ~owned)
            causes = np.concatenate([causes, np.repeat(shared, len(right))])
            effects = np.concatenate([effects, np.tile(np.arange(len(right)), len(shared))])
        return causes + cause.start, effects + effect.start


def lay_out(
    series: Mapping[str, tuple[Target, ...]], metrics: Sequence[str], topology: Topology | None
) -> Layout:
    """Find the places of all series; without a topology only what targets say is known."""
    targets = tuple(series[name] for name in metrics)
    sizes = [len(part) for part in targets]
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    registry = Registry(topology)
    place = joined([registry.places(part) for part in targets])
    ties, switch = registry.ties(place), registry.of_nodes("node_switch")
    leaf = np.append(switch, NOWHERE)[place.node]  # a node of -1 finds the one at the end
    return Layout(
        metrics=tuple(metrics),
        targets=targets,
        offset=offset,
        place=place,
        ties=ties,
        switch=switch,
        registry=registry,
        where={name: slice(*offset[i : i + 2].tolist()) for i, name in enumerate(metrics)},
        keys={**{part.name: getattr(place, part.name) for part in fields(Places)}, "switch": leaf},
    )
