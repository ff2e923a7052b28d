"""How often: a target cools down, an hour has room for so many actions."""

from core.types import Refusal
from remediation.catalogue import CATALOG
from remediation.guards.question import GuardContext, Question, performed
from remediation.guards.settings import HOUR_S, GuardSettings
from remediation.running.course import in_flight, to_come


def cooled(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to disrupt a target again soon after another plan has.

    What puts back goes on with what its own incident's plan has taken.
    """
    targets = {action.target for action in question.disruptive}
    hot = [
        (outcome.ended_s, outcome.action.kind, str(outcome.action.target))
        for record in context.records
        if record.plan.id != question.plan.id
        and not (question.restores and record.plan.incident_id == question.plan.incident_id)
        for outcome in performed(record)
        if CATALOG[outcome.action.kind].disruptive
        and outcome.action.target in targets
        and context.now_s - outcome.ended_s < settings.cooldown_s
    ]
    if not hot:
        return None
    ended_s, kind, target = max(hot)
    wait_s = settings.cooldown_s - (context.now_s - ended_s)
    return Refusal(
        "cooldown",
        f"{question.not_doing}: {kind} was done on {target} {context.now_s - ended_s:.0f} s ago.",
        f"Wait {wait_s:.0f} s, or lower guards.cooldown (now {settings.cooldown_s:.0f} s) and "
        "reload.",
        allowed_s=ended_s + settings.cooldown_s,
    )


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
