"""Which GPU, node, rack, switch, job and rank touch each other, as index arrays."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.target import Target
from core.types import Ints

NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Topology:
    """The cluster's fixed shape and where each rank runs now.

    nodes (N), racks, switches, gpus (G), jobs (J): names; order is the arrays' index
    node_rack, node_switch: (N,) index of the node's rack / leaf switch, -1 where not known
    gpu_node: (G,) index of the GPU's node
    rank_job, rank_gpu: (R,) index of a rank's job and GPU
    """

    nodes: tuple[str, ...]
    racks: tuple[str, ...]
    switches: tuple[str, ...]
    gpus: tuple[str, ...]
    jobs: tuple[str, ...]
    node_rack: Ints
    node_switch: Ints
    gpu_node: Ints
    rank_job: Ints
    rank_gpu: Ints

    @cached_property
    def node_index(self) -> Mapping[str, int]:
        """Map a node's name to its index."""
        return {name: index for index, name in enumerate(self.nodes)}

    @cached_property
    def gpu_index(self) -> Mapping[str, int]:
        """Map a GPU's UUID to its index."""
        return {uuid: index for index, uuid in enumerate(self.gpus)}

    @cached_property
    def job_index(self) -> Mapping[str, int]:
        """Map a job's id to its index."""
        return {job: index for index, job in enumerate(self.jobs)}

    @cached_property
    def rank_node(self) -> Ints:
        """(R,) index of the node each rank runs on."""
        return self.gpu_node[self.rank_gpu]

    def node_of(self, target: Target) -> str:
        """Return the one node the target lies on, or ""."""
        if target.node:
            return target.node
        if target.gpu in self.gpu_index:
            return self.nodes[int(self.gpu_node[self.gpu_index[target.gpu]])]
        return ""

    def nodes_in(self, target: Target) -> tuple[str, ...]:
        """Return the nodes the target covers: its own, its job's, its rack's, its switch's."""
        if node := self.node_of(target):
            return (node,)
        if target.job:
            return self.nodes_of_job(target.job)
        if target.switch:
            return self._where(self.node_switch, self.switches, target.switch)
        if target.rack:
            return self._where(self.node_rack, self.racks, target.rack)
        return ()

    def nodes_of_job(self, job: str) -> tuple[str, ...]:
        """Return the nodes the job's ranks run on, in index order."""
        index = self.job_index.get(job, NOWHERE)
        return tuple(self.nodes[i] for i in np.unique(self.rank_node[self.rank_job == index]))

    def jobs_on(self, target: Target) -> tuple[str, ...]:
        """Return the jobs with a rank on any node the target covers, in index order."""
        if target.job:
            return (target.job,)
        indices = [
            self.node_index[name] for name in self.nodes_in(target) if name in self.node_index
        ]
        on_them = np.isin(self.rank_node, indices)
        return tuple(self.jobs[i] for i in np.unique(self.rank_job[on_them]))

    def gpus_of_node(self, node: str) -> tuple[str, ...]:
        """Return the UUIDs of the node's GPUs."""
        index = self.node_index.get(node, NOWHERE)
        return tuple(self.gpus[i] for i in np.flatnonzero(self.gpu_node == index))

    def rack_of(self, node: str) -> str:
        """Return the node's rack, or "" where not known."""
        return self._place(self.node_rack, self.racks, node)

    def switch_of(self, node: str) -> str:
        """Return the node's leaf switch, or "" where not known."""
        return self._place(self.node_switch, self.switches, node)

    def _where(self, place: Ints, names: tuple[str, ...], name: str) -> tuple[str, ...]:
        if name not in names:
            return ()
        return tuple(self.nodes[i] for i in np.flatnonzero(place == names.index(name)))

    def _place(self, place: Ints, names: tuple[str, ...], node: str) -> str:
        index = self.node_index.get(node, NOWHERE)
        if index == NOWHERE or place[index] == NOWHERE:
            return ""
        return names[int(place[index])]


def flat_topology(
    gpus_of: Mapping[str, Iterable[str]], ranks_of: Mapping[str, Iterable[str]] | None = None
) -> Topology:
    """Build a topology from what is known without racks and switches.

    gpus_of:  node -> its GPUs' UUIDs; a node without GPUs has none
    ranks_of: job -> the GPU of each of its ranks, in rank order
    """
    nodes = tuple(gpus_of)
    placed = [(uuid, index) for index, node in enumerate(nodes) for uuid in gpus_of[node]]
    gpus = tuple(uuid for uuid, _ in placed)
    where = {uuid: index for index, uuid in enumerate(gpus)}
    jobs = tuple(ranks_of or {})
    ranks = [(j, where[uuid]) for j, job in enumerate(jobs) for uuid in (ranks_of or {})[job]]
    unknown = np.full(len(nodes), NOWHERE, dtype=np.int64)
    return Topology(
        nodes=nodes,
        racks=(),
        switches=(),
        gpus=gpus,
        jobs=jobs,
        node_rack=unknown,
        node_switch=unknown,
        gpu_node=np.array([index for _, index in placed], dtype=np.int64),
        rank_job=np.array([job for job, _ in ranks], dtype=np.int64),
        rank_gpu=np.array([gpu for _, gpu in ranks], dtype=np.int64),
    )
