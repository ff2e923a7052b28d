"""The action catalogue: what each kind needs, changes, costs, how long it may take, its inverse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.cluster import ClusterState
from core.target import Target
from core.types import Action, Refusal, Scalar
from remediation import costs, effects, preconditions

CORDON = "cordon"
UNCORDON = "uncordon"
CHECKPOINT_NOW = "checkpoint_now"
RESTART_JOB = "restart_job"
SWAP_NODE = "swap_node"
REBOOT_NODE = "reboot_node"


class Effect(StrEnum):
    """What a kind does to the work: guards block disrupting, never putting back."""

    DISRUPTS = "disrupts"
    HARMLESS = "harmless"
    PUTS_BACK = "puts_back"


Check = Callable[[Action, ClusterState], Refusal | None]
Done = Callable[[Action, ClusterState, float], bool]
Project = Callable[[Action, ClusterState], ClusterState]
Cost = Callable[[Action, ClusterState], float]


@dataclass(frozen=True, slots=True)
class ActionKind:
    """One kind of action as data and pure functions.

    deadline_s: longest it may take before it counts as timed out, seconds
    inverse: the kind that takes it back, or "" for irreversible
    takes_out: whether the target's node is out of service afterwards by our hand
    stops_job: whether a job stops and resumes from a checkpoint
    optional: a plan goes on without it when it fails
    obstacle(action, state): why it cannot be done now, or None
    done(action, state, started_s): whether its effect, ordered at started_s, shows
    project(action, state): the state that is expected once it is done
    cost(action, state): expected lost GPU-seconds
    """

    name: str
    text: str
    effect: Effect
    deadline_s: float
    inverse: str
    obstacle: Check
    done: Done
    project: Project
    cost: Cost
    takes_out: bool = False
    stops_job: bool = False
    optional: bool = False

    @property
    def disruptive(self) -> bool:
        """Say whether it takes a node out of service or stops a job."""
        return self.effect is Effect.DISRUPTS


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


CATALOG: Mapping[str, ActionKind] = {
    kind.name: kind
    for kind in (
        ActionKind(
            name=CORDON,
            text="keep new jobs off the node; the job on it stays",
            effect=Effect.DISRUPTS,
            deadline_s=120.0,  # one call to the scheduler; four cycles of 15 s and as much again
            inverse=UNCORDON,
            obstacle=preconditions.cordon_obstacle,
            done=effects.cordon_done,
            project=effects.cordoned,
            cost=costs.nothing_lost,
            takes_out=True,
        ),
        ActionKind(
            name=UNCORDON,
            text="let jobs start on the node again",
            effect=Effect.PUTS_BACK,
            deadline_s=120.0,  # as for cordon
            inverse="",  # taking a node out again is a new decision, which asks every guard
            obstacle=preconditions.uncordon_obstacle,
            done=effects.uncordon_done,
            project=effects.uncordoned,
            cost=costs.nothing_lost,
        ),
        ActionKind(
            name=CHECKPOINT_NOW,
            text="save the job's state now",
            effect=Effect.HARMLESS,
            deadline_s=300.0,  # 200 s for a 175B model to HDFS (ByteDance), and half as much again
            inverse="",
            obstacle=preconditions.checkpoint_obstacle,
            done=effects.checkpoint_done,
            project=effects.saved,
            cost=costs.stall_cost,
            optional=True,
        ),
        ActionKind(
            name=RESTART_JOB,
            text="restart the job where it is, from its newest valid checkpoint",
            effect=Effect.DISRUPTS,
            deadline_s=900.0,  # a cold restart at 98k GPUs (FT-HSDP); smaller ones are faster
            inverse="",
            obstacle=preconditions.restart_obstacle,
            done=effects.restart_done,
            project=effects.restarted,
            cost=costs.restart_cost,
            stops_job=True,
        ),
        # Swapping back would cost a second restart for a node that was suspected a moment ago: what
        # is taken back is only that the node takes no jobs. The spare keeps the job.
        ActionKind(
            name=SWAP_NODE,
            text="put a spare in the node's place and resume from the newest valid checkpoint",
            effect=Effect.DISRUPTS,
            deadline_s=1200.0,  # requeue of a whole job: 454-768 s at 2k-16k GPUs (ByteRobust, T7)
            inverse=UNCORDON,
            obstacle=preconditions.swap_obstacle,
            done=effects.swap_done,
            project=effects.swapped,
            cost=costs.swap_cost,
            takes_out=True,
            stops_job=True,
        ),
        ActionKind(
            name=REBOOT_NODE,
            text="reboot a node that is out of service already",
            effect=Effect.DISRUPTS,
            deadline_s=1500.0,  # 25 min, as another healer allows its reboots (facts: 8 to 15 min)
            inverse="",
            obstacle=preconditions.reboot_obstacle,
            done=effects.reboot_done,
            project=effects.unchanged,
            cost=costs.reboot_cost,
        ),
    )
}
