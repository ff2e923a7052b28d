"""Why an action cannot be done now: a Refusal that says what would allow it, or None."""

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.types import Action, Refusal
from remediation.subject import gpus_on, job_of

PRECONDITION = "precondition"
_STARTABLE = frozenset({JobPhase.RUNNING, JobPhase.STARTING, JobPhase.STOPPED})


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


def cordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the scheduler does not know the node."""
    node = _node(action, state)
    return node if isinstance(node, Refusal) else None


def uncordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is in service already."""
    node = _node(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.READY:
        return _refuse(
            f"Not uncordoning {node.name}: it is ready already.", "Nothing is to be taken back."
        )
    return None


def checkpoint_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where no job runs that could be saved."""
    job = _job(action, state)
    if isinstance(job, Refusal):
        return job
    return _phase_obstacle(action, job, frozenset({JobPhase.RUNNING}))


def restart_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where there is no job to start, or a node of it takes no jobs."""
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


def swap_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job is not on the node, or cannot start without it."""
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


def _holds(job: JobState) -> bool:
    return job.phase is not JobPhase.COMPLETED


def reboot_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is in service, not ours, or has a job."""
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
