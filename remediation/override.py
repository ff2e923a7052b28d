"""Whether somebody else changed what a plan handles: then it steps back and undoes nothing."""

from core.cluster import OWNER, ClusterState, JobPhase, NodeCondition
from core.types import Action, OutcomeStatus, PlanRecord
from remediation.catalogue import CATALOG, Effect
from remediation.course import in_flight, turning_point
from remediation.subject import job_of, nodes_of


def overridden(record: PlanRecord, state: ClusterState) -> str:
    """Return who or what took over from the plan, as a sentence; "" where nobody has."""
    names = [name for action in record.plan.actions for name in nodes_of(action)]
    found = [_taken_over(name, state) for name in names]
    found += [_put_back(name, state) for name in sorted(_held(record))]
    found += [_requeued(job, state) for job in sorted(_untouched_jobs(record))]
    return next((said for said in found if said), "")


def _taken_over(name: str, state: ClusterState) -> str:
    node = state.node(name)
    if node is None or node.owner in ("", OWNER):
        return ""
    because = f" ({node.reason})" if node.reason else ""
    return f"{name} is {node.condition} by {node.owner}{because}."


def _put_back(name: str, state: ClusterState) -> str:
    node = state.node(name)
    if node is None:
        return f"{name}, which gpumedic had taken out, is gone from the scheduler."
    if node.condition is NodeCondition.READY:
        return f"{name}, which gpumedic had taken out, was put back into service by somebody else."
    return ""


def _requeued(job_id: str, state: ClusterState) -> str:
    job = state.job(job_id)
    if job is None or job.phase is not JobPhase.PENDING:
        return ""
    return f"Job {job_id} was requeued by somebody else."


def _held(record: PlanRecord) -> frozenset[str]:
    """Return the nodes that the plan has seen out by its own hand and has not begun to put back."""
    out = {
        outcome.action.target.node
        for outcome in record.outcomes
        if outcome.status is OutcomeStatus.SUCCEEDED and CATALOG[outcome.action.kind].takes_out
    }
    return frozenset(out) - {
        action.target.node
        for action in _started(record)
        if CATALOG[action.kind].effect is Effect.PUTS_BACK
    }


def _untouched_jobs(record: PlanRecord) -> frozenset[str]:
    """Return the jobs that the plan is about and has not stopped itself, while it goes forward."""
    if turning_point(record) is not None:
        return frozenset()
    stopped = {job_of(action) for action in _started(record) if CATALOG[action.kind].stops_job}
    return frozenset(job for action in record.plan.actions if (job := job_of(action))) - stopped


def _started(record: PlanRecord) -> tuple[Action, ...]:
    flying = in_flight(record)
    return (
        *(outcome.action for outcome in record.outcomes),
        *(() if flying is None else (flying,)),
    )
