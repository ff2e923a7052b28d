"""Why an action about a job cannot be done now, or None."""

from collections.abc import Mapping

from core.cluster import ClusterState, JobState, NodeCondition
from core.types import Action, Refusal
from remediation.catalogue.asked import (
    LIVE,
    RUNS,
    STARTABLE,
    job_asked,
    jobs_on,
    node_asked,
    not_ready,
    number,
    refuse,
)
from remediation.catalogue.node_obstacles import free_spare_obstacle, lent_obstacle
from remediation.catalogue.subject import gpus_on, names_in


def checkpoint_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where no job runs that could be saved, or nobody has said how it is told to."""
    job = job_asked(action, state, RUNS)
    if isinstance(job, Refusal):
        return job
    if not job.saves:
        return refuse(
            f"Not saving job {job.id}: nobody has said how it is told to save, and where to.",
            "Let its owner say so: on Slurm by "
            '--comment="gpumedic: signal=USR1 checkpoint=/FOLDER", on Kubernetes by the annotation '
            'gpumedic/job: "save=8080/save checkpoint=/FOLDER", in a launch by '
            "Training(..., checkpoint=FOLDER).",
        )
    return None


def restart_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where there is no job to start, or a node of it takes no jobs."""
    job = job_asked(action, state, STARTABLE)
    return job if isinstance(job, Refusal) else not_ready(action, state, job.nodes)


def rollback_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job cannot start or has no checkpoint to go back to."""
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, Refusal):
        return job
    if job.checkpoint_s is None or job.service is not None:
        return refuse(
            f"Not rolling job {job.id} back: it has no valid checkpoint.", "Restart it instead."
        )
    return not_ready(action, state, job.nodes)


def swap_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job is not on the node, or cannot start without it."""
    return _swap(action, state, {action.target.node: str(action.param("spare") or "")})


def swaps_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the nodes and spares are not as many, or one of the swaps could not be done."""
    nodes, spares = names_in(action, "nodes"), names_in(action, "spares")
    if not nodes or len(nodes) != len(spares) or len({*nodes, *spares}) < 2 * len(nodes):
        return refuse(
            f"Not doing {action.kind} for job {action.target.job or '(none named)'}: "
            f"{len(nodes)} nodes and {len(spares)} spares are named.",
            "Name each node once and a spare of its own for each, with commas.",
        )
    return _swap(action, state, dict(zip(nodes, spares, strict=True)))


def evict_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node has no such job, or it can neither be replaced nor done without."""
    job = _on_its_node(action, state, action.target.node)
    if isinstance(job, Refusal):
        return job
    name, spare = action.target.node, str(action.param("spare") or "")
    others = tuple(other for other in job.nodes if other != name)
    if spare:
        return free_spare_obstacle(action, state, name, spare) or not_ready(action, state, others)
    return _size_obstacle(action, job, len(others)) or not_ready(action, state, others)


def borrow_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the lender is as urgent, or has no such node; or where the swap could not be."""
    job = _on_its_node(action, state, action.target.node)
    if isinstance(job, Refusal):
        return job
    name, lent = action.target.node, str(action.param("spare") or "")
    others = tuple(other for other in job.nodes if other != name)
    found = lent_obstacle(action, state, name, lent) or not_ready(action, state, others)
    return found or _lender_obstacle(action, state, job, lent)


def shrink_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a size that is not smaller or not allowed, or nodes that could not start."""
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, Refusal):
        return job
    count, leave = number(action, "nodes"), str(action.param("leave") or "")
    if not count < len(job.nodes) or (leave and leave not in job.nodes):
        found = f"{leave} is none of its nodes" if leave and leave not in job.nodes else "no less"
        return refuse(
            f"Not shrinking job {job.id} from {len(job.nodes)} to {action.param('nodes')} nodes: "
            f"{found}.",
            "Name fewer nodes, and as `leave` one that it has.",
        )
    found_size = _size_obstacle(action, job, count)
    return found_size or _others_start(action, state, job, int(len(job.nodes) - count), leave)


def grow_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a size that is not larger or not allowed, or for which no free nodes are ready."""
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, Refusal):
        return job
    count = number(action, "nodes")
    if not count > len(job.nodes):
        return refuse(
            f"Not growing job {job.id} from {len(job.nodes)} to {action.param('nodes')} nodes.",
            "Name more nodes than it has.",
        )
    if found := _size_obstacle(action, job, count) or not_ready(action, state, job.nodes):
        return found
    free, more = len(free_nodes(state)), int(count) - len(job.nodes)
    if free < more:
        return refuse(
            f"Not growing job {job.id} by {more} nodes: {free} are ready and free beside the "
            "spares.",
            "Wait, release a spare or preempt a job.",
        )
    return None


def move_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the nodes are not as many as the job has, not ready, or others have them."""
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, Refusal):
        return job
    names = names_in(action, "nodes")
    if len(names) != len(job.nodes) or len(set(names)) < len(names) or names == job.nodes:
        return refuse(
            f"Not moving job {job.id}: {len(names)} nodes are named and it has {len(job.nodes)}.",
            "Name as many, each once, in the order of its ranks and not as they are.",
        )
    for name in names:
        node = node_asked(action, state, name)
        if isinstance(node, Refusal):
            return node
        free = free_gpus(state, name, job.id)
        if free < min(job.gpus, gpus_on(state, name)):
            return refuse(
                f"Not moving job {job.id} to {name}: {free} of its {gpus_on(state, name)} GPUs are "
                "free.",
                "Name nodes that others leave free.",
            )
    return not_ready(action, state, names)


def preempt_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job has no nodes to give, or no other of higher priority wants them."""
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, Refusal):
        return job
    above = [other for other in state.jobs if other.priority > job.priority and other.phase in LIVE]
    if not above:
        return refuse(
            f"Not preempting job {job.id}: no job has a higher priority than its {job.priority}.",
            "Let the queue decide.",
        )
    return None


def free_nodes(state: ClusterState) -> tuple[str, ...]:
    """Return the ready nodes that no job has and that are not kept as spares."""
    taken = {name for job in state.jobs if job.phase in LIVE for name in job.nodes}
    return tuple(
        node.name
        for node in state.nodes
        if node.condition is NodeCondition.READY and not node.spare and node.name not in taken
    )


def free_gpus(state: ClusterState, node: str, job_id: str = "") -> int:
    """Return how many of a node's GPUs no job has but the named one; a part of a node has one."""
    each = gpus_on(state, node)
    held = [min(job.gpus, each) for job in jobs_on(state, node) if job.id != job_id]
    return each - sum(held)


def _on_its_node(action: Action, state: ClusterState, name: str) -> JobState | Refusal:
    """Return the action's job where it has the node."""
    node, job = node_asked(action, state, name), job_asked(action, state, STARTABLE)
    if isinstance(node, Refusal):
        return node
    if isinstance(job, Refusal):
        return job
    if node.name not in job.nodes:
        return refuse(
            f"Not doing {action.kind} on {node.name}: job {job.id} does not run on it but on "
            f"{len(job.nodes)} other nodes.",
            "It has moved already; look at the cluster again.",
        )
    return job


def _swap(action: Action, state: ClusterState, other: Mapping[str, str]) -> Refusal | None:
    """Refuse where a node is not the job's or is in service, or what is to replace it is none."""
    nodes: tuple[str, ...] = ()
    for name in other:
        job = _on_its_node(action, state, name)
        if isinstance(job, Refusal):
            return job
        if not isinstance(not_ready(action, state, (name,)), Refusal):
            return refuse(
                f"Not doing {action.kind} on {name}: it still takes jobs.",
                "Cordon it first, so that nothing starts on it.",
            )
        nodes = job.nodes
    for name, spare in other.items():
        if found := free_spare_obstacle(action, state, name, spare):
            return found
    return not_ready(action, state, tuple(name for name in nodes if name not in other))


def _lender_obstacle(
    action: Action, state: ClusterState, job: JobState, lent: str
) -> Refusal | None:
    lender = str(action.param("lender") or "")
    holders = jobs_on(state, lent)
    if not lender and not holders:
        return None
    ids = [holder.id for holder in holders]
    if ids != [lender]:
        return refuse(
            f"Not borrowing {lent} from {lender or 'a pool'}: {', '.join(ids) or 'nobody'} has it.",
            "Name the one job that has the node, or none where it is free.",
        )
    if holders[0].priority >= job.priority:
        return refuse(
            f"Not borrowing {lent} from job {lender}: its priority {holders[0].priority} is not "
            f"below the {job.priority} of job {job.id}.",
            "Name a node of a less urgent job.",
        )
    return None


def _size_obstacle(action: Action, job: JobState, count: float) -> Refusal | None:
    least, most = job.least_nodes, job.most_nodes
    good = count == count // 1 and 0 < least <= count <= most
    if good and count % max(job.unit_nodes, 1) == 0:
        return None
    bounds = f"{least} to {most} in steps of {job.unit_nodes}" if least else "as many as it has"
    return refuse(
        f"Not doing {action.kind} for job {job.id}: {count:g} nodes; it runs on {bounds}.",
        "Name a size within its bounds.",
    )


def _others_start(
    action: Action, state: ClusterState, job: JobState, fewer: int, leave: str
) -> Refusal | None:
    """Refuse where more nodes take no jobs than are left behind."""
    unready = [
        name
        for name in job.nodes
        if name != leave and isinstance(not_ready(action, state, (name,)), Refusal)
    ]
    if len(unready) <= fewer - bool(leave):
        return None
    return not_ready(action, state, tuple(unready))
