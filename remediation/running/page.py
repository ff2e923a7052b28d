"""A plan that calls a person and touches nothing; and whether that person has taken over."""

from collections.abc import Iterable

from core.types import Action, OutcomeStatus, Plan, PlanRecord, PlanState
from remediation.catalogue import PAGE_PERSON
from remediation.catalogue.subject import jobs_of, nodes_of

_SENT = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.TIMED_OUT})


def is_page(plan: Plan) -> bool:
    """Say whether all that the plan does is to call a person."""
    return all(action.kind == PAGE_PERSON for action in plan.actions)


def sent_s(record: PlanRecord) -> float | None:
    """Return when a page went out, seconds since the epoch; None: it did not, or is no page."""
    if not is_page(record.plan):
        return None
    if record.state is PlanState.ACTING:
        return record.since_s
    return max((o.started_s for o in record.outcomes if o.status in _SENT), default=None)


def taken_over(
    records: Iterable[PlanRecord],
    incident_id: str,
    actions: Iterable[Action],
    *,
    since_s: float,
) -> PlanRecord | None:
    """Return the page by which a person has taken over what the actions are about, or None.

    Their own incident is with people until it is over; a node or job that the page named is for
    every incident, where they took it since that time.
    """
    handled = [*actions]
    names = {name for action in handled for name in (*nodes_of(action), *jobs_of(action))}
    for record in records:
        if record.state is not PlanState.OVERRIDDEN or sent_s(record) is None:
            continue
        if record.plan.incident_id == incident_id:
            return record
        theirs = {n for each in record.plan.actions for n in (*nodes_of(each), *jobs_of(each))}
        if record.since_s >= since_s and names & theirs:
            return record
    return None
