"""Whether the effect of an order can still come: no deadline is waited out for one that cannot."""

from collections.abc import Mapping

from core.cluster import ClusterState, JobPhase, JobState
from core.types import Action, Incident, Scalar
from remediation.catalogue import CATALOG, CHECKPOINT_NOW
from remediation.catalogue.subject import job_of, nodes_of
from remediation.running.symptoms import hangs

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


def hopeless(action: Action, state: ClusterState, incident: Incident, *, ordered_s: float) -> str:
    """Return why the effect of an action in flight cannot come any more; "" while it can.

    A job that was started for the action and has stopped again does not run by itself. One that
    makes no steps any more saves nothing.
    """
    gone = [name for name in nodes_of(action) if state.node(name) is None]
    if gone and state.nodes:
        return f"{gone[0]} is gone from the scheduler"
    job = state.job(job_of(action))
    if job is None:
        return ""
    if action.kind == CHECKPOINT_NOW:
        return _saves_nothing(job, incident, ordered_s=ordered_s)
    if CATALOG[action.kind].stops_job:
        return _starts_no_more(job, action, ordered_s=ordered_s)
    return ""


def _starts_no_more(job: JobState, action: Action, *, ordered_s: float) -> str:
    """Say why a job that was stopped will not run again by itself."""
    before = action.param(PRIOR_RESTARTS)
    if job.since_s < ordered_s:
        return ""
    if job.phase is JobPhase.COMPLETED:
        return f"job {job.id} has ended"
    started_anew = isinstance(before, int) and job.restarts > before
    if job.phase is JobPhase.STOPPED and started_anew:
        return f"job {job.id} was started anew and has stopped again"
    return ""


def _saves_nothing(job: JobState, incident: Incident, *, ordered_s: float) -> str:
    """Say why a job that was to be saved will not be: it stopped, or hung before it was asked to.

    A job may well stand still while it is being saved, so what began since the order says nothing.
    """
    if job.phase is not JobPhase.RUNNING:
        return f"job {job.id} is {job.phase} by now"
    if any(hang.start_s <= ordered_s < hang.end_s for hang in hangs(incident, job.id)):
        return f"job {job.id} has made no step since before it was asked to save"
    return ""
