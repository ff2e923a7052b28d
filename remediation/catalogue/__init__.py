"""The action catalogue: what each kind needs, changes, costs, how long it may take, its inverse."""

from collections.abc import Mapping

from core.cluster import ClusterState
from core.target import Target
from core.types import Action, Refusal, Scalar
from remediation.catalogue import cluster, training
from remediation.catalogue.cluster import CORDON, REBOOT_NODE, UNCORDON
from remediation.catalogue.kind import ActionKind, Agrees, Effect
from remediation.catalogue.training import CHECKPOINT_NOW, RESTART_JOB, SWAP_NODE

__all__ = [
    "CATALOG",
    "CHECKPOINT_NOW",
    "CORDON",
    "REBOOT_NODE",
    "RESTART_JOB",
    "SWAP_NODE",
    "UNCORDON",
    "ActionKind",
    "Agrees",
    "Effect",
    "first_obstacle",
    "inverse_of",
    "make",
]

CATALOG: Mapping[str, ActionKind] = {
    kind.name: kind for group in (training, cluster) for kind in group.KINDS
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
    """Build the action that takes back the plan's step of that number; None if irreversible."""
    if not action.inverse:
        return None
    return make(action.inverse, action.target, {}, plan_id=plan_id, step=-1 - step)


def first_obstacle(actions: tuple[Action, ...], state: ClusterState) -> Refusal | None:
    """Walk the plan through the states it expects; return the first thing in its way, or None."""
    for action in actions:
        kind = CATALOG[action.kind]
        if found := kind.obstacle(action, state):
            return found
        state = kind.project(action, state)
    return None
