"""Why an action about a node cannot be done now, or None."""

from core.cluster import OWNER, ClusterState, NodeCondition, NodeState
from core.types import Action, Refusal
from remediation.catalogue.asked import (
    LIVE,
    STARTABLE,
    job_asked,
    jobs_on,
    node_asked,
    not_ready,
    refuse,
)
from remediation.catalogue.subject import gpus_on


def cordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the scheduler does not know the node."""
    node = node_asked(action, state)
    return node if isinstance(node, Refusal) else None


def uncordon_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is in service already, quarantined, or its checks found something."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.READY:
        return refuse(
            f"Not uncordoning {node.name}: it is ready already.", "Nothing is to be taken back."
        )
    if node.mark:
        return refuse(
            f"Not uncordoning {node.name}: it is quarantined as a {node.mark}.",
            "People repair it and return it by hand.",
        )
    if node.finding:
        return refuse(
            f"Not uncordoning {node.name}: its checks found {node.finding}.",
            "Have it repaired, then order validate_node again.",
        )
    return None


def drain_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is unknown, or is out already and has no job."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is not NodeCondition.READY and not jobs_on(state, node.name):
        return refuse(
            f"Not draining {node.name}: it is {node.condition} and has no job.",
            "Nothing is to be moved off it.",
        )
    return None


def validate_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse to load a node with checks that is in service, has a job or is down."""
    return _empty_and_ours(action, state) or _down(action, state)


def reboot_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is in service, not ours, or has a job."""
    return _empty_and_ours(action, state)


def reboot_under_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job is not alone on the node, or one of its other nodes takes no jobs."""
    node, job = node_asked(action, state), job_asked(action, state, STARTABLE)
    if isinstance(node, Refusal):
        return node
    if isinstance(job, Refusal):
        return job
    if [other.id for other in jobs_on(state, node.name)] != [job.id]:
        return refuse(
            f"Not rebooting {node.name} under job {job.id}: it does not have the node to itself.",
            "Name the one job that is on the node, or drain it.",
        )
    others = tuple(name for name in job.nodes if name != node.name)
    foreign = _foreign(action, node) or _down(action, state)
    return foreign or not_ready(action, state, others)


def quarantine_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the node is in service, not ours, has a job or is marked already."""
    found = _empty_and_ours(action, state)
    node = state.node(action.target.node)
    if found is None and node is not None and node.mark:
        return refuse(
            f"Not doing {action.kind} on {node.name}: it is quarantined as a {node.mark} already.",
            "People have it.",
        )
    return found


def reset_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the GPU is not named, or a job has GPUs of its node, or the node is down."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if action.target.gpu not in state.topology.gpus_of_node(node.name):
        return refuse(
            f"Not resetting {action.target.gpu or '(no GPU named)'}: it is none of {node.name}'s.",
            "Name the GPU by its UUID and its node.",
        )
    return _busy(action, node, state) or _foreign(action, node) or _down(action, state)


def spare_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse to keep back a node that has a job, is not ready or is a spare already."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.spare or node.condition is not NodeCondition.READY:
        found = "a spare already" if node.spare else str(node.condition)
        return refuse(
            f"Not keeping {node.name} as a spare: it is {found}.", "Name a ready node without jobs."
        )
    return _busy(action, node, state)


def release_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse to give the queue a node that is no spare."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if not node.spare:
        return refuse(
            f"Not releasing {node.name}: it is no spare.", "Name a node that is kept as one."
        )
    return None


def page_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where neither a node nor a live job that people could look at is named."""
    if action.target.node:
        return cordon_obstacle(action, state)
    job = job_asked(action, state, LIVE)
    return job if isinstance(job, Refusal) else None


def lent_obstacle(action: Action, state: ClusterState, name: str, named: str) -> Refusal | None:
    """Refuse to put a node in another's place that is unknown, not ready or of another size."""
    node = state.node(named)
    if node is None or node.condition is not NodeCondition.READY:
        found = f"{named or '(no node named)'} is {node.condition if node else 'unknown'}"
    elif gpus_on(state, named) != gpus_on(state, name):
        found = f"{named} has {gpus_on(state, named)} GPUs, {name} has {gpus_on(state, name)}"
    else:
        return None
    return refuse(
        f"Not doing {action.kind} on {name}: {found}.", "Name a ready node with as many GPUs."
    )


def free_spare_obstacle(
    action: Action, state: ClusterState, name: str, named: str
) -> Refusal | None:
    """Refuse a spare that is none, is not free, or is not as large as what it stands in for."""
    spare = state.node(named)
    if spare is None or not spare.spare or spare.condition is not NodeCondition.READY:
        found = "no spare is ready" if not named else f"{named} is no ready spare"
    elif holders := jobs_on(state, named):
        found = f"{named} already has job {holders[0].id}"
    elif gpus_on(state, named) != gpus_on(state, name):
        found = f"{named} has {gpus_on(state, named)} GPUs, {name} has {gpus_on(state, name)}"
    else:
        return None
    free = sum(node.spare and node.condition is NodeCondition.READY for node in state.nodes)
    return refuse(
        f"Not doing {action.kind} on {name}: {found} ({free} ready spares in all).",
        "Uncordon or add a spare with as many GPUs.",
    )


def _empty_and_ours(action: Action, state: ClusterState) -> Refusal | None:
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.READY or node.owner != OWNER:
        return refuse(
            f"Not doing {action.kind} on {node.name}: it is {node.condition}, held by "
            f"{node.owner or 'nobody'}.",
            "gpumedic must have cordoned it first.",
        )
    return _busy(action, node, state)


def _busy(action: Action, node: NodeState, state: ClusterState) -> Refusal | None:
    if running := jobs_on(state, node.name):
        return refuse(
            f"Not doing {action.kind} on {node.name}: job {running[0].id} is on it.",
            "Swap the node first, or drain it.",
        )
    return None


def _foreign(action: Action, node: NodeState) -> Refusal | None:
    if node.owner in ("", OWNER):
        return None
    return refuse(
        f"Not doing {action.kind} on {node.name}: it is {node.condition} by {node.owner}.",
        f"{node.owner} must return it first.",
    )


def _down(action: Action, state: ClusterState) -> Refusal | None:
    node = state.node(action.target.node)
    if node is not None and node.condition is NodeCondition.DOWN:
        return refuse(
            f"Not doing {action.kind} on {node.name}: it is down.", "Wait until it has come up."
        )
    return None
