"""A plan that no trouble asks for: room for a job, capacity ahead of demand, a better interval."""

from core.types import Incident, Plan

UPKEEP = "upkeep"
NEED = "need-"  # its incident's id begins so


def is_upkeep(plan: Plan) -> bool:
    """Say whether the plan mends nothing."""
    return plan.policy == UPKEEP


def is_need(incident: Incident) -> bool:
    """Say whether an incident stands for such a need: nothing is wrong, and no symptom shows."""
    return incident.id.startswith(NEED)
