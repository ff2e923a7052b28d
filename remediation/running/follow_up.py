"""A plan that puts back what an earlier one took; no policy made it and no fault is its ground."""

from core.types import Plan

FOLLOW_UP = "follow-up"
# Parameter of an action that takes a node out: true where a reboot is to mend the node afterwards.
REPAIR = "repair"


def is_follow_up(plan: Plan) -> bool:
    """Say whether the plan puts back what an earlier one took."""
    return plan.policy == FOLLOW_UP
