"""Where nodes and jobs are, looked up by name; a topology that nobody knows has nothing in it."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from core.target import Target
from core.topology import Topology


class Places:
    """A topology's answers for one look, each worked out once for all nodes."""

    def __init__(self, topology: Topology | None) -> None:
        self.topology = topology

    def node_of(self, target: Target) -> str:
        """Return the one node the target lies on, "" for none."""
        if target.node or not target.gpu or self.topology is None:
            return target.node
        return self.topology.node_of(target)

    def jobs_on(self, target: Target) -> tuple[str, ...]:
        """Return the jobs that a symptom of the target touches."""
        if target.job:
            return (target.job,)
        if node := self.node_of(target):
            return self.jobs_of(node)
        return self.topology.jobs_on(target) if self.topology is not None else ()

    def jobs_of(self, node: str) -> tuple[str, ...]:
        """Return the jobs with a rank on the node."""
        return self._jobs.get(node, ())

    def nodes_of(self, job: str) -> tuple[str, ...]:
        """Return the nodes the job's ranks run on."""
        return self._nodes.get(job, ())

    def switch_of(self, node: str) -> str:
        """Return the node's leaf switch, or "" where not known."""
        return self.topology.switch_of(node) if self.topology is not None else ""

    def rack_of(self, node: str) -> str:
        """Return the node's rack, or "" where not known."""
        return self.topology.rack_of(node) if self.topology is not None else ""

    @cached_property
    def _jobs(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for job, nodes in self._nodes.items():
            for node in nodes:
                found[node] = (*found.get(node, ()), job)
        return found

    @cached_property
    def _nodes(self) -> Mapping[str, tuple[str, ...]]:
        if self.topology is None or not self.topology.rank_job.size:
            return {}
        on, size = self.topology, len(self.topology.nodes)
        found: dict[str, list[str]] = {}
        for pair in np.unique(on.rank_job * size + on.rank_node).tolist():
            found.setdefault(on.jobs[pair // size], []).append(on.nodes[pair % size])
        return {job: tuple(nodes) for job, nodes in found.items()}
