"""The cluster as its scheduler shows it: nodes, jobs and where they run, read off the tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.cluster import (
    ClusterState,
    JobPhase,
    JobSettings,
    JobState,
    NodeCondition,
    NodeState,
    ServiceState,
)
from core.topology import Topology
from core.types import Ints
from sim.engine.progress import checkpoint_at, step_at
from sim.engine.tables import Table, Tables
from sim.engine.words import GPUS, NONE, Effect, Hold, JobKind, Phase
from sim.names import Names

PHASES = tuple(JobPhase)
Holds = dict[int, tuple[str, str]]
_SITE_HOLDS = {
    int(Hold.SITE): ("site", "a health check found it broken"),
    int(Hold.PLANNED): ("site", "planned maintenance"),
}


@dataclass(frozen=True, slots=True)
class Note:
    """What is written down of a node beside the tables; a time that is to come does not show yet.

    checked_s: when its checks end or ended; checks: how many there were
    """

    checked_s: float | None = None
    finding: str = ""
    checks: int = 0
    reset_s: float | None = None
    paged_s: float | None = None
    mark: str = ""


Notes = Mapping[int, Note]
NO_NOTE = Note()
OLD_DRIVER, NEW_DRIVER = "old", "new"


def cluster_state(
    tables: Tables,
    names: Names,
    holds: Holds,
    notes: Notes | None = None,
    paged: Mapping[int, float] | None = None,
) -> ClusterState:
    """Return one consistent look at the cluster, now.

    notes: of nodes by index; paged: when a person was last called to a job, by its number
    """
    jobs = known_jobs(tables)
    return ClusterState(
        float(tables.core[0]["now_s"]),
        topology(tables, names),
        tuple(_nodes(tables, names, holds, notes or {})),
        tuple(_job(tables, names, job, paged or {}) for job in jobs),
        (NEW_DRIVER,) if is_rolled_out(tables) else (),
    )


def is_rolled_out(tables: Tables) -> bool:
    """Say whether a driver is being given to all nodes and nobody has stopped it."""
    rows = tables.faults[: int(tables.core[0]["faults_n"])]
    rolls = tables.classes["effect"][rows["class"]] == Effect.DRIVER
    return bool((rolls & np.isnan(rows["mended_s"]) & ~rows["stopped"]).any())


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


def _nodes(tables: Tables, names: Names, holds: Holds, notes: Notes) -> Iterator[NodeState]:
    nodes, now_s = tables.nodes, float(tables.core[0]["now_s"])
    zones = names.scenario.machines.zones > 1
    columns = (
        nodes["pool"] & (nodes["job"] == NONE).all(axis=1),
        *(nodes[name] for name in ("since_s", "zone", "driver", "limit", "power_limit")),
    )
    found = zip(conditions(nodes), *(column.tolist() for column in columns), strict=True)
    for node, (condition, is_spare, since_s, zone, driver, limit, watts) in enumerate(found):
        owner, reason = owner_of(tables, node, holds)
        note = notes.get(node, NO_NOTE)
        checked_s = _past(note.checked_s, now_s)
        yield NodeState(
            names.nodes[node],
            condition,
            owner,
            reason,
            spare=is_spare,
            since_s=since_s,
            zone=f"zone-{zone}" if zones else "",
            driver=NEW_DRIVER if driver else OLD_DRIVER,
            mark=note.mark,
            clocks=limit or 1.0,
            power_watts=watts or None,
            checked_s=checked_s,
            finding="" if checked_s is None else note.finding,
            reset_s=_past(note.reset_s, now_s),
            paged_s=note.paged_s,
        )


def _past(time_s: float | None, now_s: float) -> float | None:
    return None if time_s is None or time_s > now_s else time_s


def _service(tables: Tables, job: int) -> ServiceState | None:
    row = tables.jobs[job]
    if row["service"] == NONE:
        return None
    service = tables.services[row["service"]]
    return ServiceState(
        replicas=int(service["replicas"]),
        ready=int(service["ready"]),
        least=1,
        most=int(row["given"] or row["gpus"]) // max(int(service["gpus_each"]), 1),
        batch=float(service["batch"]),
        cache=float(service["cache"]),
        canary=float(service["canary"]),
    )


def _job(tables: Tables, names: Names, job: int, paged: Mapping[int, float]) -> JobState:
    row, now_s = tables.jobs[job], float(tables.core[0]["now_s"])
    each = int(tables.nodes[0]["gpus"])
    whole = int(row["gpus"]) >= each
    sized = whole and row["kind"] in (JobKind.ELASTIC, JobKind.TRAINING)
    writes = row["interval_s"] != np.inf and row["service"] == NONE
    row_s = float(row["row_s"])
    saved_s = checkpoint_at(row, row_s, now_s)[0]
    # A job that stops in order starts from the state that it is still writing.
    finished_s = min(saved_s + float(row["save_s"]), now_s)
    return JobState(
        id=names.job(int(row["number"])),
        phase=PHASES[int(row["phase"])],
        nodes=tuple(names.nodes[node] for node in nodes_of(tables, job)),
        gpus=int(row["given"] or row["gpus"]),
        since_s=float(row["since_s"]),
        checkpoint_s=finished_s if np.isfinite(saved_s) else None,
        step=step_at(row, row_s, now_s),
        restarts=int(row["restarts"]),
        priority=int(row["priority"]),
        kind=JobKind(int(row["kind"])).name.lower(),
        least_nodes=-(-int(row["least_gpus"]) // each) if sized else 0,
        most_nodes=int(row["most_gpus"]) // each if sized else 0,
        unit_nodes=max(int(row["unit"]) // each, 1),
        asked_nodes=int(row["ordered"] or row["gpus"]) // each if whole else 0,
        interval_s=float(row["interval_s"]) if writes else None,
        stall_s=float(row["stall_s"]) if writes else None,
        step_s=float(row["step_s"]) if np.isfinite(row["step_s"]) else None,
        usual_step_s=float(row["ideal_s"]) if row["ideal_s"] > 0 else None,
        paged_s=paged.get(int(row["number"])),
        settings=JobSettings(
            loaders=float(row["loaders"]),
            batch=float(row["batch"]),
            accumulate=float(row["accumulate"]),
            cache=float(row["cache"]),
            compressed=bool(row["compressed"]),
        ),
        service=_service(tables, job),
    )


def _ranks(tables: Tables, names: Names, job: int) -> Ints:
    """Return the index of each rank's GPU, in rank order."""
    nodes = np.array(nodes_of(tables, job), dtype=np.int64)
    held = tables.nodes["job"][nodes] == job
    slots = np.broadcast_to(np.arange(GPUS), held.shape)[held]
    found: Ints = names.gpu_at[np.repeat(nodes, held.sum(axis=1)), slots]
    return found
