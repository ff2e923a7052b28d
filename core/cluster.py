"""What a scheduler knows: nodes and whose hand took them out, jobs, and what touches what."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

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
    zone:  "" where the cluster has none; driver: of its GPUs, "" where not known
    mark:  "lemon" on one that only people return to service
    clocks: share of their full clock that its GPUs may run at by order
    power_watts: what each of its GPUs may draw by order; None: its board's own limit
    checked_s: when its last checks ended, None: there were none; finding: what they found, "" for
           nothing
    reset_s: when a GPU of it was last reset; paged_s: when a person was last called to it
    """

    name: str
    condition: NodeCondition
    owner: str = ""
    reason: str = ""
    group: str = "default"
    spare: bool = False
    since_s: float = 0.0
    zone: str = ""
    driver: str = ""
    mark: str = ""
    clocks: float = 1.0
    power_watts: float | None = None
    checked_s: float | None = None
    finding: str = ""
    reset_s: float | None = None
    paged_s: float | None = None


class JobPhase(StrEnum):
    """Where a job is. ``stopped``: ended with an error and may be restarted."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What a training was told beside its size; 1 is as it was submitted.

    loaders: threads; batch: samples a GPU takes at once; accumulate: batches a step
    cache:   share of its reads that a local cache answers
    compressed: gradients are sent compressed
    """

    loaders: float = 1.0
    batch: float = 1.0
    accumulate: float = 1.0
    cache: float = 0.0
    compressed: bool = False


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What answers requests.

    replicas: wanted, between ``least`` and ``most``; ready: that answer now
    batch:   most requests answered together
    cache:   share of the GPUs' memory that keeps answered prompts, which leaves less for batches
    canary:  share of the requests that the newest version answers
    """

    replicas: int
    ready: int
    least: int
    most: int
    batch: float
    cache: float = 0.0
    canary: float = 0.0


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the scheduler sees it.

    checkpoint_s: when the newest valid checkpoint was finished; None: there is none
    step: optimiser steps done, where it is reported; progress is what verification looks at
    kind: training, elastic, service, parameter_server, pipeline or interactive
    least_nodes, most_nodes: what it can run on, in steps of ``unit_nodes``; 0: not known, so its
        size is left alone
    asked_nodes: what it was submitted with, or told since; 0: less than a node, or not known
    interval_s: of work between checkpoints, None: it writes none, or not known; stall_s: how long
        it stands for one
    step_s: of a step now, usual_step_s: of one where nothing is slow; None where not known
    paged_s: when a person was last called to it
    saves: it can be told to save its state; without, it does so only by itself, if at all
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
    kind: str = "training"
    least_nodes: int = 0
    most_nodes: int = 0
    unit_nodes: int = 1
    asked_nodes: int = 0
    interval_s: float | None = None
    stall_s: float | None = None
    step_s: float | None = None
    usual_step_s: float | None = None
    paged_s: float | None = None
    saves: bool = True
    settings: JobSettings = JobSettings()
    service: ServiceState | None = None


@dataclass(frozen=True, eq=False)
class ClusterState:
    """One consistent look at the cluster.

    rollouts: versions that are being given to all nodes
    unable: (kind of action that nobody can do here, what can be done instead)
    """

    observed_s: float
    topology: Topology
    nodes: tuple[NodeState, ...]
    jobs: tuple[JobState, ...]
    rollouts: tuple[str, ...] = ()
    unable: tuple[tuple[str, str], ...] = ()

    def node(self, name: str) -> NodeState | None:
        """Return the node of that name, or None."""
        return self._node_by_name.get(name)

    def job(self, job_id: str) -> JobState | None:
        """Return the job of that id, or None."""
        return self._job_by_id.get(job_id)

    def instead_of(self, kind: str) -> str:
        """Return what to do instead of a kind of action that nobody can do here, or ""."""
        return dict(self.unable).get(kind, "")

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

    @cached_property
    def _node_by_name(self) -> Mapping[str, NodeState]:
        return {node.name: node for node in reversed(self.nodes)}

    @cached_property
    def _job_by_id(self) -> Mapping[str, JobState]:
        return {job.id: job for job in reversed(self.jobs)}
