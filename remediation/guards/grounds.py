"""Whether what is known is ground enough to disrupt anything: fresh, likely, and still true."""

from core.cluster import JobPhase, JobState
from core.types import Action, IncidentState, Refusal
from remediation.catalogue import RESTART_IN_PLACE, RESTART_JOB
from remediation.catalogue.subject import job_of
from remediation.guards.question import GuardContext, Question
from remediation.guards.settings import GuardSettings
from remediation.running.symptoms import hangs, newest_s

_HANGS_S = 300.0  # what it said longer ago may be over


def fresh(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse on stale evidence: of the incident before the first step, of the cluster always.

    Evidence from the future is as stale: then a clock was set, and nobody knows how old it is.
    """
    looks = {"the cluster was last seen": context.now_s - context.state.observed_s}
    if question.begins and not question.restores:
        newest = max(context.incident.updated_s, newest_s(context.incident))
        looks["the incident's newest symptom was seen"] = context.now_s - newest
    for what, age_s in looks.items():
        if not abs(age_s) <= settings.evidence_max_age_s:
            return Refusal(
                "evidence_max_age",
                f"{question.not_doing}: {what} {age_s:.0f} s ago, at most "
                f"{settings.evidence_max_age_s:.0f} s are allowed.",
                "Wait for newer readings; `gpumedic doctor` says which source is late.",
            )
    return None


def still_open(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to disrupt for an incident that is over."""
    if context.incident.state is IncidentState.OPEN or question.restores:
        return None
    return Refusal(
        "incident_over",
        f"{question.not_doing}: incident {context.incident.id} is resolved.",
        "Nothing needs to be done.",
    )


def probable(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to disrupt on a cause that is not likely enough; NaN is not likely.

    To start a job again that stands still disrupts nothing, whatever it was that stopped it.
    """
    cause = question.plan.cause
    if cause.probability >= settings.min_probability or question.restores:
        return None
    if all(_starts_what_stands(action, context) for action in question.disruptive):
        return None
    return Refusal(
        "min_probability",
        f"{question.not_doing}: {cause.fault} on {cause.target} has a probability of "
        f"{cause.probability:.2f}, at least {settings.min_probability:.2f} is needed.",
        "More evidence, or a lower guards.min_probability, would allow it.",
    )


def _starts_what_stands(action: Action, context: GuardContext) -> bool:
    starts = action.kind in (RESTART_JOB, RESTART_IN_PLACE)
    return starts and stands(context.state.job(job_of(action)), context)


def stands(job: JobState | None, context: GuardContext) -> bool:
    """Say whether a job makes no steps: it has failed, or is seen to hang."""
    if job is None or job.phase is not JobPhase.RUNNING:
        return job is not None and job.phase is JobPhase.STOPPED
    seen_s = max(job.since_s, context.now_s - _HANGS_S)
    return any(hang.end_s >= seen_s for hang in hangs(context.incident, job.id))


def on_known_links(question: Question, _: GuardContext, __: GuardSettings) -> Refusal | None:
    """Refuse to disrupt on a cause that only links learned from readings tie to the symptom."""
    cause = question.plan.cause
    if not cause.conjectured or question.restores:
        return None
    return Refusal(
        "learned_link",
        f"{question.not_doing}: only a link that readings suggest leads from {cause.fault} on "
        f"{cause.target} to the symptom.",
        "If the mechanism is a real one, take `learned = true` off its [[diagnose.link]].",
    )
