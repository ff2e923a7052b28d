"""One look at all launches, put together from what each says and what is kept beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.act.torchrun.kept import JobNote, Kept, LaunchNodeNote
from agent.act.torchrun.records import Launch, LaunchNode
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import flat_topology

LEMON = "lemon"
_RUNNING, _WAITING = "running", "waiting for nodes"
_NODE, _JOB = LaunchNodeNote(), JobNote()
# Ended by SIGHUP, SIGINT or SIGTERM: somebody wanted that.
_BY_HAND = (129, 130, 143)


@dataclass(frozen=True, slots=True)
class Look:
    """What launches said at one moment.

    silent: what was last known of launches that do not answer now
    gone:   launches that are neither there any more nor have said how they ended: who coordinated
            is dead, and nobody can go on
    """

    at_s: float
    launches: tuple[Launch, ...]
    silent: tuple[Launch, ...] = ()
    gone: tuple[Launch, ...] = ()

    def all(self) -> tuple[Launch, ...]:
        """Return every launch that is of interest, with those of which nothing new is known."""
        return (*self.launches, *self.silent, *self.gone)

    def of_job(self, job: str) -> Launch | None:
        """Return the launch of that job, or None."""
        return next((each for each in self.all() if each.job == job), None)

    def of_node(self, name: str) -> Launch | None:
        """Return the launch that has, or had, the node; one that lives is preferred."""
        found = [each for each in self.all() if _has(each, name)]
        return min(found, key=lambda each: each.code is not None, default=None)


def _has(launch: Launch, name: str) -> bool:
    return any(node.name == name for node in launch.nodes)


def picture(look: Look, kept: Kept, *, usual: Mapping[str, float]) -> ClusterState:
    """Return the launches as ``core`` knows a cluster.

    usual: seconds that a step of each job takes where nothing is slow, as far as known
    """
    jobs = tuple(
        job for launch in look.all() if (job := _job(launch, look, kept, usual)) is not None
    )
    nodes: dict[str, NodeState] = {}
    gpus: dict[str, list[str]] = {}
    for launch in look.all():
        for node in _nodes(launch, look, kept):
            known = nodes.get(node.name)
            if known is None or known.condition is NodeCondition.DOWN:
                nodes[node.name] = node
                gpus[node.name] = [gpu_name(node.name, at) for at in range(launch.per_node)]
    ranks = {
        job.id: [gpus[node][at] for node in job.nodes for at in range(len(gpus[node]))]
        for job in jobs
    }
    topology = flat_topology(gpus, ranks)
    return ClusterState(look.at_s, topology, tuple(nodes.values()), jobs)


def gpu_name(node: str, number: int) -> str:
    """Return what the place of a local rank is called: launches know no GPU's own name."""
    return f"{node}/gpu{number}"


def phase_of(launch: Launch, look: Look) -> JobPhase:
    """Return where a launch's job is; one whose coordinator is gone has stopped."""
    if launch.code is not None:
        over = launch.code == 0 or launch.code in _BY_HAND
        return JobPhase.COMPLETED if over else JobPhase.STOPPED
    if launch in look.gone:
        return JobPhase.STOPPED
    if launch.stage == _WAITING:
        return JobPhase.PENDING
    return JobPhase.RUNNING if launch.stage == _RUNNING else JobPhase.STARTING


def _job(launch: Launch, look: Look, kept: Kept, usual: Mapping[str, float]) -> JobState | None:
    phase, note = phase_of(launch, look), kept.jobs.get(launch.job, _JOB)
    if phase is JobPhase.COMPLETED:
        return None
    nodes = launch.nodes_used()
    sized = launch.hooked and launch.least < launch.most
    return JobState(
        id=launch.job,
        phase=phase,
        nodes=nodes,
        gpus=len(nodes) * launch.per_node,
        since_s=launch.since_s,
        checkpoint_s=launch.checkpoint.saved_s,
        step=launch.step,
        restarts=launch.restarts,
        kind="elastic" if sized else "training",
        least_nodes=launch.least if sized else 0,
        most_nodes=launch.most if sized else 0,
        asked_nodes=launch.most,
        interval_s=launch.checkpoint.interval_s,
        stall_s=launch.checkpoint.stall_s,
        step_s=launch.step_s,
        usual_step_s=usual.get(launch.job),
        paged_s=note.paged_s,
        saves=launch.checkpoint.written,
    )


def _nodes(launch: Launch, look: Look, kept: Kept) -> list[NodeState]:
    """Return the nodes of a launch that has not ended well."""
    if phase_of(launch, look) is JobPhase.COMPLETED:
        return []
    return [_node(node, kept.nodes.get(node.name, _NODE)) for node in launch.nodes]


def _node(node: LaunchNode, note: LaunchNodeNote) -> NodeState:
    condition = NodeCondition.READY
    if node.lost:
        condition = NodeCondition.DOWN
    elif node.held_by:
        condition = NodeCondition.CORDONED if node.used else NodeCondition.DRAINED
    lemon = node.held_by == OWNER and node.why.startswith(f"{LEMON}:")
    found = NodeState(
        node.name,
        condition,
        node.held_by,
        node.why,
        spare=not (node.used or node.lost or node.held_by or note.free),
        since_s=node.since_s,
        mark=LEMON if lemon else "",
    )
    return note.beside(found)
