"""What a learned policy chooses from, and what it sees: a few candidate plans, a few features."""

import math
from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition
from core.target import Target
from core.types import Action, Cause, Diagnosis, Floats, Incident, Plan, Scalar
from remediation.catalogue import (
    CATALOG,
    CHECKPOINT_NOW,
    CORDON,
    REBOOT_NODE,
    RESTART_JOB,
    SWAP_NODE,
    UNCORDON,
    first_obstacle,
    make,
)
from remediation.rules import PROPOSAL_LIFE_S, spare_for

Bools = NDArray[np.bool_]


class Choice(IntEnum):
    """The discrete actions of the policy; the numbers are part of a trained policy's file."""

    WAIT = 0
    CHECKPOINT = 1
    RESTART = 2
    SWAP = 3
    SWAP_AND_REPAIR = 4


# Faults a policy sees one by one; the order is part of a trained policy's file.
SEEN_FAULTS = ("gpu_fallen_off_bus", "cooling_degraded", "memory_leak", "volume_filling")
# A restart in place on hardware that is broken fails again: never offered above this probability.
BROKEN_FAULTS = frozenset({"gpu_fallen_off_bus", "gpu_ecc_uncorrectable", "gpu_power_fault"})
MOST_BROKEN = 0.5

FEATURES = (
    *(f"probability {name}" for name in SEEN_FAULTS),
    "probability of other faults",
    "probability unknown",
    "job runs",
    "job starts",
    "job stopped",
    "work since checkpoint",
    "share of all gpus",
    "nodes of the job",
    "spares ready",
    "node out of service",
    "incident age",
    "time in this phase",
    "restarts of the job",
    "breach expected",
)
_WORK_S, _AGE_S, _PHASE_S = 1800.0, 1800.0, 1800.0


def features(
    incident: Incident, diagnosis: Diagnosis, state: ClusterState, *, now_s: float
) -> Floats:
    """Return (len(FEATURES),) numbers in [0, 1], the same for a small and a large cluster.

    Times and counts enter as 1 - exp(-x / scale), so that none can leave the range.
    """
    job, node = _subject(diagnosis, state)
    named = dict.fromkeys(SEEN_FAULTS, 0.0)
    for cause in diagnosis.causes:
        if cause.fault in named:
            named[cause.fault] += cause.probability
    phase = job.phase if job else None
    seen = (
        *named.values(),
        max(0.0, 1.0 - sum(named.values()) - diagnosis.unknown - diagnosis.no_fault),
        diagnosis.unknown,
        phase is JobPhase.RUNNING,
        phase is JobPhase.STARTING,
        phase is JobPhase.STOPPED,
        _rising(now_s - (job.checkpoint_s or job.since_s) if job else 0.0, _WORK_S),
        (job.gpus if job else 0) / max(1, len(state.topology.gpus)),
        _rising(len(job.nodes) if job else 0, 16.0),
        _rising(_spares(state), 2.0),
        _is_out(node, state),
        _rising(now_s - incident.opened_s, _AGE_S),
        _rising(now_s - job.since_s if job else 0.0, _PHASE_S),
        _rising(job.restarts if job else 0, 3.0),
        bool(incident.breaches),
    )
    return np.clip(np.nan_to_num(np.array(seen, dtype=np.float64)), 0.0, 1.0)


def candidates(
    incident: Incident, diagnosis: Diagnosis, state: ClusterState, *, plan_id: str
) -> Mapping[Choice, tuple[Action, ...]]:
    """Return the steps of every choice that can be carried out now; WAIT is always there.

    A choice is walked from end to end through the states it expects before it is offered.
    """
    offered: dict[Choice, tuple[Action, ...]] = {Choice.WAIT: ()}
    for choice, steps in _all_steps(diagnosis, state).items():
        actions = tuple(
            make(kind, target, params, plan_id=plan_id, step=number)
            for number, (kind, target, params) in enumerate(steps)
        )
        if first_obstacle(actions, state) is None:
            offered[choice] = actions
    return offered


def mask(offered: Mapping[Choice, tuple[Action, ...]]) -> Bools:
    """Return (len(Choice),) which choices are offered."""
    return np.array([choice in offered for choice in Choice], dtype=bool)


def plan_of(
    choice: Choice,
    actions: tuple[Action, ...],
    *,
    incident: Incident,
    diagnosis: Diagnosis,
    state: ClusterState,
    now_s: float,
    plan_id: str,
    policy: tuple[str, str],
) -> Plan | None:
    """Return the choice as a plan; None for waiting, or where no cause is named."""
    if not actions or not diagnosis.causes:
        return None
    cause = diagnosis.causes[0]
    lost, expected = 0.0, state
    for action in actions:
        lost += CATALOG[action.kind].cost(action, expected)
        expected = CATALOG[action.kind].project(action, expected)
    does = ", ".join(action.kind for action in actions)
    return Plan(
        id=plan_id,
        incident_id=incident.id,
        made_at_s=now_s,
        expires_s=now_s + PROPOSAL_LIFE_S,
        cause=cause,
        actions=actions,
        rationale=(
            f"{cause.fault} on {cause.target} (probability {cause.probability:.2f}): {does}; "
            f"{choice.name.lower()} is what policy {' '.join(policy)} chose of what can be done."
        ),
        lost_gpu_s_with=lost,
        lost_gpu_s_without=_lost_without(diagnosis, state),
        policy=policy[0],
        policy_version=policy[1],
    )


Step = tuple[str, Target, Mapping[str, Scalar]]


def _all_steps(diagnosis: Diagnosis, state: ClusterState) -> Mapping[Choice, tuple[Step, ...]]:
    job, node = _subject(diagnosis, state)
    if job is None or diagnosis.no_fault > diagnosis.causes[0].probability:
        return {}
    its = Target(job=job.id)
    save: tuple[Step, ...] = ((CHECKPOINT_NOW, its, {}),) if _runs(job) else ()
    found: dict[Choice, tuple[Step, ...]] = {Choice.CHECKPOINT: ((CHECKPOINT_NOW, its, {}),)}
    if _broken(diagnosis, node, state) <= MOST_BROKEN:
        found[Choice.RESTART] = (*save, (RESTART_JOB, its, {}))
    if node and node in job.nodes:
        cause = diagnosis.causes[0]
        where = Target(node=node)
        away: tuple[Step, ...] = (
            (CORDON, where, {"reason": f"{cause.fault} on {cause.target}"}),
            *save,
            (SWAP_NODE, where, {"job": job.id, "spare": spare_for(node, state)}),
        )
        found[Choice.SWAP] = away
        found[Choice.SWAP_AND_REPAIR] = (*away, (REBOOT_NODE, where, {}), (UNCORDON, where, {}))
    return found


def _subject(diagnosis: Diagnosis, state: ClusterState) -> tuple[JobState | None, str]:
    """Return the largest live job of the likeliest cause, and the cause's node."""
    if not diagnosis.causes:
        return None, ""
    target = diagnosis.causes[0].target
    live = [job for job in state.jobs_touched(target) if job.phase is not JobPhase.COMPLETED]
    job = max(live, key=lambda item: (item.gpus, item.id), default=None)
    return job, state.topology.node_of(target)


def _broken(diagnosis: Diagnosis, node: str, state: ClusterState) -> float:
    """Return the probability that the node's hardware is broken."""
    on_it: list[Cause] = [
        cause
        for cause in diagnosis.causes
        if cause.fault in BROKEN_FAULTS and state.topology.node_of(cause.target) == node
    ]
    return sum(cause.probability for cause in on_it)


def _lost_without(diagnosis: Diagnosis, state: ClusterState) -> float:
    """Weigh standing still for as long as a proposal lives by the cause's probability."""
    job, _ = _subject(diagnosis, state)
    return 0.0 if job is None else diagnosis.causes[0].probability * job.gpus * PROPOSAL_LIFE_S


def _runs(job: JobState) -> bool:
    return job.phase is JobPhase.RUNNING


def _spares(state: ClusterState) -> int:
    return sum(node.spare and node.condition is NodeCondition.READY for node in state.nodes)


def _is_out(node: str, state: ClusterState) -> bool:
    known = state.node(node)
    return known is not None and known.condition is not NodeCondition.READY


def _rising(value: float, scale: float) -> float:
    return 1.0 - math.exp(-max(0.0, value) / scale)
