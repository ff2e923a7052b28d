"""The cluster as its scheduler shows it: nodes, jobs and where they run, read off the tables."""

from collections.abc import Iterator

import numpy as np

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import Topology
from core.types import Ints
from sim.engine.progress import checkpoint_at, step_at
from sim.engine.tables import Table, Tables
from sim.engine.words import GPUS, NONE, Hold, Phase
from sim.names import Names

PHASES = tuple(JobPhase)
Holds = dict[int, tuple[str, str]]
_SITE_HOLDS = {
    int(Hold.SITE): ("site", "a health check found it broken"),
    int(Hold.PLANNED): ("site", "planned maintenance"),
}


def cluster_state(tables: Tables, names: Names, holds: Holds) -> ClusterState:
    """Return one consistent look at the cluster, now."""
    jobs = known_jobs(tables)
    return ClusterState(
        float(tables.core[0]["now_s"]),
        topology(tables, names),
        tuple(_nodes(tables, names, holds)),
        tuple(_job(tables, names, job) for job in jobs),
    )


def topology(tables: Tables, names: Names) -> Topology:
    """Return the cluster's shape and where each rank of its jobs is placed now."""
    jobs = known_jobs(tables)
    ranks = [_ranks(tables, names, job) for job in jobs]
    counts = [len(gpus) for gpus in ranks]
    return Topology(
        nodes=names.nodes,
        racks=names.racks,
        switches=names.leaves,
        gpus=names.gpus,
        jobs=tuple(names.job(int(tables.jobs[job]["number"])) for job in jobs),
        node_rack=tables.nodes["rack"].astype(np.int64),
        node_switch=tables.nodes["leaf"].astype(np.int64),
        gpu_node=names.gpu_node,
        rank_job=np.repeat(np.arange(len(jobs), dtype=np.int64), counts),
        rank_gpu=np.concatenate([*ranks, np.zeros(0, dtype=np.int64)]),
    )


def known_jobs(tables: Tables) -> list[int]:
    """Return the slots of the jobs the scheduler knows: the scenario's own, and those not ended."""
    rows = tables.jobs[: int(tables.core[0]["jobs_n"])]
    live = rows["named"] | ((rows["number"] != NONE) & (rows["phase"] != Phase.COMPLETED))
    slots = np.flatnonzero(live)
    found: list[int] = slots[np.argsort(rows["number"][slots], kind="stable")].tolist()
    return found


def nodes_of(tables: Tables, job: int) -> list[int]:
    """Return the nodes a job holds, in rank order."""
    found, node = [], int(tables.jobs[job]["first"])
    while node != NONE:
        found.append(node)
        node = int(tables.nodes[node]["next"])
    return found


def conditions(nodes: Table) -> list[NodeCondition]:
    """Return whether jobs may start, for every node given."""
    busy = (nodes["job"] != NONE).any(axis=1)
    out = np.where(busy, NodeCondition.CORDONED, NodeCondition.DRAINED)
    ready = np.where(nodes["hold"] == Hold.NOBODY, NodeCondition.READY, out)
    found = np.where(nodes["up"], ready, NodeCondition.DOWN)
    return [NodeCondition(word) for word in found.tolist()]


def owner_of(tables: Tables, node: int, holds: Holds) -> tuple[str, str]:
    """Return who keeps a node out of service and why; empty for one that is in service."""
    hold = int(tables.nodes[node]["hold"])
    if hold == Hold.NOBODY:
        return "", ""
    return _SITE_HOLDS.get(hold) or holds.get(node, ("", ""))


def _nodes(tables: Tables, names: Names, holds: Holds) -> Iterator[NodeState]:
    nodes = tables.nodes
    spare = nodes["pool"] & (nodes["job"] == NONE).all(axis=1)
    found = zip(conditions(nodes), spare.tolist(), nodes["since_s"].tolist(), strict=True)
    for node, (condition, is_spare, since_s) in enumerate(found):
        owner, reason = owner_of(tables, node, holds)
        yield NodeState(
            names.nodes[node], condition, owner, reason, spare=is_spare, since_s=since_s
        )


def _job(tables: Tables, names: Names, job: int) -> JobState:
    row, now_s = tables.jobs[job], float(tables.core[0]["now_s"])
    row_s = float(row["row_s"])
    saved_s = checkpoint_at(row, row_s, now_s)[0]
    return JobState(
        id=names.job(int(row["number"])),
        phase=PHASES[int(row["phase"])],
        nodes=tuple(names.nodes[node] for node in nodes_of(tables, job)),
        gpus=int(row["given"] or row["gpus"]),
        since_s=float(row["since_s"]),
        checkpoint_s=saved_s + float(row["save_s"]) if np.isfinite(saved_s) else None,
        step=step_at(row, row_s, now_s),
        restarts=int(row["restarts"]),
        priority=int(row["priority"]),
    )


def _ranks(tables: Tables, names: Names, job: int) -> Ints:
    """Return the index of each rank's GPU, in rank order."""
    nodes = np.array(nodes_of(tables, job), dtype=np.int64)
    held = tables.nodes["job"][nodes] == job
    slots = np.broadcast_to(np.arange(GPUS), held.shape)[held]
    found: Ints = names.gpu_at[np.repeat(nodes, held.sum(axis=1)), slots]
    return found
