"""What the agent's policy makes of a moment in which the runbook chooses."""

from dataclasses import replace

from core.cluster import ClusterState
from core.types import Diagnosis, Incident
from remediation.deciding.choosing import ChoosingPolicy, LiveMoment
from remediation.deciding.policy import Decision, Past
from remediation.policies.rulebook import Runbook
from tests.healing import (
    NOW_S,
    guards,
    incident,
)

PAST = Past(guards=guards())


def quiet() -> Incident:
    """Return an incident of a job at its usual speed."""
    return replace(incident(), anomalies=())


def decided(
    state: ClusterState, found: Diagnosis, about: Incident | None = None, past: Past = PAST
) -> Decision:
    policy = ChoosingPolicy(Runbook())
    return policy.decide(about or quiet(), found, state, now_s=NOW_S, plan_id="p1", past=past)


def moment(
    state: ClusterState,
    found: Diagnosis,
    about: Incident | None = None,
    past: Past = PAST,
) -> LiveMoment:
    decision = decided(state, found, about, past)
    assert isinstance(decision.moment, LiveMoment)
    return decision.moment
