"""What a scheduler knows: nodes and whose hand took them out, jobs, and what touches what."""

from dataclasses import dataclass
from enum import StrEnum

from core.target import Target
from core.topology import Topology


class NodeCondition(StrEnum):
    """Whether jobs may start on a node. A cordoned node keeps the job it has."""

    READY = "ready"
    CORDONED = "cordoned"
    DRAINED = "drained"
    DOWN = "down"


OWNER = "gpumedic"


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as the scheduler sees it.

    owner: who took it out: ``gpumedic``, a person's or system's name, "" when it is ready
    spare: kept free for swaps
    """

    name: str
    condition: NodeCondition
    owner: str = ""
    reason: str = ""
    group: str = "default"
    spare: bool = False
    since_s: float = 0.0


class JobPhase(StrEnum):
    """Where a job is. ``stopped``: ended with an error and may be restarted."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the scheduler sees it.

    checkpoint_s: when the newest valid checkpoint was finished; None: there is none
    step: optimiser steps done, where it is reported; progress is what verification looks at
    """

    id: str
    phase: JobPhase
    nodes: tuple[str, ...]
    gpus: int
    since_s: float
    checkpoint_s: float | None = None
    step: float | None = None
    restarts: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ClusterState:
    """One consistent look at the cluster."""

    observed_s: float
    topology: Topology
    nodes: tuple[NodeState, ...]
    jobs: tuple[JobState, ...]

    def node(self, name: str) -> NodeState | None:
        """Return the node of that name, or None."""
        return next((node for node in self.nodes if node.name == name), None)

    def job(self, job_id: str) -> JobState | None:
        """Return the job of that id, or None."""
        return next((job for job in self.jobs if job.id == job_id), None)

    def jobs_touched(self, target: Target) -> tuple[JobState, ...]:
        """Return the jobs that run on, or are, the target."""
        if target.job:
            return tuple(job for job in self.jobs if job.id == target.job)
        names = set(self.topology.nodes_in(target))
        return tuple(job for job in self.jobs if names.intersection(job.nodes))

    def out_by(self, owner: str) -> tuple[NodeState, ...]:
        """Return the nodes that this owner has taken out of service."""
        return tuple(
            node
            for node in self.nodes
            if node.condition is not NodeCondition.READY and node.owner == owner
        )
