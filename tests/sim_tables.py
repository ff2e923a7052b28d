"""Tables of a small cluster made by hand, for tests of what is read from them."""

import numpy as np

from sim.engine import record
from sim.engine.tables import SCHEMA, Table, Tables
from sim.engine.words import GPUS, NONE, JobKind, Load, Phase, Stage

BEGAN_S = 1_700_000_000.0
HOUR_S = 3600.0


def hand_made(
    *, nodes: int = 4, hours: float = 24.0, gpu: str = "h100", rows: int = 4096
) -> Tables:
    """Return nodes that are up and idle since ``BEGAN_S``; now is ``hours`` later."""
    w = Tables(**{name: _empty(name, rows) for name in Tables._fields})
    w = w._replace(
        core=_one("core"),
        site=_one("site"),
        types=_types(gpu),
        nodes=np.zeros(nodes, dtype=SCHEMA["nodes"]),
        node_last=np.full(nodes, NONE, dtype=np.int64),
        job_last=np.full(rows, NONE, dtype=np.int64),
    )
    core = w.core[0]
    core["seed"], core["began_s"], core["start_s"] = 1, BEGAN_S, BEGAN_S
    core["keep"] = core["said"] = True
    core["storage_factor"] = 1.0
    kind, now = w.types[0], w.nodes
    now["gpus"], now["nics"], now["nic_bytes_per_s"] = GPUS, GPUS, 5e10
    now["up"], now["alive"], now["job"], now["rank"] = True, True, NONE, NONE
    for name in ("slow", "network", "host", "cap", "clock", "heat", "slowness"):
        now[name] = 1
    now["inlet_base"] = now["inlet"] = now["inlet_goal"] = 24.0
    now["resistance"] = kind["resistance"]
    now["memory"], now["scratch"], now["stale_s"] = 0.07, 0.42, np.inf
    settle(w, range(nodes))
    at(w, BEGAN_S)
    for node in range(nodes):
        record.keep_node(w, node)
    at(w, BEGAN_S + hours * HOUR_S)
    return w


def at(w: Tables, time_s: float) -> None:
    """Set the time."""
    w.core[0]["now_s"] = time_s


def settle(w: Tables, nodes: range) -> None:
    """Bring nodes to the temperatures that their loads lead to."""
    for node in nodes:
        now = w.nodes[node]
        watts = np.where(
            now["job"] == NONE, w.types[0]["idle_watts"], w.types[0]["load_watts"][now["load"]]
        )
        now["goal"] = now["inlet_goal"] + now["resistance"] * watts
        now["celsius"] = now["goal"]


def runs(
    w: Tables,
    job: int,
    nodes: range,
    *,
    since_s: float,
    kind: int = JobKind.TRAINING,
    named: bool = True,
) -> None:
    """Let a job step on whole nodes from a time on: 4 of 4.75 s computing, 7 of 607 s stalled."""
    then_s = float(w.core[0]["now_s"])
    at(w, since_s)
    row = w.jobs[job]
    row["number"], row["kind"], row["named"] = job, kind, named
    row["phase"], row["stage"] = Phase.RUNNING, Stage.STEPPING
    row["compute_s"], row["pace_s"], row["wait_s"], row["net_s"] = 4.0, 4.0, 0.15, 0.6
    row["step_s"] = row["ideal_s"] = 4.75
    row["interval_s"], row["stall_s"], row["save_s"] = 600.0, 7.0, 51.0
    row["cycle_s"] = row["row_s"] = since_s
    row["saved_s"] = row["captured_s"] = -np.inf
    row["corrupt_step"] = np.inf
    row["given"] = len(nodes) * GPUS
    record.keep_job(w, job)
    for place, node in enumerate(nodes):
        now = w.nodes[node]
        now["job"], now["rank"], now["load"], now["memory"] = (
            job,
            place * GPUS,
            Load.COMPUTING,
            0.38,
        )
        settle(w, range(node, node + 1))
        record.keep_node(w, node)
    at(w, then_s)


def _empty(name: str, rows: int) -> Table:
    return np.zeros((rows, 1) if name in {"arrivals", "drawn"} else rows, dtype=SCHEMA[name])


def _one(name: str) -> Table:
    return np.zeros(1, dtype=SCHEMA[name])


def _types(gpu: str) -> Table:
    """An H100 SXM as ``sim.engine.thermal`` has it; an A100 SXM with Acme's idle power."""
    kind = np.zeros(1, dtype=SCHEMA["types"])
    h100 = gpu == "h100"
    kind["speed"], kind["memory_bytes"] = 1.0, 80 * 2.0**30
    kind["idle_watts"], kind["watts"] = (100.0, 700.0) if h100 else (64.0, 400.0)
    kind["load_watts"] = (100.0, 150.0, 260.0, 640.0) if h100 else (64.0, 90.0, 105.0, 390.0)
    kind["boost_hz"], kind["idle_hz"] = (1.98e9, 3.45e8) if h100 else (1.41e9, 2.1e8)
    kind["throttle_celsius"], kind["hold_celsius"] = 87.0, 88.0
    kind["resistance"], kind["lag_s"] = 0.062, 90.0
    return kind
