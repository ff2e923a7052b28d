"""A healthy cluster as bare tables: nodes of eight equal H100s under leaves, jobs put on them."""

from typing import Any

import numpy as np

from sim import workload
from sim.engine.tables import SCHEMA, Table, Tables
from sim.engine.words import GPUS, NONE, Ending, JobKind, Phase, Stage

_ROWS = 4096


def flat_cluster(nodes: int = 4, *, leaf: int = 2, jobs: int = 4, **tables: Table) -> Tables:
    """Return a cluster of whole, idle nodes; ``leaf`` of them under each leaf switch."""
    rows = {name: np.zeros(1, dtype=kind) for name, kind in SCHEMA.items()}
    rows["arrivals"], rows["drawn"] = np.full((1, 1), np.inf), np.zeros((1, 1), dtype=np.int32)
    counts = {"nodes": nodes, "node_last": nodes, "jobs": jobs, "job_last": jobs}
    counts |= dict.fromkeys(("heap", "node_log", "job_log", "service_log"), _ROWS)
    for name, count in counts.items():
        rows[name] = np.zeros(count, dtype=SCHEMA[name])
    rows["node_last"][:], rows["job_last"][:] = NONE, NONE
    rows["types"] = workload.gpu_types(["h100"])
    rows["domains"] = np.zeros(-(-nodes // leaf), dtype=SCHEMA["domains"])
    rows["domains"]["up"], rows["domains"]["factor"], rows["domains"]["count"] = True, 1, leaf
    rows["core"]["storage_factor"] = rows["core"]["load_factor"] = 1
    rows["site"]["storage_bytes_per_s"] = 1e9
    node = rows["nodes"]
    node["gpus"], node["up"], node["alive"] = GPUS, True, 1
    for name in ("slowness", "slow", "clock", "network", "host", "cap"):
        node[name] = 1
    node["job"] = node["next"] = NONE
    node["nics"], node["nic_bytes_per_s"] = 8, 50e9
    node["leaf"], node["nvlink"] = np.arange(nodes) // leaf, np.arange(nodes)
    return Tables(**(rows | tables))


def put(w: Tables, job: int, nodes: list[int], *, each: int = GPUS, **fields: Any) -> None:
    """Let a job run on nodes in this order, on the first ``each`` GPUs; ``fields`` of its row."""
    row = w.jobs[job]
    usual = {"compute_s": 4.0, "data_s": 0.15, "collective_s": 0.6, "work": np.inf}
    usual |= {"loaders": 1.0, "batch": 1.0, "accumulate": 1.0, "model": NONE, "service": NONE}
    usual |= {"pipeline": 1}
    usual |= {"kind": JobKind.TRAINING, "ending": Ending.COMPLETED, "leak": NONE, "named": True}
    usual |= {"phase": Phase.RUNNING, "stage": Stage.STEPPING, "interval_s": np.inf}
    usual |= {"gpus": each * len(nodes), "corrupt_step": np.inf, "step_s": np.inf}
    for name, value in (usual | fields).items():
        row[name] = value
    row["number"], row["first"], row["nodes"] = job, nodes[0], len(nodes)
    row["given"] = each * len(nodes)
    for node, following in zip(nodes, [*nodes[1:], NONE], strict=True):
        w.nodes[node]["job"][:each] = job
        w.nodes[node]["next"] = following
