"""The action catalogue: what each kind needs, changes, costs, how long it may take, its inverse."""

from collections.abc import Mapping

from core.cluster import ClusterState
from core.target import Target
from core.types import Action, Refusal, Scalar
from remediation.catalogue import cluster, energy, inference, training
from remediation.catalogue.asked import refuse
from remediation.catalogue.cluster import (
    BORROW_NODE,
    CORDON,
    DRAIN,
    KEEP_AS_SPARE,
    PAGE_PERSON,
    PREEMPT_JOB,
    QUARANTINE,
    REBOOT_NODE,
    REBOOT_UNDER_JOB,
    RELEASE_SPARE,
    RESET_GPU,
    UNCORDON,
    VALIDATE_NODE,
)
from remediation.catalogue.energy import LIMIT_CLOCKS, LIMIT_POWER, STOP_ROLLOUT
from remediation.catalogue.inference import (
    SCALE_SERVICE,
    SET_CACHE,
    SET_SERVICE_BATCH,
    SHIFT_CANARY,
)
from remediation.catalogue.kind import PRIOR, ActionKind, Agrees, Effect
from remediation.catalogue.training import (
    CHECKPOINT_NOW,
    EVICT_RANK,
    GROW_JOB,
    MOVE_JOB,
    RESTART_IN_PLACE,
    RESTART_JOB,
    ROLLBACK_JOB,
    SET_CHECKPOINT_INTERVAL,
    SET_COMPRESSION,
    SHRINK_JOB,
    SWAP_NODE,
    SWAP_NODES,
    TUNE_JOB,
)

__all__ = [
    "BORROW_NODE",
    "CATALOG",
    "CHECKPOINT_NOW",
    "CORDON",
    "DRAIN",
    "EVICT_RANK",
    "GROW_JOB",
    "KEEP_AS_SPARE",
    "LIMIT_CLOCKS",
    "LIMIT_POWER",
    "MOVE_JOB",
    "PAGE_PERSON",
    "PREEMPT_JOB",
    "QUARANTINE",
    "REBOOT_NODE",
    "REBOOT_UNDER_JOB",
    "RELEASE_SPARE",
    "RESET_GPU",
    "RESTART_IN_PLACE",
    "RESTART_JOB",
    "ROLLBACK_JOB",
    "SCALE_SERVICE",
    "SET_CACHE",
    "SET_CHECKPOINT_INTERVAL",
    "SET_COMPRESSION",
    "SET_SERVICE_BATCH",
    "SHIFT_CANARY",
    "SHRINK_JOB",
    "STOP_ROLLOUT",
    "SWAP_NODE",
    "SWAP_NODES",
    "TUNE_JOB",
    "UNCORDON",
    "VALIDATE_NODE",
    "ActionKind",
    "Agrees",
    "Effect",
    "first_obstacle",
    "inverse_of",
    "make",
]

CATALOG: Mapping[str, ActionKind] = {
    kind.name: kind for group in (training, cluster, inference, energy) for kind in group.KINDS
}


def make(
    kind: str, target: Target, params: Mapping[str, Scalar], *, plan_id: str, step: int
) -> Action:
    """Build one step of a plan; the same arguments give the same idempotency key.

    step: its place in the plan from 0; the step that takes back step k has the number -1 - k
    """
    known = CATALOG[kind]
    return Action(
        key=f"{plan_id}:{step}:{kind}",
        kind=kind,
        target=target,
        params=tuple(sorted(params.items())),
        deadline_s=known.deadline_s,
        inverse=known.inverse,
    )


def inverse_of(action: Action, *, plan_id: str, step: int) -> Action | None:
    """Build the action that takes back the plan's step of that number; None if irreversible.

    What was out of service before the step stays out. The state before is what the action carries.
    """
    if not action.inverse or action.param("prior_out") is True:
        return None
    carried = dict(action.params)
    params = {
        name: carried[PRIOR + name]
        for name in CATALOG[action.kind].restores
        if PRIOR + name in carried
    }
    return make(action.inverse, action.target, params, plan_id=plan_id, step=-1 - step)


def first_obstacle(actions: tuple[Action, ...], state: ClusterState) -> Refusal | None:
    """Walk the plan through the states it expects; return the first thing in its way, or None.

    A kind that nobody can do on this cluster is in its way before anything of it is begun.
    """
    for action in actions:
        kind = CATALOG[action.kind]
        if instead := state.instead_of(action.kind):
            return refuse(
                f"Not doing {action.kind} on {action.target}: nobody can on this cluster.", instead
            )
        if found := kind.obstacle(action, state):
            return found
        state = kind.project(action, state)
    return None
