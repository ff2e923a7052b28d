"""What may start before the first job of the queue: only what does not keep it waiting.

As Slurm's backfill (slurm.schedmd.com/sched_config.html) and EASY (Lifka, JSSPP'95): room is kept
for the first job that does not fit, for the time at which the known ends of running jobs give it
enough nodes. A job behind it may start now if it ends by then, or uses nodes that will not be
needed. Where known ends never give enough, nothing can be kept free and all may start.
"""

import math

from sim.engine.accounts import wanted
from sim.engine.jit import compiled
from sim.engine.jobs import usual_s
from sim.engine.placement import find_one, first_on, needs
from sim.engine.tables import Tables
from sim.engine.words import NONE

_PROBES = 6  # halvings of the time up to the last known end: the reservation is late by 1/64 of it
_AGAIN_S = 600.0  # nodes fail and come back: what was worked out then is old


@compiled
def reserve(w: Tables, job: int) -> bool:
    """Keep room for a job that does not fit; say whether it was worked out anew."""
    core = w.core[0]
    now_s = core["now_s"]
    if core["reserved_job"] == job and now_s < core["reserved_look_s"]:
        return False
    core["reserved_job"], core["reserved_look_s"] = job, now_s + _AGAIN_S
    core["reserved_s"], core["reserved_spare"] = math.inf, 0
    count = needs(w, wanted(w, job))
    if count == 0:
        core["reserved_s"] = _first_room_s(w, w.jobs[job]["gpus"])
        return True
    latest_s = _last_end_s(w)
    if core["free_nodes"] + _freed_by(w, latest_s) < count:
        return True
    early_s = now_s
    for _ in range(_PROBES):
        middle_s = (early_s + latest_s) / 2
        if core["free_nodes"] + _freed_by(w, middle_s) >= count:
            latest_s = middle_s
        else:
            early_s = middle_s
    core["reserved_s"] = latest_s
    core["reserved_spare"] = core["free_nodes"] + _freed_by(w, latest_s) - count
    return True


@compiled
def may_pass(w: Tables, job: int) -> bool:
    """Say whether a job may start before the one that room is kept for; if so, it must.

    Of the nodes that the first job will not need it takes its own.
    """
    core, row = w.core[0], w.jobs[job]
    until_s = core["reserved_s"]
    if core["now_s"] + _longest_launch_s(w, job) + usual_s(w, job) <= until_s:
        return True
    count = needs(w, wanted(w, job))
    if count == 0:
        if needs(w, w.jobs[core["reserved_job"]]["gpus"]) == 0:
            return True  # it fits where the first one does not
        node = find_one(w, row["gpus"])
        if node == NONE:
            return False
        if _freed_s(w, node) > until_s:
            return True
        count = 1
    if count > core["free_nodes"] or count > core["reserved_spare"]:
        return False
    core["reserved_spare"] -= count
    return True


@compiled
def _longest_launch_s(w: Tables, job: int) -> float:
    site = w.site[0]
    usual: float = site["restart_s"] + site["restart_s_per_gpu"] * wanted(w, job)
    return (usual + site["fresh_node_s"]) * (1.0 + site["restart_spread"])


@compiled
def _last_end_s(w: Tables) -> float:
    last_s, job = w.core[0]["now_s"], w.core[0]["holder"]
    while job != NONE:
        if not math.isinf(w.jobs[job]["due_s"]):
            last_s = max(last_s, w.jobs[job]["due_s"])
        job = w.jobs[job]["holder_next"]
    return float(last_s)


@compiled
def _first_room_s(w: Tables, gpus: int) -> float:
    """Return when a job ends that holds so many GPUs of one node."""
    first_s, job = math.inf, w.core[0]["holder"]
    while job != NONE:
        if w.jobs[job]["given"] >= gpus:
            first_s = min(first_s, w.jobs[job]["due_s"])
        job = w.jobs[job]["holder_next"]
    return first_s


@compiled
def _freed_by(w: Tables, time_s: float) -> int:
    """Return how many nodes that are not free now will be, by known ends."""
    each, count, job = int(w.nodes[0]["gpus"]), 0, w.core[0]["holder"]
    while job != NONE:
        row = w.jobs[job]
        if row["due_s"] <= time_s:
            if row["given"] >= each:
                count += row["nodes"]
            elif first_on(w, row["first"], NONE) == job and _freed_s(w, row["first"]) <= time_s:
                count += 1
        job = row["holder_next"]
    return count


@compiled
def _freed_s(w: Tables, node: int) -> float:
    """Return when the last job on a node ends."""
    row, last_s = w.nodes[node], 0.0
    for gpu in range(row["gpus"]):
        if row["job"][gpu] != NONE:
            last_s = max(last_s, w.jobs[row["job"][gpu]]["due_s"])
    return last_s
