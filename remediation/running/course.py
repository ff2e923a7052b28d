"""How far a plan has come, read from its record alone, so that a restart goes on where it stood.

A plan's course is its actions in order and, once one has gone wrong, the inverses of those that
may have had an effect, last first. ``outcomes`` holds what has ended; ``step`` counts what has been
started, so one more than the outcomes means that one is in flight.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from core.types import Action, Outcome, OutcomeStatus, Plan, PlanRecord, PlanState, Scalar
from remediation.catalogue import (
    CATALOG,
    REBOOT_NODE,
    REBOOT_UNDER_JOB,
    RESET_GPU,
    VALIDATE_NODE,
    Effect,
    inverse_of,
)
from remediation.catalogue.subject import nodes_of

_MENDING = frozenset({REBOOT_NODE, REBOOT_UNDER_JOB, RESET_GPU, VALIDATE_NODE})
# A cordon's parameter that says that the node was out before, whoever had taken it out.
PRIOR_OUT = "prior_out"
_BAD = frozenset({OutcomeStatus.FAILED, OutcomeStatus.TIMED_OUT, OutcomeStatus.REFUSED})


def in_flight(record: PlanRecord) -> Action | None:
    """Return the action that was ordered and has not ended, or None."""
    if record.state is not PlanState.ACTING or record.step <= len(record.outcomes):
        return None
    return course(record)[len(record.outcomes)]


def to_come(record: PlanRecord) -> int:
    """Return how many actions a plan that may begin, or has begun, has still to go."""
    if record.state not in (PlanState.APPROVED, PlanState.ACTING):
        return 0
    return len(course(record)) - len(record.outcomes)


def mended_s(record: PlanRecord, node: str) -> float:
    """Return when the plan last rebooted, reset or checked the node; -inf where it has not."""
    return max(
        (
            outcome.ended_s
            for outcome in record.outcomes
            if outcome.action.kind in _MENDING
            and outcome.action.target.node == node
            and outcome.status is OutcomeStatus.SUCCEEDED
        ),
        default=-math.inf,
    )


def next_action(record: PlanRecord) -> Action | None:
    """Return the action that comes after those that have ended, or None at the course's end."""
    actions = course(record)
    return actions[len(record.outcomes)] if len(record.outcomes) < len(actions) else None


def course(record: PlanRecord) -> tuple[Action, ...]:
    """Return all actions of the plan as things stand: forward, then what takes them back."""
    turn = turning_point(record)
    if turn is None:
        return record.plan.actions
    return record.plan.actions[:turn] + _taking_back(record.plan, record.outcomes[:turn])


def turning_point(record: PlanRecord) -> int | None:
    """Return how many actions went forward before the plan turned back; None while it has not.

    One of which no step took effect turns back at its end: there is nothing to verify.
    """
    forward = record.outcomes[: len(record.plan.actions)]
    turn = next((number for number, outcome in enumerate(forward, 1) if wrong(outcome)), None)
    ended_all = len(forward) == len(record.plan.actions)
    return len(forward) if turn is None and ended_all and _all_bad(forward) else turn


def wrong(outcome: Outcome) -> bool:
    """Say whether the plan turns back here; an optional action's failure does not stop it."""
    if outcome.verified is False:
        return True
    return outcome.status in _BAD and not CATALOG[outcome.action.kind].optional


def without_effect(record: PlanRecord) -> tuple[Outcome, ...]:
    """Return what came of the steps of a plan that has turned back where none took effect."""
    forward = record.outcomes[: turning_point(record) or 0]
    return forward if _all_bad(forward) else ()


def _all_bad(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome.status in _BAD for outcome in outcomes)


def end_state(record: PlanRecord) -> PlanState:
    """Return how a plan ends that has turned back and come to the end of its course.

    rolled back: all that was done is taken back; refused: nothing was done, a guard said no first
    """
    turn = turning_point(record) or 0
    forward, back = record.outcomes[:turn], record.outcomes[turn:]
    irreversible = any(
        outcome.status is OutcomeStatus.SUCCEEDED
        and CATALOG[outcome.action.kind].disruptive
        and not outcome.action.inverse
        for outcome in forward
    )
    if (
        irreversible
        or kept(record)
        or any(outcome.status is not OutcomeStatus.REVERTED for outcome in back)
    ):
        return PlanState.FAILED
    if back:
        return PlanState.ROLLED_BACK
    refused = forward[-1].status is OutcomeStatus.REFUSED
    return PlanState.REFUSED if refused else PlanState.FAILED


def started(
    record: PlanRecord, *, now_s: float, prior: Mapping[str, Scalar] | None = None
) -> PlanRecord:
    """Return the record with its next action in flight since now.

    prior: parameters with the state before it, which the action carries from now on
    """
    actions, number = record.plan.actions, len(record.outcomes)
    if prior and turning_point(record) is None:
        told = {**dict(actions[number].params), **prior}
        action = replace(actions[number], params=tuple(sorted(told.items())))
        actions = (*actions[:number], action, *actions[number + 1 :])
    return replace(
        record,
        plan=replace(record.plan, actions=actions),
        state=PlanState.ACTING,
        step=number + 1,
        since_s=now_s,
        refusals=(),
    )


def ended(
    record: PlanRecord,
    status: OutcomeStatus,
    text: str,
    *,
    now_s: float,
    lost_gpu_s: float | None = None,
) -> PlanRecord:
    """Return the record with its next action ended, whether it was in flight or never ordered."""
    action = course(record)[len(record.outcomes)]
    ordered_s = now_s if in_flight(record) is None else record.since_s
    outcome = Outcome(action, status, ordered_s, now_s, text, lost_gpu_s=lost_gpu_s)
    outcomes = (*record.outcomes, outcome)
    return replace(record, outcomes=outcomes, step=len(outcomes), since_s=now_s)


def kept(record: PlanRecord) -> tuple[Action, ...]:
    """Return what stays done of a plan that has turned back, as its kinds say."""
    turn = turning_point(record)
    return () if turn is None else _staying(record.outcomes[:turn])


def _staying(forward: Sequence[Outcome]) -> tuple[Action, ...]:
    """Return the actions that stay done: of a plan that did not help, none does."""
    if not forward or forward[-1].verified is False:
        return ()
    return tuple(
        outcome.action
        for outcome in forward
        if outcome.status is OutcomeStatus.SUCCEEDED and CATALOG[outcome.action.kind].kept
    )


def _taking_back(plan: Plan, outcomes: Sequence[Outcome]) -> tuple[Action, ...]:
    """Return the inverses, last first, of what had an effect, may have had one, or half of one.

    What stays done keeps what was done for it: a node that was swapped out remains cordoned. A node
    that was out before the plan stays out.
    """
    stays = _staying(outcomes)
    nodes = {name for action in stays for name in nodes_of(action)}
    before = {o.action.target.node for o in outcomes if o.action.param(PRIOR_OUT)}
    back = [
        inverse_of(outcome.action, plan_id=plan.id, step=step)
        for step, outcome in enumerate(outcomes)
        if outcome.status is not OutcomeStatus.REFUSED
        and outcome.action not in stays
        and not nodes.intersection(nodes_of(outcome.action))
    ]
    return tuple(
        action
        for action in reversed(back)
        if action is not None and not (_returns(action) and action.target.node in before)
    )


def _returns(action: Action) -> bool:
    return CATALOG[action.kind].effect is Effect.PUTS_BACK
