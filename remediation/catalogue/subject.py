"""What an action is about: its jobs, its nodes and their GPUs, as the scheduler knows them."""

from core.cluster import ClusterState
from core.types import Action

# Parameters that name a node, or several with commas.
_NODES = ("spare", "nodes", "spares", "leave")


def job_of(action: Action) -> str:
    """Return the id of the job the action stops or serves, or ""."""
    return action.target.job or str(action.param("job") or "")


def jobs_of(action: Action) -> tuple[str, ...]:
    """Return the jobs the action touches: its own, and one that lends it a node."""
    named = (job_of(action), str(action.param("lender") or ""))
    return tuple(name for name in named if name)


def nodes_of(action: Action) -> tuple[str, ...]:
    """Return the nodes the action itself handles, each once: its target and all it names."""
    found = [action.target.node]
    for name in _NODES:
        found += names_in(action, name)
    return tuple(dict.fromkeys(name for name in found if name))


def taken_out(action: Action) -> tuple[str, ...]:
    """Return the nodes that an action which takes nodes out takes out."""
    return names_in(action, "nodes") or (action.target.node,)


def names_in(action: Action, name: str) -> tuple[str, ...]:
    """Return the nodes of a parameter that names them with commas; none where it is a number."""
    value = action.param(name)
    parts = value.split(",") if isinstance(value, str) else []
    return tuple(part.strip() for part in parts if part.strip())


def gpus_on(state: ClusterState, node: str) -> int:
    """Return how many GPUs the topology knows on the node."""
    return len(state.topology.gpus_of_node(node))
