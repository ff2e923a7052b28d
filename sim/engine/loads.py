"""What nodes do, from what the jobs on them do; and whether a job's processes can start there."""

from sim.engine import machines
from sim.engine.jit import compiled
from sim.engine.record import keep_node
from sim.engine.tables import Tables
from sim.engine.words import NONE, Load, Phase, Reason, Stage


@compiled
def set_loads(w: Tables, job: int) -> None:
    """Let a job's nodes do what it does; one that it shares does the most of any there."""
    row, load = w.jobs[job], load_of(w, job)
    node = row["first"]
    for _ in range(row["nodes"]):
        at = w.nodes[node]
        if load < at["load"] and row["given"] < at["gpus"]:
            relax(w, node)
        elif at["up"] and load != at["load"]:
            machines.set_load(w, node, load)
        else:
            keep_node(w, node)
        node = at["next"]


@compiled
def relax(w: Tables, node: int) -> None:
    """Give a node the load of the jobs that are left on it."""
    row, load = w.nodes[node], 0
    for gpu in range(row["gpus"]):
        if row["job"][gpu] != NONE:
            load = max(load, load_of(w, row["job"][gpu]))
    if row["up"] and load != row["load"]:
        machines.set_load(w, node, load)
    else:
        keep_node(w, node)


@compiled
def load_of(w: Tables, job: int) -> int:
    """Return what a job does with its GPUs; the start of one without a name leaves them idle."""
    row = w.jobs[job]
    if row["phase"] == Phase.STARTING and row["named"]:
        return Load.STARTING.value
    if row["phase"] != Phase.RUNNING:
        return Load.IDLE.value
    return Load.WAITING.value if row["stage"] == Stage.HUNG else Load.COMPUTING.value


@compiled
def why_not(w: Tables, job: int, node: int) -> int:
    """Return why a job's processes cannot start on a node of its, NONE: they can."""
    row = w.nodes[node]
    if not row["up"]:
        return Reason.NODE_DOWN
    for gpu in range(row["gpus"]):
        if row["job"][gpu] == job and not row["alive"][gpu]:
            return Reason.GPU_MISSING
    if row["scratch_slope"] > 0:
        machines.carry(w, node)
    return Reason.NO_SPACE if row["scratch"] >= machines.FULL else Reason.NONE
