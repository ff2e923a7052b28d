"""One node: bring it to now, change it, and let follow what follows from the change.

Call ``carry`` before a field is written and ``changed`` after the last one; or one of the verbs
below, which do both. Who gives nodes to jobs must then be told (``placement.offer``).
"""

from sim.engine import accounts, thermal
from sim.engine.heap import after
from sim.engine.jit import compiled
from sim.engine.record import keep_node
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE, Back, Hold, Kind, Load

IDLE_MEMORY = 0.07
BUSY_MEMORY = 0.38
SCRATCH_USED = 0.42
_LOADS = len(Load)
FULL = 0.985  # of memory or of a volume: nothing more can be had


@compiled
def ready(w: Tables, node: int) -> bool:
    """Say whether a job may start on a node: it is up and nobody keeps it out of service."""
    row = w.nodes[node]
    return bool(row["up"] and row["hold"] == Hold.NOBODY)


@compiled
def carry(w: Tables, node: int) -> None:
    """Bring what follows from time alone to now: lags, slopes and counters."""
    row, now_s = w.nodes[node], w.core[0]["now_s"]
    passed_s = now_s - row["moved_s"]
    if passed_s <= 0:
        return
    thermal.follow(w, node, passed_s)
    w.core[0]["energy_j"] += row["watts"] * passed_s
    row["memory"] = min(row["memory"] + row["memory_slope"] * passed_s, 1.0)
    row["scratch"] = min(row["scratch"] + row["scratch_slope"] * passed_s, 1.0)
    for gpu in range(row["gpus"]):
        row["ecc_count"][gpu] += row["ecc_rate"][gpu] * passed_s
    row["replay_count"] += row["replays"] * passed_s
    row["link_count"] += row["link_errors"] * passed_s
    row["moved_s"] = now_s


@compiled
def changed(w: Tables, node: int) -> None:
    """Draw the conclusions from a change: clocks, temperatures, what its GPUs count as, the log."""
    w.nodes[node]["slowest"] = 0.0
    _conclude(w, node)


@compiled
def _conclude(w: Tables, node: int) -> None:
    """Do as ``changed`` where nothing but heat can have changed how fast its GPUs are."""
    thermal.settle(w, node)
    row = w.nodes[node]
    row["version"] += 1
    after(w, thermal.next_check_s(w, node), Kind.CLOCKS, node, 0, row["version"])
    accounts.node_use(w, node)
    heed(w, node)
    keep_node(w, node)


@compiled
def heed(w: Tables, node: int) -> None:
    """Let a node's open faults be looked at when its service has changed: a job begins or is gone.

    Call it also where GPUs of it are given or taken.
    """
    row = w.nodes[node]
    if row["faults"] == 0:
        return
    now = int(row["load"]) + _LOADS * (int(row["free"]) + (GPUS + 1) * int(row["hold"]))
    if now != row["heeded"]:
        row["heeded"] = now
        after(w, 0.0, Kind.PHASE, NONE, node, 0)


@compiled
def set_load(w: Tables, node: int, load: int) -> None:
    """Let a node's GPUs do something else; its memory fills and empties with its processes."""
    carry(w, node)
    row = w.nodes[node]
    if load == Load.IDLE:
        row["memory"], row["memory_slope"] = IDLE_MEMORY, 0.0
    elif load == Load.COMPUTING and row["memory_slope"] == 0:
        row["memory"] = BUSY_MEMORY
    row["load"] = load
    _conclude(w, node)


@compiled
def take_out(w: Tables, node: int, hold: int) -> None:
    """Keep a node from getting jobs; it keeps those it has, and an earlier hold."""
    row = w.nodes[node]
    if row["hold"] != Hold.NOBODY:
        return
    carry(w, node)
    row["hold"], row["since_s"] = hold, w.core[0]["now_s"]
    if hold == Hold.AGENT:
        w.core[0]["out"] += 1
    else:
        w.core[0]["kept"] += 1
    changed(w, node)


@compiled
def give_back(w: Tables, node: int) -> None:
    """Let a node have jobs again, whoever kept it from them."""
    row = w.nodes[node]
    if row["hold"] == Hold.NOBODY:
        return
    carry(w, node)
    if row["hold"] == Hold.AGENT:
        w.core[0]["out"] -= 1
        _log_return(w, node)
    else:
        w.core[0]["kept"] -= 1
    row["hold"], row["since_s"] = Hold.NOBODY, w.core[0]["now_s"]
    row["back"], row["crewed"] = Back.NOT, False
    changed(w, node)


@compiled
def _log_return(w: Tables, node: int) -> None:
    """Write down with the order that took a node out that it is back."""
    row, core = w.nodes[node], w.core[0]
    if row["order"] >= core["orders_n"]:
        return
    order = w.orders[row["order"]]
    if order["node"] == node:
        order["back_s"] = core["now_s"]
    elif order["other"] == node:
        order["other_back_s"] = core["now_s"]


@compiled
def go_down(w: Tables, node: int) -> None:
    """Take a node's power or operating system away; what is on it must have been ended."""
    row = w.nodes[node]
    if not row["up"]:
        return
    carry(w, node)
    row["up"], row["load"], row["since_s"] = False, Load.IDLE, w.core[0]["now_s"]
    row["memory"], row["memory_slope"] = 0.0, 0.0
    row["limit"], row["power_limit"] = 0.0, 0.0  # a driver that is loaded anew knows of none
    changed(w, node)


@compiled
def come_up(w: Tables, node: int) -> None:
    """Let a node run again."""
    row = w.nodes[node]
    if row["up"]:
        return
    carry(w, node)
    row["up"], row["since_s"] = True, w.core[0]["now_s"]
    row["memory"] = IDLE_MEMORY
    changed(w, node)
