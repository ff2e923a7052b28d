"""Whether a plan can be carried out to its end, and what work it would lose."""

from core.cluster import JobPhase, JobState
from core.types import Action, Refusal
from remediation.catalogue import CATALOG, CHECKPOINT_NOW, first_obstacle
from remediation.catalogue.asked import refuse
from remediation.catalogue.costs import recompute_s
from remediation.catalogue.subject import job_of
from remediation.guards.grounds import stands
from remediation.guards.question import GuardContext, Question, walked
from remediation.guards.settings import HOUR_S, GuardSettings

_BY_ITSELF = "Wait for its next checkpoint (it cannot be told to save)"
_SERVICE = "service"  # answers requests and has nothing to resume from


def possible(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse a plan that could not be carried out from end to end."""
    return first_obstacle(question.actions, context.state)


def at_work(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to save a job that makes no steps: it would be waited for in vain.

    As a step before a stop this is asked right before it alone: the stop comes all the same.
    """
    for action in question.actions:
        job = context.state.job(job_of(action))
        if job is None or job.phase is not JobPhase.RUNNING or action.kind != CHECKPOINT_NOW:
            continue
        if stands(job, context):
            return refuse(
                f"Not doing {action.kind} for job {job.id}: it makes no steps.",
                "Only a job at work can save; start it again, or away from what holds it up.",
            )
    return None


def recoverable(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to stop a job that has no checkpoint to return to and will not have one by then.

    One that has failed already has nothing left to lose.
    """
    for action, state in walked(question, context):
        job = _stopped(action, state.job(job_of(action)))
        if job is None or job.phase is JobPhase.STOPPED:
            continue
        if job.checkpoint_s is None:
            return Refusal(
                "checkpoint",
                f"Not doing {action.kind} on {action.target}: job {job.id} has no valid checkpoint "
                f"to resume from.",
                "Save one first; then only the work since then is lost.",
            )
    return None


def saved(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to stop a job that runs and would lose much work, unless saving is tried first."""
    for action, state in walked(question, context):
        job = _stopped(action, state.job(job_of(action)))
        if job is None or job.phase is not JobPhase.RUNNING or _save_comes_first(question, action):
            continue
        if not job.saves and stands(job, context):  # what is unsaved is lost either way
            continue
        unsaved_gpu_s = job.gpus * recompute_s(job, now_s=context.now_s)
        if unsaved_gpu_s <= settings.max_unsaved_gpu_s:
            continue
        most = settings.max_unsaved_gpu_s / HOUR_S
        return Refusal(
            "unsaved_work",
            f"Not doing {action.kind} on {action.target}: job {job.id} would lose "
            f"{unsaved_gpu_s / HOUR_S:.1f} GPU-hours since its newest checkpoint, at most "
            f"{most:g} may be lost.",
            f"{'Save a checkpoint first' if job.saves else _BY_ITSELF}, or raise "
            f"guards.max_unsaved_gpu_hours (now {most:g}) and reload.",
        )
    return None


def _stopped(action: Action, job: JobState | None) -> JobState | None:
    """Return the job that the action stops, if that job has work to lose."""
    if job is None or not CATALOG[action.kind].stops_job or job.kind == _SERVICE:
        return None
    return job


def _save_comes_first(question: Question, action: Action) -> bool:
    """Say whether this step or one before it tries to save the job; one that hangs cannot."""
    if CATALOG[action.kind].saves:
        return True
    keys = [step.key for step in question.plan.actions]
    before = question.plan.actions[: keys.index(action.key)] if action.key in keys else ()
    return any(step.kind == CHECKPOINT_NOW and job_of(step) == job_of(action) for step in before)
