"""The guards: pure functions that say no to a plan, or to its next action, and what would allow it.

They bound what any policy may do. A guard blocks taking a node out and stopping a job. Putting back
is refused by nobody but people: the owner of a node, or those who are at work on it.
"""

from core.types import Action, Plan, Refusal
from remediation.catalogue import CATALOG, PAGE_PERSON, Effect
from remediation.guards.bounds import (
    nodes_out,
    nodes_out_limit,
    spares_left,
    within_nodes_out,
    within_rack,
    within_switch,
)
from remediation.guards.grounds import fresh, on_known_links, probable, still_open
from remediation.guards.hands import (
    ASKS_A_PERSON,
    agreed,
    alone,
    maintained,
    not_turned_down,
    owned,
    paused,
    within_job_size,
)
from remediation.guards.lately import is_lemon, returned_s, taken_lately_s, trusted, unfit
from remediation.guards.pace import cooled, within_hour
from remediation.guards.people import not_paged_lately, not_with_people
from remediation.guards.question import Guard, GuardContext, Question, performed
from remediation.guards.settings import HOUR_S, GuardSettings, Maintenance
from remediation.guards.work import at_work, possible, recoverable, saved

__all__ = [
    "ASKS_A_PERSON",
    "HOUR_S",
    "GuardContext",
    "GuardSettings",
    "Maintenance",
    "check",
    "check_action",
    "is_lemon",
    "nodes_out",
    "nodes_out_limit",
    "performed",
    "returned_s",
    "taken_lately_s",
    "unfit",
]

_PUTTING_BACK: tuple[Guard, ...] = (maintained, owned)
# Checked first and then put back: what disrupts nothing and ends in service is not held up.
_RETURNING: tuple[Guard, ...] = (paused, maintained, owned, alone, agreed, possible)
_HARMLESS: tuple[Guard, ...] = (
    paused,
    maintained,
    not_turned_down,
    not_with_people,
    owned,
    alone,
    agreed,
    possible,
    at_work,
    within_hour,
)
# People are called, and nothing is touched.
_TELLING: tuple[Guard, ...] = (paused, not_turned_down, not_with_people, not_paged_lately, possible)
_DISRUPTING: tuple[Guard, ...] = (
    paused,
    maintained,
    not_turned_down,
    not_with_people,
    owned,
    still_open,
    probable,
    on_known_links,
    fresh,
    alone,
    agreed,
    within_job_size,
    possible,
    recoverable,
    saved,
    spares_left,
    trusted,
    cooled,
    within_nodes_out,
    within_rack,
    within_switch,
    within_hour,
)


def check(plan: Plan, context: GuardContext, settings: GuardSettings) -> tuple[Refusal, ...]:
    """Return every guard's no to the whole plan before its first step; empty means go.

    A step that the plan can do without does not hold it up: it is asked about again in its turn.
    """
    found = _ask(Question(plan, plan.actions, begins=True), context, settings)
    needed = tuple(action for action in plan.actions if not CATALOG[action.kind].optional)
    if found and needed and not _ask(Question(plan, needed, begins=True), context, settings):
        return ()
    return found


def check_action(
    action: Action, plan: Plan, context: GuardContext, settings: GuardSettings
) -> tuple[Refusal, ...]:
    """Return every guard's no to one action of the plan right before it is done."""
    begins = action.key == plan.actions[0].key
    return _ask(Question(plan, (action,), begins=begins), context, settings)


def _ask(question: Question, context: GuardContext, settings: GuardSettings) -> tuple[Refusal, ...]:
    found = (guard(question, context, settings) for guard in _guards_for(question))
    return tuple(refusal for refusal in found if refusal is not None)


def _guards_for(question: Question) -> tuple[Guard, ...]:
    if question.disruptive:
        return _DISRUPTING
    if all(action.kind == PAGE_PERSON for action in question.actions):
        return _TELLING
    effects = {CATALOG[action.kind].effect for action in question.actions}
    if effects == {Effect.PUTS_BACK}:
        return _PUTTING_BACK
    return _RETURNING if Effect.PUTS_BACK in effects else _HARMLESS
