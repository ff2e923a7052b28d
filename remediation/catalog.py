"""The action catalogue: what each kind needs, changes, costs, how long it may take, its inverse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.target import Target
from core.types import Action, Refusal, Scalar

CORDON = "cordon"
UNCORDON = "uncordon"
CHECKPOINT_NOW = "checkpoint_now"
RESTART_JOB = "restart_job"
SWAP_NODE = "swap_node"
REBOOT_NODE = "reboot_node"

PRECONDITION = "precondition"

# How long a cold restart of a whole job takes: 200 s at 16k GPUs to 900 s at 98k, which is about
# 50 s + 9 ms a GPU (FT-HSDP, arXiv:2602.00277).
RESTART_BASE_S = 50.0
RESTART_PER_GPU_S = 0.009
# A new worker on one node: about 2 min (DLRover's published figures).
NEW_NODE_S = 120.0
# The job stands still while it copies its state: 6.8 to 13 s for a blocking save (FT-HSDP).
CHECKPOINT_STALL_S = 13.0
# A reboot of an 8-GPU node with its self-test: 8 to 15 min (assumption; measure on your machines).
REBOOT_S = 720.0
# Work since the newest checkpoint where the job has none: it is all the work there is, and the
# scheduler's record of it begins with the job's phase.


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


def job_of(action: Action) -> str:
    """Return the id of the job the action stops or serves, or ""."""
    return action.target.job or str(action.param("job") or "")


def nodes_of(action: Action) -> tuple[str, ...]:
    """Return the nodes the action itself handles: its target and the spare it puts in."""
    named = (action.target.node, str(action.param("spare") or ""))
    return tuple(name for name in named if name)


def restart_s(gpus: int) -> float:
    """Return the expected time from stop to running again, seconds."""
    return RESTART_BASE_S + RESTART_PER_GPU_S * gpus


def recompute_s(job: JobState, *, now_s: float) -> float:
    """Return the work that a restart loses: since the newest checkpoint, or since the start."""
    return max(0.0, now_s - (job.since_s if job.checkpoint_s is None else job.checkpoint_s))


def _refuse(reason: str, remedy: str) -> Refusal:
    return Refusal(guard=PRECONDITION, reason=reason, remedy=remedy)


def _node(action: Action, state: ClusterState) -> NodeState | Refusal:
    node = state.node(action.target.node)
    if node is None:
        return _refuse(
            f"Not doing {action.kind} on {action.target.node or '(no node named)'}: the scheduler "
            f"knows no such node among its {len(state.nodes)}.",
            "Check that telemetry and the scheduler name nodes alike.",
        )
    return node


def _job(action: Action, state: ClusterState) -> JobState | Refusal:
    job = state.job(job_of(action))
    if job is None:
        return _refuse(
            f"Not doing {action.kind}: the scheduler has no job {job_of(action) or '(none named)'}"
            f" among its {len(state.jobs)}.",
            "It has ended or was taken away; nothing is left to do for it.",
        )
    return job


def _phase_obstacle(action: Action, job: JobState, wanted: frozenset[JobPhase]) -> Refusal | None:
    if job.phase in wanted:
        return None
    return _refuse(
        f"Not doing {action.kind} for job {job.id}: it is {job.phase}.",
        f"It must be {' or '.join(sorted(wanted))}.",
    )


def _cordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    node = _node(action, state)
    return node if isinstance(node, Refusal) else None


def _uncordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    node = _node(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.READY:
        return _refuse(
            f"Not uncordoning {node.name}: it is ready already.", "Nothing is to be taken back."
        )
    return None


def _checkpoint_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    job = _job(action, state)
    if isinstance(job, Refusal):
        return job
    return _phase_obstacle(action, job, frozenset({JobPhase.RUNNING}))


_STARTABLE = frozenset({JobPhase.RUNNING, JobPhase.STARTING, JobPhase.STOPPED})


def _restart_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    job = _job(action, state)
    if isinstance(job, Refusal):
        return job
    return _phase_obstacle(action, job, _STARTABLE) or _not_ready(action, state, job.nodes)


def _not_ready(action: Action, state: ClusterState, names: tuple[str, ...]) -> Refusal | None:
    """Refuse where a node that the job would start on takes no jobs."""
    for name in names:
        node = state.node(name)
        condition = "unknown to the scheduler" if node is None else node.condition
        if condition is not NodeCondition.READY:
            return _refuse(
                f"Not doing {action.kind}: the job would start on {name}, which is {condition}.",
                f"Uncordon {name}, or put a spare in its place.",
            )
    return None


def _swap_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    node, job = _node(action, state), _job(action, state)
    if isinstance(node, Refusal):
        return node
    if isinstance(job, Refusal):
        return job
    if node.name not in job.nodes:
        return _refuse(
            f"Not swapping {node.name}: job {job.id} does not run on it but on "
            f"{len(job.nodes)} other nodes.",
            "It has moved already; look at the cluster again.",
        )
    if node.condition is NodeCondition.READY:
        return _refuse(
            f"Not swapping {node.name}: it still takes jobs.",
            "Cordon it first, so that nothing starts on it.",
        )
    others = tuple(name for name in job.nodes if name != node.name)
    return (
        _phase_obstacle(action, job, _STARTABLE)
        or _spare_obstacle(action, state, node.name)
        or _not_ready(action, state, others)
    )


def _spare_obstacle(action: Action, state: ClusterState, name: str) -> Refusal | None:
    """Refuse a spare that is none, is not free, or is not as large as what it stands in for."""
    named = str(action.param("spare") or "")
    spare = state.node(named)
    if spare is None or not spare.spare or spare.condition is not NodeCondition.READY:
        found = "no spare is ready" if not named else f"{named} is no ready spare"
    elif holders := [job.id for job in state.jobs if named in job.nodes and _holds(job)]:
        found = f"{named} already has job {holders[0]}"
    elif gpus_on(state, named) != gpus_on(state, name):
        found = f"{named} has {gpus_on(state, named)} GPUs, {name} has {gpus_on(state, name)}"
    else:
        return None
    free = sum(node.spare and node.condition is NodeCondition.READY for node in state.nodes)
    return _refuse(
        f"Not swapping {name}: {found} ({free} ready spares in all).",
        "Uncordon or add a spare with as many GPUs.",
    )


def gpus_on(state: ClusterState, node: str) -> int:
    """Return how many GPUs the topology knows on the node."""
    return len(state.topology.gpus_of_node(node))


def _holds(job: JobState) -> bool:
    return job.phase is not JobPhase.COMPLETED


def _reboot_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    node = _node(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.READY or node.owner != OWNER:
        return _refuse(
            f"Not rebooting {node.name}: it is {node.condition}, held by {node.owner or 'nobody'}.",
            "gpumedic must have cordoned it first.",
        )
    if running := [job.id for job in state.jobs if node.name in job.nodes and _holds(job)]:
        return _refuse(
            f"Not rebooting {node.name}: job {running[0]} is on it.", "Swap the node first."
        )
    return None


def _cordon_done(action: Action, state: ClusterState, _: float) -> bool:
    node = state.node(action.target.node)
    return node is not None and node.condition is not NodeCondition.READY and node.owner == OWNER


def _uncordon_done(action: Action, state: ClusterState, _: float) -> bool:
    node = state.node(action.target.node)
    return node is not None and node.condition is NodeCondition.READY


def _checkpoint_done(action: Action, state: ClusterState, started_s: float) -> bool:
    job = state.job(job_of(action))
    return job is not None and job.checkpoint_s is not None and job.checkpoint_s >= started_s


def _runs_since(job: JobState | None, started_s: float) -> bool:
    return job is not None and job.phase is JobPhase.RUNNING and job.since_s >= started_s


def _restart_done(action: Action, state: ClusterState, started_s: float) -> bool:
    return _runs_since(state.job(job_of(action)), started_s)


def _swap_done(action: Action, state: ClusterState, started_s: float) -> bool:
    job = state.job(job_of(action))
    moved = job is not None and action.target.node not in job.nodes
    return moved and _runs_since(job, started_s)


def _reboot_done(action: Action, state: ClusterState, started_s: float) -> bool:
    node = state.node(action.target.node)
    up = node is not None and node.condition is not NodeCondition.DOWN
    return up and node is not None and node.since_s >= started_s


def _with_node(
    state: ClusterState, name: str, condition: NodeCondition, owner: str
) -> ClusterState:
    nodes = tuple(
        replace(node, condition=condition, owner=owner) if node.name == name else node
        for node in state.nodes
    )
    return replace(state, nodes=nodes)


def _with_job(state: ClusterState, changed: JobState) -> ClusterState:
    jobs = tuple(changed if job.id == changed.id else job for job in state.jobs)
    return replace(state, jobs=jobs)


def _cordoned(action: Action, state: ClusterState) -> ClusterState:
    return _with_node(state, action.target.node, NodeCondition.CORDONED, OWNER)


def _uncordoned(action: Action, state: ClusterState) -> ClusterState:
    return _with_node(state, action.target.node, NodeCondition.READY, "")


def _saved(action: Action, state: ClusterState) -> ClusterState:
    job = state.job(job_of(action))
    return state if job is None else _with_job(state, replace(job, checkpoint_s=state.observed_s))


def _restarted(action: Action, state: ClusterState) -> ClusterState:
    job = state.job(job_of(action))
    return state if job is None else _with_job(state, replace(job, phase=JobPhase.RUNNING))


def _swapped(action: Action, state: ClusterState) -> ClusterState:
    job = state.job(job_of(action))
    if job is None:
        return state
    spare = str(action.param("spare") or "")
    nodes = tuple(spare if name == action.target.node else name for name in job.nodes)
    return _with_job(state, replace(job, phase=JobPhase.RUNNING, nodes=nodes))


def _unchanged(_: Action, state: ClusterState) -> ClusterState:
    return state


def _nothing_lost(_: Action, __: ClusterState) -> float:
    return 0.0


def _stall_cost(action: Action, state: ClusterState) -> float:
    job = state.job(job_of(action))
    return 0.0 if job is None else job.gpus * CHECKPOINT_STALL_S


def _restart_cost(action: Action, state: ClusterState) -> float:
    """GPUs x (restart + work since the newest checkpoint); a stopped job loses that work anyway."""
    job = state.job(job_of(action))
    if job is None:
        return 0.0
    return job.gpus * (restart_s(job.gpus) + recompute_s(job, now_s=state.observed_s))


def _swap_cost(action: Action, state: ClusterState) -> float:
    job = state.job(job_of(action))
    return _restart_cost(action, state) + (0.0 if job is None else job.gpus * NEW_NODE_S)


def _reboot_cost(action: Action, state: ClusterState) -> float:
    return gpus_on(state, action.target.node) * REBOOT_S


CATALOG: Mapping[str, ActionKind] = {
    kind.name: kind
    for kind in (
        ActionKind(
            name=CORDON,
            text="keep new jobs off the node; the job on it stays",
            effect=Effect.DISRUPTS,
            deadline_s=120.0,  # one call to the scheduler; four cycles of 15 s and as much again
            inverse=UNCORDON,
            obstacle=_cordon_obstacle,
            done=_cordon_done,
            project=_cordoned,
            cost=_nothing_lost,
            takes_out=True,
        ),
        ActionKind(
            name=UNCORDON,
            text="let jobs start on the node again",
            effect=Effect.PUTS_BACK,
            deadline_s=120.0,  # as for cordon
            inverse=CORDON,
            obstacle=_uncordon_obstacle,
            done=_uncordon_done,
            project=_uncordoned,
            cost=_nothing_lost,
        ),
        ActionKind(
            name=CHECKPOINT_NOW,
            text="save the job's state now",
            effect=Effect.HARMLESS,
            deadline_s=300.0,  # 200 s for a 175B model to HDFS (ByteDance), and half as much again
            inverse="",
            obstacle=_checkpoint_obstacle,
            done=_checkpoint_done,
            project=_saved,
            cost=_stall_cost,
            optional=True,
        ),
        ActionKind(
            name=RESTART_JOB,
            text="restart the job where it is, from its newest valid checkpoint",
            effect=Effect.DISRUPTS,
            deadline_s=900.0,  # a cold restart at 98k GPUs (FT-HSDP); smaller ones are faster
            inverse="",
            obstacle=_restart_obstacle,
            done=_restart_done,
            project=_restarted,
            cost=_restart_cost,
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
            obstacle=_swap_obstacle,
            done=_swap_done,
            project=_swapped,
            cost=_swap_cost,
            takes_out=True,
            stops_job=True,
        ),
        ActionKind(
            name=REBOOT_NODE,
            text="reboot a node that is out of service already",
            effect=Effect.DISRUPTS,
            deadline_s=1500.0,  # 25 min, as another healer allows its reboots (facts: 8 to 15 min)
            inverse="",
            obstacle=_reboot_obstacle,
            done=_reboot_done,
            project=_unchanged,
            cost=_reboot_cost,
        ),
    )
}
