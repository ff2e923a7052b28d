"""What happened between two looks at a cluster, as events in the words that detectors know."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.act.kubernetes.picture import Look, held_by, phase_of, places_of
from agent.act.kubernetes.records import KubeJob
from core.cluster import OWNER, JobPhase
from core.target import Target
from core.types import Event, Severity

_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def happenings(before: Look, now: Look) -> tuple[Event, ...]:
    """Return the events between two looks, nodes first."""
    return (*_of_nodes(before, now), *_of_jobs(before, now))


def _of_nodes(before: Look, now: Look) -> Iterator[Event]:
    for name, node in now.nodes.items():
        old = before.nodes.get(name)
        if old is None or old is node:
            continue
        tell = _Teller(Target(node=name), now.at_s)
        if old.ready and not node.ready:
            yield tell("node_down", "is not ready or does not answer", _C)
        elif node.ready and not old.ready:
            yield tell("node_returned", "is up again", _I)
        held = held_by(node)
        if held and not held_by(old) and held.owner != OWNER:
            yield tell("node_drained", f"is taken out by {held.owner}: {held.reason}", _W)


def _of_jobs(before: Look, now: Look) -> Iterator[Event]:
    for job_id, job in now.jobs.items():
        old = before.jobs.get(job_id)
        if old is None or old.uid != job.uid:
            continue
        was, phase = _phase(old, before), _phase(job, now)
        if was is phase:
            continue
        tell = _Teller(Target(job=job_id), now.at_s)
        if job.over == "Failed":
            yield tell("job_failed", f"failed: {job.why or 'for good'}", _C, code="user_bug")
        elif phase is JobPhase.STOPPED:
            code, why = _failure(job, now)
            yield tell("job_failed", f"failed: {why}", _C, code=code)
        elif phase is JobPhase.RUNNING:
            yield tell("job_started", "runs", _I)
        elif phase is JobPhase.COMPLETED:
            yield tell("job_completed", "has ended: completed", _I, code="completed")


def _phase(job: KubeJob, look: Look) -> JobPhase:
    return phase_of(job, places_of(job, look), look)


def _failure(job: KubeJob, now: Look) -> tuple[str, str]:
    """Return the code and the words of how a job lost a pod."""
    pods = [place.pod for place in places_of(job, now) if place.pod is not None]
    dead = next((pod.node for pod in pods if pod.node and now.away(pod.node)), "")
    if dead:
        return "node_down", f"{dead} does not answer, its ranks are lost"
    stuck = next((pod for pod in pods if pod.stuck), None)
    if stuck:
        return "software", f"pod {stuck.name} does not come up: {stuck.stuck}"
    waiting = next((pod for pod in pods if pod.no_place), None)
    if waiting:
        return "node_down", f"pod {waiting.name} has no place: {waiting.no_place[:200]}"
    return "user_bug", "a pod of it ended with an error"


@dataclass(frozen=True, slots=True)
class _Teller:
    """Makes the events of one target at one moment."""

    target: Target
    at_s: float

    def __call__(self, kind: str, text: str, severity: Severity, *, code: str = "") -> Event:
        return Event(self.target, self.at_s, kind, code, f"{self.target} {text}", severity)
