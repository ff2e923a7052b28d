"""What an action is about: its job, its nodes and their GPUs, as the scheduler knows them."""

from core.cluster import ClusterState
from core.types import Action


def job_of(action: Action) -> str:
    """Return the id of the job the action stops or serves, or ""."""
    return action.target.job or str(action.param("job") or "")


def nodes_of(action: Action) -> tuple[str, ...]:
    """Return the nodes the action itself handles: its target and the spare it puts in."""
    named = (action.target.node, str(action.param("spare") or ""))
    return tuple(name for name in named if name)


def taken_out(action: Action) -> tuple[str, ...]:
    """Return the nodes that are out of service by our hand once the action is done."""
    return (action.target.node,) if action.kind in ("cordon", "swap_node") else ()


def gpus_on(state: ClusterState, node: str) -> int:
    """Return how many GPUs the topology knows on the node."""
    return len(state.topology.gpus_of_node(node))
