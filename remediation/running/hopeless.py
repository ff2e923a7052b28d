"""Whether the effect of an order can still come: no deadline is waited out for one that cannot."""

from collections.abc import Mapping

from core.cluster import ClusterState, JobPhase
from core.types import Action, Scalar
from remediation.catalogue import CATALOG
from remediation.catalogue.subject import job_of, nodes_of

PRIOR_RESTARTS, PRIOR_STEP_S = "prior_restarts", "prior_step_s"


def job_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return how the job was that an action stops, as parameters kept with its order."""
    job = state.job(job_of(action))
    if job is None or not CATALOG[action.kind].stops_job:
        return {}
    found: dict[str, Scalar] = {PRIOR_RESTARTS: job.restarts}
    if job.step_s is not None:
        found[PRIOR_STEP_S] = job.step_s
    return found


def hopeless(action: Action, state: ClusterState, *, ordered_s: float) -> str:
    """Return why the effect of an action in flight cannot come any more; "" while it can.

    A job that was started for the action and has stopped again does not run by itself.
    """
    gone = [name for name in nodes_of(action) if state.node(name) is None]
    if gone and state.nodes:
        return f"{gone[0]} is gone from the scheduler"
    if not CATALOG[action.kind].stops_job:
        return ""
    job, before = state.job(job_of(action)), action.param(PRIOR_RESTARTS)
    if job is None or job.since_s < ordered_s:
        return ""
    if job.phase is JobPhase.COMPLETED:
        return f"job {job.id} has ended"
    started_anew = isinstance(before, int) and job.restarts > before
    if job.phase is JobPhase.STOPPED and started_anew:
        return f"job {job.id} was started anew and has stopped again"
    return ""
