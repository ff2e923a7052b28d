"""How often: a target cools down, an hour has room for so many actions."""

from core.cluster import NodeCondition
from core.target import Target
from core.types import Action, Refusal
from remediation.catalogue import CATALOG, RESTART_IN_PLACE, RESTART_JOB, ROLLBACK_JOB
from remediation.catalogue.subject import job_of, names_in
from remediation.catalogue.taken import taken
from remediation.guards.grounds import stands
from remediation.guards.question import GuardContext, Question, performed
from remediation.guards.settings import HOUR_S, GuardSettings
from remediation.running.course import in_flight, to_come
from remediation.running.witnessed import is_witnessed

# Where kubelet's back-off from a crash loop ends: there is nothing to disturb in a job that stands.
_BACK_OFF_S = 300.0
_STARTS = frozenset({RESTART_JOB, RESTART_IN_PLACE, ROLLBACK_JOB})


def cooled(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to disrupt a target again soon after another plan has.

    A node that is down need not rest. What puts back goes on with what its own incident's plan has
    taken. A job that makes no steps may be started again after ``_BACK_OFF_S``.
    """
    rest_s = {
        target: _rest_s(action, context, settings)
        for action in question.disruptive
        for target in _disturbed(action)
        if not _is_down(target, context)
    }
    hot = [
        (outcome.ended_s + rest_s[target], outcome.ended_s, outcome.action.kind, str(target))
        for record in context.records
        if record.plan.id != question.plan.id
        and not is_witnessed(record.plan)
        and not (question.restores and record.plan.incident_id == question.plan.incident_id)
        for outcome in performed(record)
        if CATALOG[outcome.action.kind].disruptive
        for target in _disturbed(outcome.action) & rest_s.keys()
        if context.now_s - outcome.ended_s < rest_s[target]
    ]
    if not hot:
        return None
    allowed_s, ended_s, kind, target = max(hot)
    return Refusal(
        "cooldown",
        f"{question.not_doing}: {kind} was done on {target} {context.now_s - ended_s:.0f} s ago.",
        f"Wait {allowed_s - context.now_s:.0f} s, or lower guards.cooldown (now "
        f"{settings.cooldown_s:.0f} s) and reload.",
        allowed_s=allowed_s,
    )


def _disturbed(action: Action) -> frozenset[Target]:
    """Return what an action disturbs: the nodes that it takes from their job, or else its target.

    A job that goes on without some of its nodes is not what has to rest.
    """
    gone = names_in(action, "leave") or taken(action)
    return frozenset(Target(node=node) for node in gone) or frozenset({action.target})


def _is_down(target: Target, context: GuardContext) -> bool:
    """Say whether it is a node that does nothing any more, and so cannot be disturbed."""
    node = context.state.node(target.node)
    return node is not None and node.condition is NodeCondition.DOWN


def _rest_s(action: Action, context: GuardContext, settings: GuardSettings) -> float:
    """Return how long what an action disturbs must have rested."""
    starts = action.kind in _STARTS and stands(context.state.job(job_of(action)), context)
    return min(settings.cooldown_s, _BACK_OFF_S) if starts else settings.cooldown_s


def within_hour(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to act more often in an hour than the bound.

    A plan that begins leaves room for what plans under way have still to do: none may have to turn
    back half way for want of it.
    """
    since_s = context.now_s - HOUR_S
    done = sorted(
        outcome.started_s
        for record in context.records
        if not is_witnessed(record.plan)
        for outcome in performed(record)
        if outcome.started_s > since_s
    )
    others = [record for record in context.records if record.plan.id != question.plan.id]
    begins = question.actions == question.plan.actions
    due = sum(to_come(record) if begins else in_flight(record) is not None for record in others)
    over = len(done) + due + len(question.actions) - settings.max_actions_per_hour
    if over <= 0:
        return None
    # So many of those that are done must be more than an hour ago; one to come has no end yet.
    frees_s = done[over - 1] + HOUR_S if over <= len(done) else None
    wait = "Wait" if frees_s is None else f"Wait {frees_s - context.now_s:.0f} s"
    if len(question.actions) > settings.max_actions_per_hour:
        wait = "Shorten the plan"
    return Refusal(
        "max_actions_per_hour",
        f"{question.not_doing}: {len(done)} actions in the last hour, {due} under way and "
        f"{len(question.actions)} more would pass the bound of {settings.max_actions_per_hour}.",
        f"{wait}, or raise guards.max_actions_per_hour and reload.",
        allowed_s=frees_s,
    )
