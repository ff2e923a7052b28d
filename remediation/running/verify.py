"""Whether a plan helped: the symptoms it was made against are gone and the job moves on."""

from dataclasses import dataclass
from enum import StrEnum

from core.cluster import ClusterState, JobPhase, JobState
from core.types import Action, Incident, PlanRecord
from remediation.catalogue import CATALOG
from remediation.catalogue.costs import recompute_s
from remediation.catalogue.subject import job_of
from remediation.catalogue.taken import taken
from remediation.running.hopeless import PRIOR_STEP_S
from remediation.running.symptoms import Symptom, symptoms

# A step may take a tenth longer than usual: less is not told from noise (docs/progress.md). Of what
# was too much before, half may be left.
_SLOW, _LEFT = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """How long to look, all in seconds.

    settle_s:  after the last action, in which late readings of the old trouble do not count
    sustain_s: without a symptom and with the job running, before it counts as helped
    deadline_s: without that for so long after the last action, it did not help
    recent_s:  a symptom counts as live for so long after it was last seen
    """

    settle_s: float = 60.0
    sustain_s: float = 60.0
    deadline_s: float = 900.0
    recent_s: float = 300.0


class Verdict(StrEnum):
    """What can be said by now."""

    HELPED = "helped"
    WAIT = "wait"
    DID_NOT_HELP = "did_not_help"


@dataclass(frozen=True, slots=True)
class Verification:
    """A verdict with its figures; ``symptom_*`` count live symptoms before the plan and now."""

    verdict: Verdict
    text: str
    symptom_before: float
    symptom_after: float


def verify(
    record: PlanRecord,
    incident: Incident,
    state: ClusterState,
    settings: VerifySettings,
    *,
    first_step: dict[str, float],
    now_s: float,
) -> Verification:
    """Judge a plan whose actions are done since ``record.since_s``.

    first_step: job -> lowest optimiser step it was seen at after the actions

    Symptoms on a node that the plan took out of service do not count: nothing runs there any more.
    A job must be seen to run and, where it reports steps, to have made one: silence is no progress.
    Where it reports how long a step takes, that must be as usual again, or nearly so if it was not
    before the plan either.
    """
    began_s = record.since_s + settings.settle_s
    after = [symptom for symptom in in_service(record, incident) if symptom.seen_s > began_s]
    jobs = [job for job in _jobs(record, state) if job.phase is not JobPhase.COMPLETED]
    idle = [name for name in _job_ids(record) if state.job(name) is None]
    idle += [job.id for job in jobs if not _moves(job, first_step)]
    slow = [job for job in jobs if _is_slow(job, record)]
    marks = [symptom.seen_s for symptom in after] + [job.since_s for job in jobs]
    quiet_since_s = max(began_s, *marks) if marks else began_s
    quiet_s = now_s - quiet_since_s
    if not idle and not slow and quiet_s >= settings.sustain_s:
        verdict, text = Verdict.HELPED, f"no symptom for {quiet_s:.0f} s{_running(jobs)}"
    elif now_s - record.since_s < settings.deadline_s:
        verdict, text = (
            Verdict.WAIT,
            _still(after, idle, slow) or f"quiet for {max(quiet_s, 0):.0f} s",
        )
    else:
        found = _still(after, idle, slow) or "the symptoms come and go"
        verdict, text = Verdict.DID_NOT_HELP, f"{found} after {settings.deadline_s:.0f} s"
    return Verification(
        verdict=verdict,
        text=text,
        symptom_before=float(live_before(record, incident, settings)),
        symptom_after=float(sum(s.seen_s >= now_s - settings.sustain_s for s in after)),
    )


def live_before(record: PlanRecord, incident: Incident, settings: VerifySettings) -> int:
    """Count the symptoms that were live when the plan's first action was ordered."""
    started_s = record.outcomes[0].started_s if record.outcomes else record.since_s
    since_s = started_s - settings.recent_s
    return sum(since_s <= symptom.seen_s for symptom in symptoms(incident))


def in_service(record: PlanRecord, incident: Incident) -> tuple[Symptom, ...]:
    """Return the incident's symptoms that do not lie on a node the plan takes out."""
    out = _out(record)
    return tuple(symptom for symptom in symptoms(incident) if symptom.target.node not in out)


def lost_gpu_s(action: Action, state: ClusterState, *, started_s: float) -> float | None:
    """Measure what stopping a job cost: GPUs x (stand-still + work done again), GPU-seconds.

    None for an action that stops no job. Call it when the job is first seen to run again, while
    its newest checkpoint is still the one it resumed from.
    """
    job = state.job(job_of(action))
    if not CATALOG[action.kind].stops_job or job is None:
        return None
    again_s = 0.0
    if job.checkpoint_s is not None and job.checkpoint_s <= started_s:
        again_s = recompute_s(job, now_s=started_s)
    return job.gpus * (max(0.0, job.since_s - started_s) + again_s)


def _out(record: PlanRecord) -> frozenset[str]:
    return frozenset(name for action in record.plan.actions for name in taken(action))


def _job_ids(record: PlanRecord) -> tuple[str, ...]:
    return tuple({job_of(action): None for action in record.plan.actions if job_of(action)})


def _jobs(record: PlanRecord, state: ClusterState) -> tuple[JobState, ...]:
    found = (state.job(name) for name in _job_ids(record))
    return tuple(job for job in found if job is not None)


def _moves(job: JobState, first_step: dict[str, float]) -> bool:
    if job.phase is not JobPhase.RUNNING:
        return False
    return job.step is None or job.step > first_step.get(job.id, job.step)


def _is_slow(job: JobState, record: PlanRecord) -> bool:
    """Say whether the job's steps take longer than they should after the plan.

    One that was slow before it must have lost half of what was too much: other trouble may be left.
    """
    if job.phase is not JobPhase.RUNNING or job.step_s is None or job.usual_step_s is None:
        return False
    before = [
        step_s
        for action in record.plan.actions
        if job_of(action) == job.id and isinstance(step_s := action.param(PRIOR_STEP_S), float)
    ]
    too_much_s = max(0.0, max(before, default=0.0) - job.usual_step_s)
    most_s = job.usual_step_s + max(_SLOW * job.usual_step_s, _LEFT * too_much_s)
    return job.step_s > most_s


def _running(jobs: list[JobState]) -> str:
    return "".join(f", job {job.id} runs on" for job in jobs)


def _still(after: list[Symptom], idle: list[str], slow: list[JobState]) -> str:
    parts = [f"job {name} makes no progress" for name in idle]
    parts += [
        f"job {job.id} takes {job.step_s:.1f} s a step, usually {job.usual_step_s:.1f} s"
        for job in slow
    ]
    if after:
        newest = max(after, key=lambda symptom: symptom.seen_s)
        parts.append(f"{newest.text} on {newest.target} is still seen")
    return ", ".join(parts)
