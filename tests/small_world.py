"""A small cluster's tables made by hand, for tests of the engine's parts."""

import math
from dataclasses import dataclass

import numpy as np

from sim.engine import placement
from sim.engine.loop import advance
from sim.engine.room import with_room
from sim.engine.slots import new_slot
from sim.engine.tables import SCHEMA, USED, Table, Tables
from sim.engine.words import GPUS, NONE, JobKind, Scope, Use

BEGAN_S = 1_700_000_000.0
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Size:
    """How large: leaves have ``per_leaf`` nodes each; the last ``spares`` nodes are spares."""

    nodes: int = 8
    per_leaf: int = 4
    spares: int = 0
    keep: bool = False


def small_world(size: Size, *, seed: int = 1) -> Tables:
    """Return sound, idle nodes of 8 GPUs, no jobs and a site that does nothing by itself."""
    parts: dict[str, Table] = {
        name: np.zeros(_ROWS if name in USED else 0, dtype=kind) for name, kind in SCHEMA.items()
    }
    parts["nodes"] = _nodes(size)
    parts["types"] = _types()
    parts["core"], parts["site"] = np.zeros(1, SCHEMA["core"]), np.zeros(1, SCHEMA["site"])
    parts["buckets"] = np.full(GPUS + 1, NONE, dtype=SCHEMA["buckets"])
    parts["members"] = np.arange(size.nodes, dtype=SCHEMA["members"])
    parts["domains"] = _leaves(size)
    parts["node_last"] = np.full(size.nodes, NONE, dtype=SCHEMA["node_last"])
    parts["job_last"] = np.full(_ROWS, NONE, dtype=SCHEMA["job_last"])
    parts["arrivals"] = np.full((size.nodes, 1), math.inf)
    parts["drawn"] = np.zeros((size.nodes, 1), dtype=SCHEMA["drawn"])
    core, site = parts["core"], parts["site"]
    core["seed"], core["job_spare"] = seed, NONE
    core["now_s"] = core["start_s"] = core["began_s"] = core["use_since_s"] = BEGAN_S
    core["use_gpus"][0, Use.IDLE] = size.nodes * GPUS
    core["keep"] = core["said"] = size.keep
    core["storage_factor"] = core["load_factor"] = 1.0
    site["hang_timeout_s"] = site["preempt_after_s"] = site["horizon_s"] = math.inf
    site["restart_s"], site["restart_s_per_gpu"], site["fresh_node_s"] = 50.0, 0.009, 20.0
    site["restart_spread"], site["backfill"] = 0.15, 20
    site["storage_bytes_per_s"] = math.inf
    w = with_room(Tables(**parts))
    placement.lay_out(w)
    return w


def add_job(
    w: Tables, gpus: int, *, work: float, priority: int = 0, kind: JobKind = JobKind.TRAINING
) -> int:
    """Return a job of 1 s steps that is submitted nowhere yet; it has no checkpoints."""
    job = new_slot(w)
    row = w.jobs[job]
    row["gpus"] = row["least_gpus"] = row["most_gpus"] = gpus
    row["unit"] = min(gpus, GPUS)
    row["work"], row["priority"], row["kind"] = work, priority, kind
    return job


def pass_time(w: Tables, seconds: float) -> Tables:
    """Return the world so many seconds later."""
    until_s = float(w.core[0]["now_s"]) + seconds
    while True:
        advance(w, until_s)
        if not w.core[0]["short"]:
            return w
        w = with_room(w)


def nodes_of(w: Tables, job: int) -> list[int]:
    """Return a job's nodes in rank order."""
    found, node = [], int(w.jobs[job]["first"])
    for _ in range(int(w.jobs[job]["nodes"])):
        found.append(node)
        node = int(w.nodes[node]["next"])
    return found


def _nodes(size: Size) -> Table:
    nodes = np.zeros(size.nodes, dtype=SCHEMA["nodes"])
    index = np.arange(size.nodes)
    nodes["gpus"] = nodes["free"] = nodes["nics"] = GPUS
    nodes["leaf"] = index // size.per_leaf
    nodes["pool"] = index >= size.nodes - size.spares
    nodes["nic_bytes_per_s"] = 5e10
    nodes["up"], nodes["use"], nodes["alive"] = True, Use.IDLE, 1
    for name in ("job", "next", "rank", "held_by"):
        nodes[name] = NONE
    for name in ("slowness", "slow", "network", "host", "cap", "clock", "heat"):
        nodes[name] = 1
    nodes["resistance"] = 0.06
    nodes["inlet_base"] = nodes["inlet"] = nodes["inlet_goal"] = 24.0
    nodes["celsius"] = nodes["goal"] = 30.0
    nodes["memory"], nodes["scratch"], nodes["moved_s"] = 0.07, 0.42, BEGAN_S
    nodes["stale_s"] = np.inf
    return nodes


def _types() -> Table:
    types = np.zeros(1, dtype=SCHEMA["types"])
    types["speed"], types["idle_watts"], types["watts"] = 1.0, 100.0, 700.0
    types["load_watts"] = [[100.0, 130.0, 220.0, 600.0]]
    types["throttle_celsius"], types["hold_celsius"] = 88.0, 86.0
    types["lag_s"], types["link_bytes_per_s"] = 90.0, 4.5e11
    return types


def _leaves(size: Size) -> Table:
    count = -(-size.nodes // size.per_leaf)
    domains = np.zeros(count, dtype=SCHEMA["domains"])
    domains["scope"], domains["index"] = Scope.LEAF, np.arange(count)
    domains["first"] = np.arange(count) * size.per_leaf
    domains["count"] = np.minimum(size.per_leaf, size.nodes - domains["first"])
    domains["up"], domains["factor"] = True, 1
    return domains
