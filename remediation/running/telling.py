"""Actions and plans as the journal tells of them."""

from core.types import Action, Outcome, OutcomeStatus, PlanRecord
from remediation.catalogue import CATALOG
from remediation.running.course import kept, without_effect


def would_do(action: Action, now_s: float) -> Outcome:
    """Return what stands for an action that the mode keeps from being done."""
    text = f"would {CATALOG[action.kind].text}"
    return Outcome(action, OutcomeStatus.WOULD_DO, now_s, now_s, text)


def named(action: Action) -> str:
    """Name an action for the journal, its key with it: two lines of one key are one action."""
    return f"{action} [{action.key}]"


def turned_back(record: PlanRecord) -> str:
    """Say how a plan ended that has turned back: what came of it, and what stays done."""
    text = "turned back, at its end"
    if vain := without_effect(record):
        text = f"none of its steps took effect: {'; '.join(_came_to(each) for each in vain)}"
    if stays := kept(record):
        text += f"; done and kept: {', '.join(named(action) for action in stays)}"
    return text


def _came_to(outcome: Outcome) -> str:
    status = str(outcome.status).replace("_", " ")
    return f"{outcome.action.kind} {outcome.action.target} {status}: {outcome.text}"
