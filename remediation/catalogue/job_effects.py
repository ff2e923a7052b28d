"""Whether an order about a job shows in the cluster, the state expected after it, what was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.cluster import ClusterState, JobPhase, JobState
from core.types import Action, Scalar
from remediation.catalogue.asked import holds, number
from remediation.catalogue.job_obstacles import free_nodes
from remediation.catalogue.node_effects import cordoned, reboot_done
from remediation.catalogue.subject import job_of, names_in

_ON_NODES = (JobPhase.STARTING, JobPhase.RUNNING, JobPhase.STOPPED)


def checkpoint_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether a checkpoint was finished since the order."""
    job = state.job(job_of(action))
    return job is not None and job.checkpoint_s is not None and job.checkpoint_s >= started_s


def restart_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs again since the order."""
    job = state.job(job_of(action))
    return job is not None and job.phase is JobPhase.RUNNING and job.since_s >= started_s


def swap_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs without the node since the order."""
    return _gone(action, state, (action.target.node,), started_s)


def swaps_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs without any of the nodes since the order."""
    return _gone(action, state, names_in(action, "nodes"), started_s)


def size_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs on so many nodes since the order, without the one it leaves."""
    job = state.job(job_of(action))
    sized = job is not None and len(job.nodes) == number(action, "nodes")
    return sized and _gone(action, state, names_in(action, "leave"), started_s)


def move_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs on these nodes, in this order, since the order was given."""
    job = state.job(job_of(action))
    there = job is not None and job.nodes == names_in(action, "nodes")
    return there and restart_done(action, state, started_s)


def preempt_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job waits in the queue since the order, or has begun anew from there."""
    job = state.job(job_of(action))
    begun = job is not None and job.phase in (JobPhase.PENDING, JobPhase.STARTING)
    return begun and job is not None and job.since_s >= started_s


def reboot_under_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the node has come up and the job runs since the order."""
    return reboot_done(action, state, started_s) and restart_done(action, state, started_s)


def size_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return how many nodes the job has, as ``prior_nodes``."""
    job = state.job(job_of(action))
    return {} if job is None else {"prior_nodes": len(job.nodes)}


def place_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return the nodes that the job has in rank order, as ``prior_nodes``."""
    job = state.job(job_of(action))
    return {} if job is None else {"prior_nodes": ",".join(job.nodes)}


def saved(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with a checkpoint of this moment."""
    return with_job(state, job_of(action), checkpoint_s=state.observed_s)


def restarted(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the job running."""
    return with_job(state, job_of(action), phase=JobPhase.RUNNING)


def swapped(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the spare in the node's place."""
    return _exchanged(action, state, {action.target.node: str(action.param("spare") or "")})


def swapped_all(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with each spare in its node's place."""
    pairs = zip(names_in(action, "nodes"), names_in(action, "spares"), strict=True)
    return _exchanged(action, state, dict(pairs))


def evicted(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the node out, and a spare or nothing in its place."""
    state = cordoned(action, state)
    return _exchanged(action, state, {action.target.node: str(action.param("spare") or "")})


def borrowed(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the lent node in the other's place and the lender without it."""
    lent = str(action.param("spare") or "")
    lender = state.job(str(action.param("lender") or ""))
    if lender is not None:
        fewer = tuple(name for name in lender.nodes if name != lent)
        goes_on = lender.least_nodes and len(fewer) >= lender.least_nodes
        phase = JobPhase.RUNNING if goes_on else JobPhase.PENDING
        state = with_job(state, lender.id, nodes=fewer if goes_on else (), phase=phase)
    return swapped(action, state)


def sized(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the job on so many nodes: it leaves the named one, then its last."""
    job = state.job(job_of(action))
    if job is None:
        return state
    count, leave = int(number(action, "nodes")), names_in(action, "leave")
    kept = tuple(name for name in job.nodes if name not in leave)[:count]
    nodes = kept + free_nodes(state)[: count - len(kept)]
    return with_job(state, job.id, phase=JobPhase.RUNNING, nodes=nodes)


def moved(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the job on the named nodes."""
    nodes = names_in(action, "nodes")
    return with_job(state, job_of(action), phase=JobPhase.RUNNING, nodes=nodes)


def waiting(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the job in the queue."""
    return with_job(state, job_of(action), phase=JobPhase.PENDING, nodes=())


def with_job(state: ClusterState, job_id: str, **fields: Any) -> ClusterState:
    """Return the state with these fields of one of its jobs; as it is where there is none such."""
    if state.job(job_id) is None:
        return state

    def own(job: JobState) -> JobState:
        return replace(job, **fields) if job.id == job_id else job

    return replace(state, jobs=tuple(own(job) for job in state.jobs))


def _exchanged(action: Action, state: ClusterState, other: Mapping[str, str]) -> ClusterState:
    job = state.job(job_of(action))
    if job is None:
        return state
    nodes = tuple(name for old in job.nodes if (name := other.get(old, old)))
    return with_job(state, job.id, phase=JobPhase.RUNNING, nodes=nodes)


def _gone(action: Action, state: ClusterState, names: tuple[str, ...], started_s: float) -> bool:
    job = state.job(job_of(action))
    gone = job is not None and holds(job) and not set(names).intersection(job.nodes)
    return gone and restart_done(action, state, started_s)
