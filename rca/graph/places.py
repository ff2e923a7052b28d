"""Where readings sit: the node, GPU, port, volume and job of every target, as indices."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from core.target import Target
from core.topology import NOWHERE, Topology
from core.types import Ints

EMPTY: Ints = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Places:
    """Where each of V variables sits, as indices into the graph's own names; -1: nowhere known."""

    node: Ints
    gpu: Ints
    port: Ints
    volume: Ints
    job: Ints


@dataclass(frozen=True, eq=False)
class Ties:
    """What belongs to which job, each (P, 2) with the job second, each pair once."""

    node_job: Ints
    gpu_job: Ints
    switch_job: Ints


def joined(parts: Sequence[Places]) -> Places:
    """Return places one after another."""
    return Places(
        **{
            part.name: np.concatenate([getattr(places, part.name) for places in parts] or [EMPTY])
            for part in fields(Places)
        }
    )


class _Names:
    """Numbers names in the order they are met, the topology's first."""

    def __init__(self, known: Sequence[str]) -> None:
        self.index: dict[str, int] = {name: number for number, name in enumerate(known)}

    def all(self, names: Iterable[str]) -> Ints:
        index = self.index
        numbers = [index.setdefault(name, len(index)) if name else NOWHERE for name in names]
        return np.array(numbers, dtype=np.int64)

    def tuple(self) -> tuple[str, ...]:
        return tuple(self.index)


class Registry:
    """Finds the places of targets, in the topology's numbers where it has them.

    The topology fills in what a target leaves out: a GPU's node, a rank's GPU. Many metrics have
    the same targets, which are looked up once.
    """

    def __init__(self, topology: Topology | None) -> None:
        self.topology = topology
        self.nodes = _Names(topology.nodes if topology else ())
        self.gpus = _Names(topology.gpus if topology else ())
        self.jobs = _Names(topology.jobs if topology else ())
        self.ports = _Names(())
        self.volumes = _Names(())
        self._known: list[tuple[tuple[Target, ...], Places]] = []

    def places(self, targets: tuple[Target, ...]) -> Places:
        """Return the places of targets, (S,) each."""
        for others, places in self._known:
            if others is targets or others == targets:
                return places
        places = self._find(targets)
        self._known.append((targets, places))
        return places

    def _find(self, targets: tuple[Target, ...]) -> Places:
        node = self.nodes.all([target.node for target in targets])
        gpu = self.gpus.all([target.gpu for target in targets])
        job = self.jobs.all([target.job for target in targets])
        if self.topology is not None:
            gpu = _gpu_of_rank(targets, self.topology, job=job, gpu=gpu)
            known = self.topology.gpu_node
            inside = (node < 0) & (gpu >= 0) & (gpu < len(known))
            node[inside] = known[gpu[inside]]
        return Places(
            node=node,
            gpu=gpu,
            port=self.ports.all(_owned(targets, lambda target: target.port)),
            volume=self.volumes.all(_owned(targets, lambda target: target.volume)),
            job=job,
        )

    def ties(self, place: Places) -> Ties:
        """Return which nodes, GPUs and leaf switches belong to which jobs."""
        node_job = self._pairs(place.node, place.job, "rank_node")
        gpu_job = self._pairs(place.gpu, place.job, "rank_gpu")
        switch = self.of_nodes("node_switch")[node_job[:, 0]]
        return Ties(
            node_job=node_job,
            gpu_job=_with_unplaced(gpu_job, node_job, place),
            switch_job=_unique(np.stack([switch, node_job[:, 1]], axis=1)),
        )

    def _pairs(self, part: Ints, job: Ints, ranks: str) -> Ints:
        pairs = np.stack([part, job], axis=1)
        if self.topology is not None and len(self.topology.rank_job):
            known = np.stack([getattr(self.topology, ranks), self.topology.rank_job], axis=1)
            pairs = np.concatenate([pairs, known])
        return _unique(pairs)

    def of_nodes(self, name: str) -> Ints:
        """(nodes,) the topology's rack or switch of each node, -1 where it has none."""
        places = np.full(len(self.nodes.index), NOWHERE, dtype=np.int64)
        if self.topology is not None:
            known = getattr(self.topology, name)
            places[: len(known)] = known
        return places


def _owned(targets: tuple[Target, ...], part: Callable[[Target], str]) -> list[str]:
    """Return each target's part with its node's name, as no other node has it; "" for none."""
    return [f"{target.node}:{name}" if (name := part(target)) else "" for target in targets]


def _unique(pairs: Ints) -> Ints:
    """Return the pairs whose both sides are known, each once, in order."""
    kept = pairs[(pairs >= 0).all(axis=1)]
    width = int(kept[:, 1].max(initial=0)) + 1
    keys = np.unique(kept[:, 0] * width + kept[:, 1])
    return np.stack([keys // width, keys % width], axis=1)


def _with_unplaced(gpu_job: Ints, node_job: Ints, place: Places) -> Ints:
    """Add, for jobs whose GPUs nobody names, the GPUs of their nodes."""
    bare = node_job[~np.isin(node_job[:, 1], gpu_job[:, 1])]
    if not len(bare):
        return gpu_job
    there = _unique(np.stack([place.gpu, place.node], axis=1))
    gpu, pair = match(there[:, 1], bare[:, 0])
    return _unique(np.concatenate([gpu_job, np.stack([there[gpu, 0], bare[pair, 1]], axis=1)]))


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
