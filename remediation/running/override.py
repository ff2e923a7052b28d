"""Whether somebody else changed what a plan handles: then it steps back and undoes nothing."""

from core.cluster import OWNER, ClusterState, JobPhase, NodeCondition
from core.types import Action, OutcomeStatus, PlanRecord
from remediation.catalogue import CATALOG, Effect
from remediation.catalogue.subject import job_of, nodes_of
from remediation.catalogue.taken import taken
from remediation.running.course import PRIOR_OUT, in_flight, turning_point


def overridden(record: PlanRecord, state: ClusterState, *, automation: tuple[str, ...]) -> str:
    """Return who or what took over from the plan, as a sentence; "" where nobody has.

    automation: names of a site's own health checks, which take over nothing: guards look at them
    """
    names = [name for action in record.plan.actions for name in nodes_of(action)]
    found = [_taken_over(name, state, automation) for name in names]
    found += [_put_back(name, state) for name in sorted(_held(record))]
    found += [_requeued(job, state) for job in sorted(_untouched_jobs(record))]
    return next((said for said in found if said), "")


def not_ours_to_return(action: Action, state: ClusterState) -> str:
    """Return why putting back is done with: it is back already, or others hold it by now."""
    node = state.node(action.target.node)
    if node is not None and node.condition is not NodeCondition.READY and node.owner != OWNER:
        return f"{node.condition} by {node.owner or 'nobody'} now, who returns it"
    found = CATALOG[action.kind].obstacle(action, state)
    return "" if found is None else f"nothing to do: {found.reason}"


def _taken_over(name: str, state: ClusterState, automation: tuple[str, ...]) -> str:
    node = state.node(name)
    if node is None or node.owner in ("", OWNER, *automation):
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
    done = [o.action for o in record.outcomes if o.status is OutcomeStatus.SUCCEEDED]
    before = {name for action in done if action.param(PRIOR_OUT) for name in taken(action)}
    out = {name for action in done for name in taken(action)}
    return (
        frozenset(out)
        - before
        - {
            action.target.node
            for action in _started(record)
            if CATALOG[action.kind].effect is Effect.PUTS_BACK
        }
    )


def _untouched_jobs(record: PlanRecord) -> frozenset[str]:
    """Return the jobs that the plan is about and has not stopped itself, while it goes forward."""
    if turning_point(record) is not None:
        return frozenset()
    stopped = {job_of(action) for action in _started(record) if CATALOG[action.kind].disruptive}
    return frozenset(job for action in record.plan.actions if (job := job_of(action))) - stopped


def _started(record: PlanRecord) -> tuple[Action, ...]:
    flying = in_flight(record)
    return (
        *(outcome.action for outcome in record.outcomes),
        *(() if flying is None else (flying,)),
    )
