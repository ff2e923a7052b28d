"""When an incident may have its next plan, and what that may not be: what has just been in vain."""

import math
from collections.abc import Iterable

from core.types import Diagnosis, Plan, PlanRecord, PlanState
from remediation.catalogue import CATALOG
from remediation.running.follow_up import is_follow_up
from remediation.running.stopgap import is_stopgap

# What was done is not added to, and what was done in vain not done again, for the same incident
# before this long.
RETRY_AFTER_S = 600.0
# A plan that ends in a cycle ends after what that cycle saw, by no more than a cycle takes.
_CYCLE_TAKES_S = 60.0


def had_its_turn(
    records: Iterable[PlanRecord], diagnosis: Diagnosis, *, min_probability: float, now_s: float
) -> bool:
    """Say whether one of an incident's plans is live, rests, or was too unsure for this diagnosis.

    One that was too unsure does not hold up what a newer diagnosis is sure of.
    """
    surest = max((cause.probability for cause in diagnosis.causes), default=0.0)
    for record in records:
        unsure = record.plan.cause.probability < min_probability
        refused = record.state is PlanState.REFUSED and not leaves_it_open(record)
        if not record.state.final:
            return True
        if refused and unsure and record.plan.made_at_s >= diagnosis.made_at_s:
            return True
        if rests(record, now_s) and not (unsure and min_probability <= surest):
            return True
    return False


def rests(record: PlanRecord, now_s: float) -> bool:
    """Say whether nothing more is to be done yet after a plan that is over.

    What guards refused may be decided on again as soon as they said that they would allow it.
    """
    if leaves_it_open(record) or not ended_lately(record, now_s):
        return False
    if record.state is not PlanState.REFUSED:
        return True
    allowed_s = (refusal.allowed_s for refusal in record.refusals)
    return now_s < max((math.inf if at_s is None else at_s for at_s in allowed_s), default=math.inf)


def leaves_it_open(record: PlanRecord) -> bool:
    """Say whether a plan that is over has left its incident as it was: another may come at once.

    It put something back, called a person, saved work, or was in vain.
    """
    if is_follow_up(record.plan):
        return record.state.final
    if record.state is PlanState.DONE:
        return is_stopgap(record.plan)
    # One that was refused before it began has no outcomes: what it met is met by every other.
    begun_and_refused = record.state is PlanState.REFUSED and bool(record.outcomes)
    return begun_and_refused or record.state in (PlanState.FAILED, PlanState.ROLLED_BACK)


def is_spent(record: PlanRecord, now_s: float) -> bool:
    """Say whether the same may not be done again yet: it was done a moment ago, to no end.

    What guards stopped on its way was not tried: as soon as they allow it, it may be.
    """
    if is_follow_up(record.plan) or record.state is PlanState.REFUSED:
        return False
    return leaves_it_open(record) and ended_lately(record, now_s)


def ended_lately(record: PlanRecord, now_s: float) -> bool:
    """Say whether a plan ended a moment ago; an end far ahead means a clock that was set back."""
    return -_CYCLE_TAKES_S <= now_s - record.since_s < RETRY_AFTER_S


def is_the_same(one: Plan, other: Plan) -> bool:
    """Say whether two plans do the same to the same; saving first makes no difference."""
    return _essence(one) == _essence(other)


def _essence(plan: Plan) -> frozenset[tuple[str, str]]:
    steps = [action for action in plan.actions if not CATALOG[action.kind].optional]
    return frozenset((action.kind, str(action.target)) for action in steps or plan.actions)
