"""A plan that ends no trouble: it saves work or calls a person, and what is wrong stays so."""

from core.faults import FaultClass
from core.types import Plan, PlanRecord, PlanState
from remediation.catalogue import CHECKPOINT_NOW, PAGE_PERSON


def is_stopgap(plan: Plan) -> bool:
    """Say whether nothing that the plan does could end what is wrong.

    Where checkpoints fail, one that is written ends it.
    """
    saving_ends_it = plan.cause.kind is FaultClass.CHECKPOINT
    return all(
        action.kind == PAGE_PERSON or (action.kind == CHECKPOINT_NOW and not saving_ends_it)
        for action in plan.actions
    )


def has_helped(record: PlanRecord) -> bool:
    """Say whether a plan was carried out and verified; a stopgap is not."""
    return record.state is PlanState.DONE and not is_stopgap(record.plan)
