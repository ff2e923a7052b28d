"""Whether a person is on the way to it, or has it: one call is enough, and then it is theirs."""

from core.types import Refusal
from remediation.guards.question import GuardContext, Question
from remediation.guards.settings import GuardSettings
from remediation.running.page import sent_s, taken_over


def not_paged_lately(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to call a person again for an incident, a node or a job while one is on the way."""
    targets = {action.target for action in question.actions}
    calls = [
        (at_s, record.plan.id)
        for record in context.records
        if record.plan.id != question.plan.id
        and (
            record.plan.incident_id == question.plan.incident_id
            or targets & {action.target for action in record.plan.actions}
        )
        and (at_s := sent_s(record)) is not None
        and context.now_s - at_s < settings.page_pause_s
    ]
    if not calls:
        return None
    at_s, plan_id = max(calls)
    wait_s = settings.page_pause_s - (context.now_s - at_s)
    return Refusal(
        "paged",
        f"{question.not_doing}: a person was called {context.now_s - at_s:.0f} s ago (plan "
        f"{plan_id}).",
        f"They say so with `gpumedic ack {plan_id}`. Wait {wait_s:.0f} s, or lower "
        f"guards.page_pause (now {settings.page_pause_s:.0f} s) and reload.",
        allowed_s=at_s + settings.page_pause_s,
    )


def not_with_people(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to touch what a person who was called has taken over."""
    plan, since_s = question.plan, context.now_s - settings.taken_over_s
    page = taken_over(context.records, plan.incident_id, question.actions, since_s=since_s)
    if page is None:
        return None
    own = page.plan.incident_id == plan.incident_id
    until_s = None if own else page.since_s + settings.taken_over_s
    until = "this incident is over" if own else f"{until_s:.0f} (guards.taken_over)"
    return Refusal(
        "human",
        f"{question.not_doing}: {page.decided_by} has taken it over (plan {page.plan.id}).",
        f"It stays with them until {until}.",
        allowed_s=until_s,
    )
