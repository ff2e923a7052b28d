"""The environment of a rank, variable for variable as torchrun sets it."""

import os

from agent.launch.members import Seat
from agent.launch.plan import Plan
from agent.launch.seating import Seating


def rank_environment(
    plan: Plan, seat: Seat, seating: Seating, *, restarts: int, master: tuple[str, int]
) -> dict[str, str]:
    """Return what a rank finds in its environment.

    master: where rank 0 opens its store; its own on every restart, so that nobody can read the
            addresses of a dead group there (TORCHELASTIC_USE_AGENT_STORE is off)
    """
    nodes = seating.nodes()
    world = str(len(seating.seats))
    set_by_torchrun = {
        "LOCAL_RANK": str(seat.local_rank),
        "RANK": str(seat.rank),
        "GROUP_RANK": str(nodes.index(seat.node)),
        "ROLE_RANK": str(seat.rank),
        "ROLE_NAME": plan.role,
        "LOCAL_WORLD_SIZE": str(plan.per_node),
        "WORLD_SIZE": world,
        "GROUP_WORLD_SIZE": str(len(nodes)),
        "ROLE_WORLD_SIZE": world,
        "MASTER_ADDR": master[0],
        "MASTER_PORT": str(master[1]),
        "TORCHELASTIC_RESTART_COUNT": str(restarts),
        "TORCHELASTIC_MAX_RESTARTS": str(plan.max_restarts),
        "TORCHELASTIC_RUN_ID": plan.run_id,
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
    }
    return set_by_torchrun | process_environment(plan)


def process_environment(plan: Plan) -> dict[str, str]:
    """Return what a process needs from its start, before it knows its rank.

    A standby with another number of threads than the ranks would add up in another order.
    """
    if plan.per_node == 1:
        return {}
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
