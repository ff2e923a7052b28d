"""A plan that ends no trouble: it saves work or calls a person, and what is wrong stays so."""

from core.types import Plan, PlanRecord, PlanState
from remediation.catalogue import CHECKPOINT_NOW, PAGE_PERSON

_STOPGAPS = frozenset({CHECKPOINT_NOW, PAGE_PERSON})


def is_stopgap(plan: Plan) -> bool:
    """Say whether nothing that the plan does could end what is wrong."""
    return all(action.kind in _STOPGAPS for action in plan.actions)


def has_helped(record: PlanRecord) -> bool:
    """Say whether a plan was carried out and verified; a stopgap is not."""
    return record.state is PlanState.DONE and not is_stopgap(record.plan)
