"""Whether an action's effect shows in the cluster, and the state that is expected after it."""

from dataclasses import replace

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition
from core.types import Action
from remediation.subject import job_of


def cordon_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node takes no jobs, by our hand."""
    node = state.node(action.target.node)
    return node is not None and node.condition is not NodeCondition.READY and node.owner == OWNER


def uncordon_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node takes jobs."""
    node = state.node(action.target.node)
    return node is not None and node.condition is NodeCondition.READY


def checkpoint_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether a checkpoint was finished since the order."""
    job = state.job(job_of(action))
    return job is not None and job.checkpoint_s is not None and job.checkpoint_s >= started_s


def _runs_since(job: JobState | None, started_s: float) -> bool:
    return job is not None and job.phase is JobPhase.RUNNING and job.since_s >= started_s


def restart_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs again since the order."""
    return _runs_since(state.job(job_of(action)), started_s)


def swap_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs without the node since the order."""
    job = state.job(job_of(action))
    moved = job is not None and action.target.node not in job.nodes
    return moved and _runs_since(job, started_s)


def reboot_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the node has come up since the order."""
    node = state.node(action.target.node)
    up = node is not None and node.condition is not NodeCondition.DOWN
    return up and node is not None and node.since_s >= started_s


def _with_node(
    state: ClusterState, name: str, condition: NodeCondition, owner: str
) -> ClusterState:
    nodes = tuple(
        replace(node, condition=condition, owner=owner) if node.name == name else node
        for node in state.nodes
    )
    return replace(state, nodes=nodes)


def _with_job(state: ClusterState, changed: JobState) -> ClusterState:
    jobs = tuple(changed if job.id == changed.id else job for job in state.jobs)
    return replace(state, jobs=jobs)


def cordoned(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the node out by our hand."""
    return _with_node(state, action.target.node, NodeCondition.CORDONED, OWNER)


def uncordoned(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the node in service."""
    return _with_node(state, action.target.node, NodeCondition.READY, "")


def saved(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with a checkpoint of this moment."""
    job = state.job(job_of(action))
    return state if job is None else _with_job(state, replace(job, checkpoint_s=state.observed_s))


def restarted(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the job running."""
    job = state.job(job_of(action))
    return state if job is None else _with_job(state, replace(job, phase=JobPhase.RUNNING))


def swapped(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the spare in the node's place."""
    job = state.job(job_of(action))
    if job is None:
        return state
    spare = str(action.param("spare") or "")
    nodes = tuple(spare if name == action.target.node else name for name in job.nodes)
    return _with_job(state, replace(job, phase=JobPhase.RUNNING, nodes=nodes))


def unchanged(_: Action, state: ClusterState) -> ClusterState:
    """Return the state as it is."""
    return state
