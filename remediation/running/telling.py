"""Actions as the journal tells of them."""

from core.types import Action, Outcome, OutcomeStatus
from remediation.catalogue import CATALOG


def would_do(action: Action, now_s: float) -> Outcome:
    """Return what stands for an action that the mode keeps from being done."""
    text = f"would {CATALOG[action.kind].text}"
    return Outcome(action, OutcomeStatus.WOULD_DO, now_s, now_s, text)


def named(action: Action) -> str:
    """Name an action for the journal, its key with it: two lines of one key are one action."""
    params = "".join(f" {name}={value}" for name, value in action.params)
    return f"{action.kind} {action.target}{params} [{action.key}]"
