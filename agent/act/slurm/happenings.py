"""What happened between two looks at a cluster, as events in the words that detectors know."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.act.slurm.picture import SLURM, Look, held_by, is_away, phase_of, takes_no_jobs
from agent.act.slurm.records import SlurmJob, SlurmNode
from core.cluster import OWNER, JobPhase
from core.target import Target
from core.types import Event, Severity

_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO
# Slurm's word for how a job ended -> the code of the event and what it says.
_ENDS = {
    "NODE_FAIL": ("node_down", "a node of it does not answer, its ranks are lost"),
    "BOOT_FAIL": ("node_down", "a node of it could not be booted"),
    "OUT_OF_MEMORY": ("oom", "a rank was killed for want of memory"),
    "FAILED": ("user_bug", "its script ended with an error"),
    "LAUNCH_FAILED": ("software", "it could not be launched"),
}


def happenings(before: Look, now: Look) -> tuple[Event, ...]:
    """Return the events between two looks, nodes first."""
    return (*_of_nodes(before, now), *_of_jobs(before, now))


def _of_nodes(before: Look, now: Look) -> Iterator[Event]:
    known = {node.name: node for node in before.nodes}
    for node in now.nodes:
        old, tell = known.get(node.name), _Teller(Target(node=node.name), now.at_s)
        if old is None:
            continue
        was_gone, gone = _gone(old, before), _gone(node, now)
        if gone and not was_gone:
            yield tell("node_down", "does not answer", _C)
        elif was_gone and not gone:
            yield tell("node_returned", "is up again", _I)
        held = held_by(node)
        if takes_no_jobs(node) and not takes_no_jobs(old) and held.owner != OWNER:
            text = f"is drained by {held.owner or SLURM}: {held.reason}"
            yield tell("node_drained", text, _W)


def _gone(node: SlurmNode, look: Look) -> bool:
    rebooting = node.state & {"REBOOT_ISSUED", "REBOOT_REQUESTED", "REBOOT"}
    return node.name in look.silent or (is_away(node) and not rebooting)


def _of_jobs(before: Look, now: Look) -> Iterator[Event]:
    known = {job.id: job for job in before.jobs}
    for job in now.jobs:
        old, tell = known.get(job.id), _Teller(Target(job=str(job.id)), now.at_s)
        phase = phase_of(job)
        if old is None or (phase_of(old) is phase and old.restarts == job.restarts):
            continue
        if found := _failure(job, old, now):
            yield tell("job_failed", f"failed: {found[1]}", _C, code=found[0])
        elif phase is JobPhase.RUNNING and job.restarts:
            yield tell("job_started", "runs again", _I)
        elif phase is JobPhase.COMPLETED:
            code = "completed" if "COMPLETED" in job.state else "cancelled"
            yield tell("job_completed", f"has ended: {code}", _I, code=code)


def _failure(job: SlurmJob, old: SlurmJob, now: Look) -> tuple[str, str] | None:
    """Return how a job that had its nodes came to lose them; None where it has, or by order."""
    for word, ending in _ENDS.items():
        if word in job.state:
            return ending
    dead = [node.name for node in now.nodes if node.name in old.nodes and _gone(node, now)]
    lost = job.restarts > old.restarts or phase_of(job) is JobPhase.STOPPED
    if lost and dead:
        return "node_down", f"{dead[0]} does not answer, its ranks are lost"
    return None


@dataclass(frozen=True, slots=True)
class _Teller:
    """Makes the events of one target at one moment."""

    target: Target
    at_s: float

    def __call__(self, kind: str, text: str, severity: Severity, *, code: str = "") -> Event:
        return Event(self.target, self.at_s, kind, code, f"{self.target} {text}", severity)
