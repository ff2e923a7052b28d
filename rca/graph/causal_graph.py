"""The causal graph of a cluster: a variable is a metric on a target, links are index arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from core.target import Target
from core.topology import NOWHERE, Topology
from core.types import Ints
from rca.graph.templates import Join, Template, order, templates_over


@dataclass(frozen=True, eq=False)
class Places:
    """Where each of V variables sits, as indices into the graph's own names; -1: nowhere known."""

    node: Ints
    gpu: Ints
    job: Ints
    volume: Ints


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


class _Names:
    """Numbers names in the order they are met, the topology's first."""

    def __init__(self, known: Sequence[str]) -> None:
        self.index: dict[str, int] = {name: number for number, name in enumerate(known)}

    def number(self, name: str) -> int:
        return self.index.setdefault(name, len(self.index)) if name else NOWHERE

    def all(self, names: Sequence[str]) -> Ints:
        return np.array([self.number(name) for name in names], dtype=np.int64)

    def tuple(self) -> tuple[str, ...]:
        return tuple(self.index)


def build_graph(series: Mapping[str, tuple[Target, ...]], topology: Topology | None) -> CausalGraph:
    """Instantiate the templates on what is measured.

    series: metric -> its targets. Metrics that no template knows are variables without links.
    Without a topology only what the targets say themselves is known.
    """
    templates = templates_over(frozenset(series))
    metrics = order(tuple(series), templates)
    targets = tuple(series[name] for name in metrics)
    sizes = np.array([len(part) for part in targets], dtype=np.int64)
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    registry = _Registry(topology)
    places = [registry.places(part) for part in targets]
    place = Places(
        *(
            np.concatenate([getattr(part, name) for part in places] or [_EMPTY])
            for name in ("node", "gpu", "job", "volume")
        )
    )
    node_job = registry.node_job(place)
    where = {name: slice(*offset[i : i + 2].tolist()) for i, name in enumerate(metrics)}
    pairs = [_pairs(place, where, link, node_job=node_job) for link in templates]
    return CausalGraph(
        metrics=metrics,
        targets=targets,
        offset=offset,
        metric=np.repeat(np.arange(len(metrics)), sizes),
        place=place,
        nodes=registry.nodes.tuple(),
        gpus=registry.gpus.tuple(),
        jobs=registry.jobs.tuple(),
        volumes=registry.volumes.tuple(),
        rack=registry.of_nodes("node_rack"),
        switch=registry.of_nodes("node_switch"),
        racks=topology.racks if topology else (),
        switches=topology.switches if topology else (),
        node_job=node_job,
        templates=templates,
        cause=np.concatenate([cause for cause, _ in pairs] or [_EMPTY]),
        effect=np.concatenate([effect for _, effect in pairs] or [_EMPTY]),
        template=np.repeat(np.arange(len(pairs)), [len(cause) for cause, _ in pairs]),
    )


_EMPTY: Ints = np.zeros(0, dtype=np.int64)


class _Registry:
    """Finds the node, GPU, job and volume of targets, in the topology's numbers where it has them.

    The topology fills in what a target leaves out: a GPU's node, a rank's GPU.
    """

    def __init__(self, topology: Topology | None) -> None:
        self.topology = topology
        self.nodes = _Names(topology.nodes if topology else ())
        self.gpus = _Names(topology.gpus if topology else ())
        self.jobs = _Names(topology.jobs if topology else ())
        self.volumes = _Names(())

    def places(self, targets: tuple[Target, ...]) -> Places:
        node = self.nodes.all([target.node for target in targets])
        gpu = self.gpus.all([target.gpu for target in targets])
        job = self.jobs.all([target.job for target in targets])
        volume = self.volumes.all(
            [f"{target.node}:{target.volume}" if target.volume else "" for target in targets]
        )
        if self.topology is not None:
            gpu = _gpu_of_rank(targets, self.topology, job=job, gpu=gpu)
            known = self.topology.gpu_node
            inside = (node < 0) & (gpu >= 0) & (gpu < len(known))
            node[inside] = known[gpu[inside]]
        return Places(node=node, gpu=gpu, job=job, volume=volume)

    def node_job(self, place: Places) -> Ints:
        pairs = np.stack([place.node, place.job], axis=1)
        pairs = pairs[(pairs >= 0).all(axis=1)]
        if self.topology is not None and len(self.topology.rank_job):
            ranks = np.stack([self.topology.rank_node, self.topology.rank_job], axis=1)
            pairs = np.concatenate([pairs, ranks])
        return np.unique(pairs, axis=0).reshape(-1, 2)

    def of_nodes(self, name: str) -> Ints:
        """(nodes,) the topology's rack or switch of each node, -1 where it has none."""
        places = np.full(len(self.nodes.index), NOWHERE, dtype=np.int64)
        if self.topology is not None:
            known = getattr(self.topology, name)
            places[: len(known)] = known
        return places


def _gpu_of_rank(targets: tuple[Target, ...], topology: Topology, *, job: Ints, gpu: Ints) -> Ints:
    """Return ``gpu`` with the ranks filled in whose target leaves their GPU out."""
    filled = gpu.copy()
    for row in np.flatnonzero((gpu < 0) & (job >= 0) & (job < len(topology.jobs))).tolist():
        if not targets[row].rank.isdecimal():
            continue
        ranks = np.flatnonzero(topology.rank_job == job[row])
        number = int(targets[row].rank)
        if number < len(ranks):
            filled[row] = topology.rank_gpu[ranks[number]]
    return filled


def _pairs(
    place: Places, where: Mapping[str, slice], link: Template, *, node_job: Ints
) -> tuple[Ints, Ints]:
    """Return the variables (cause, effect) that one template connects."""
    cause, effect = where[link.cause], where[link.effect]
    if link.join is Join.NODE_JOB:
        node, pair = match(place.node[cause], node_job[:, 0])
        job, found = match(node_job[pair, 1], place.job[effect])
        causes, effects = node[job], found
    else:
        key = _KEYS[link.join](place)
        causes, effects = match(key[cause], key[effect])
    shared, reached = _shared(place, cause, effect, link.join)
    return (
        np.concatenate([causes, shared]) + cause.start,
        np.concatenate([effects, reached]) + effect.start,
    )


_KEYS: Mapping[Join, Callable[[Places], Ints]] = {
    Join.GPU: lambda place: place.gpu,
    Join.NODE: lambda place: place.node,
    Join.VOLUME: lambda place: place.volume,
    Join.JOB: lambda place: place.job,
}


def _shared(place: Places, cause: slice, effect: slice, join: Join) -> tuple[Ints, Ints]:
    """Return pairs of every shared volume among the causes with every effect."""
    if join in (Join.VOLUME, Join.GPU):
        return _EMPTY, _EMPTY
    volumes = np.flatnonzero((place.volume[cause] >= 0) & (place.node[cause] < 0))
    effects = np.arange(effect.stop - effect.start)
    return np.repeat(volumes, len(effects)), np.tile(effects, len(volumes))


def match(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Return all index pairs (i, j) with left[i] == right[j] >= 0, in O(n log n + pairs)."""
    by_key = np.argsort(right, kind="stable")
    sorted_right = right[by_key]
    first = np.searchsorted(sorted_right, left, side="left")
    last = np.searchsorted(sorted_right, left, side="right")
    count = np.where(left >= 0, last - first, 0)
    rows = np.repeat(np.arange(len(left)), count)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, by_key[np.repeat(first, count) + step]
