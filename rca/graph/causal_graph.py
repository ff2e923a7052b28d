"""The causal graph of a cluster: a variable is a metric on a target, links are index arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from core.target import Target
from core.topology import NOWHERE, Topology
from core.types import Ints
from rca.graph.layout import lay_out
from rca.graph.links import TEMPLATES
from rca.graph.places import EMPTY, Places
from rca.graph.templates import Template, order, templates_over


@dataclass(frozen=True, eq=False)
class CausalGraph:
    """Variables V and links E.

    metrics:  (M,) names, causes before effects; ``offset`` (M + 1,) where each one's variables lie
    targets:  M tuples of targets: variable ``offset[m] + s`` is metric m on its series s
    metric:   (V,) index into metrics
    nodes, gpus, jobs, volumes: names behind ``place``'s indices
    rack, switch: (nodes,) index of a node's rack and switch, -1 not known
    racks, switches: their names
    node_job: (P, 2) pairs (node, job) of what runs where
    cause, effect, template: (E,) variable, variable, index into ``templates``
    """

    metrics: tuple[str, ...]
    targets: tuple[tuple[Target, ...], ...]
    offset: Ints
    metric: Ints
    place: Places
    nodes: tuple[str, ...]
    gpus: tuple[str, ...]
    jobs: tuple[str, ...]
    volumes: tuple[str, ...]
    rack: Ints
    switch: Ints
    racks: tuple[str, ...]
    switches: tuple[str, ...]
    node_job: Ints
    templates: tuple[Template, ...]
    cause: Ints
    effect: Ints
    template: Ints

    @property
    def size(self) -> int:
        """Return V, the number of variables."""
        return int(self.offset[-1])

    @cached_property
    def metric_index(self) -> Mapping[str, int]:
        """Map a metric's name to its index."""
        return {name: index for index, name in enumerate(self.metrics)}

    def span(self, metric: str) -> slice:
        """Return where the metric's variables lie; an empty slice where nobody measures it."""
        index = self.metric_index.get(metric, NOWHERE)
        return slice(0, 0) if index < 0 else slice(*self.offset[index : index + 2].tolist())

    def target(self, variable: int) -> Target:
        """Return the variable's target."""
        index = int(self.metric[variable])
        return self.targets[index][variable - int(self.offset[index])]

    def variables_of(self, target: Target) -> Ints:
        """Return the variables that sit on exactly this target, found by its place.

        A rank is found by its job and number, everything else by its index.
        """
        found = [
            self.offset[index] + series
            for index, targets in enumerate(self.targets)
            if (series := _row_of(targets).get(target, NOWHERE)) >= 0
        ]
        return np.array(found, dtype=np.int64)


class _Same:
    """A tuple of targets hashed by identity: series seldom change, hashing them all is slow."""

    __slots__ = ("targets",)

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self.targets = targets

    def __hash__(self) -> int:
        return id(self.targets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.targets is self.targets


def _row_of(targets: tuple[Target, ...]) -> Mapping[Target, int]:
    return _rows(_Same(targets))


@lru_cache(maxsize=128)
def _rows(same: _Same) -> Mapping[Target, int]:
    return {target: row for row, target in enumerate(same.targets)}


def build_graph(
    series: Mapping[str, tuple[Target, ...]],
    topology: Topology | None,
    links: tuple[Template, ...] = TEMPLATES,
) -> CausalGraph:
    """Instantiate the links on what is measured.

    series: metric -> its targets. Metrics that no link knows are variables without links.
    Without a topology only what the targets say themselves is known.
    """
    templates = templates_over(links, frozenset(series))
    layout = lay_out(series, order(tuple(series), templates), topology)
    registry, pairs = layout.registry, [layout.pairs(link) for link in templates]
    return CausalGraph(
        metrics=layout.metrics,
        targets=layout.targets,
        offset=layout.offset,
        metric=np.repeat(np.arange(len(layout.metrics)), np.diff(layout.offset)),
        place=layout.place,
        nodes=registry.nodes.tuple(),
        gpus=registry.gpus.tuple(),
        jobs=registry.jobs.tuple(),
        volumes=registry.volumes.tuple(),
        rack=registry.of_nodes("node_rack"),
        switch=layout.switch,
        racks=topology.racks if topology else (),
        switches=topology.switches if topology else (),
        node_job=layout.ties.node_job,
        templates=templates,
        cause=np.concatenate([cause for cause, _ in pairs] or [EMPTY]),
        effect=np.concatenate([effect for _, effect in pairs] or [EMPTY]),
        template=np.repeat(np.arange(len(pairs)), [len(cause) for cause, _ in pairs]),
    )
