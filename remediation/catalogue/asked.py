"""What an order asks for, looked up in the scheduler's state; a Refusal says what is not there."""

import math

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.types import Action, Refusal
from remediation.catalogue.subject import job_of

PRECONDITION = "precondition"
RUNS = frozenset({JobPhase.RUNNING})
STARTABLE = frozenset({JobPhase.RUNNING, JobPhase.STARTING, JobPhase.STOPPED})
LIVE = STARTABLE | {JobPhase.PENDING}


def refuse(reason: str, remedy: str) -> Refusal:
    """Return a no with what would allow it."""
    return Refusal(guard=PRECONDITION, reason=reason, remedy=remedy)


def node_asked(action: Action, state: ClusterState, name: str | None = None) -> NodeState | Refusal:
    """Return the action's node, or the named one; a Refusal where the scheduler knows none such."""
    wanted = action.target.node if name is None else name
    node = state.node(wanted)
    if node is None:
        return refuse(
            f"Not doing {action.kind} on {wanted or '(no node named)'}: the scheduler knows no "
            f"such node among its {len(state.nodes)}.",
            "Check that telemetry and the scheduler name nodes alike.",
        )
    return node


def job_asked(
    action: Action, state: ClusterState, phases: frozenset[JobPhase]
) -> JobState | Refusal:
    """Return the action's job where it is in one of the phases."""
    job = state.job(job_of(action))
    if job is None:
        return refuse(
            f"Not doing {action.kind}: the scheduler has no job {job_of(action) or '(none named)'}"
            f" among its {len(state.jobs)}.",
            "It has ended or was taken away; nothing is left to do for it.",
        )
    if job.phase not in phases:
        return refuse(
            f"Not doing {action.kind} for job {job.id}: it is {job.phase}.",
            f"It must be {' or '.join(sorted(phases))}.",
        )
    return job


def number(action: Action, name: str) -> float:
    """Return a parameter's number; NaN where it is none."""
    value = action.param(name)
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good and value is not None else math.nan


def outside(action: Action, name: str, low: float, high: float) -> Refusal | None:
    """Refuse a number that is missing or out of its bounds."""
    if low <= number(action, name) <= high:
        return None
    return refuse(
        f"Not doing {action.kind} on {action.target}: {name} is {action.param(name)!r}.",
        f"Give a number from {low:g} to {high:g}.",
    )


def same_already(action: Action, name: str, value: object) -> Refusal:
    """Refuse what would change nothing."""
    return refuse(
        f"Not doing {action.kind} on {action.target}: {name} is {value} already.",
        "Nothing is to be changed.",
    )


def holds(job: JobState) -> bool:
    """Say whether a job's nodes are its own yet."""
    return job.phase is not JobPhase.COMPLETED


def jobs_on(state: ClusterState, node: str) -> tuple[JobState, ...]:
    """Return the live jobs that have a node."""
    return tuple(job for job in state.jobs if node in job.nodes and holds(job))


def not_ready(action: Action, state: ClusterState, names: tuple[str, ...]) -> Refusal | None:
    """Refuse where a node that the job would start on takes no jobs."""
    for name in names:
        node = state.node(name)
        condition = "unknown to the scheduler" if node is None else node.condition
        if condition is not NodeCondition.READY:
            return refuse(
                f"Not doing {action.kind}: the job would start on {name}, which is {condition}.",
                f"Uncordon {name}, or put a spare in its place.",
            )
    return None
