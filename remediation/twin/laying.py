"""A cluster as it is seen, laid into the engine's tables: the mirror's compiled half."""

import math
from typing import Any

import numpy as np

from sim.engine import jobs, placement, slots, waiting
from sim.engine.heap import whole
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, JobKind, Phase, Stage

Array = Any  # a numpy array that is read

# A job as it is seen.
LOOK = np.dtype(
    [
        ("phase", "i1"),
        ("gpus", "i4"),  # that it has, or asks for where it has none
        ("asked", "i4"),
        ("least", "i4"),  # below ``asked``: it can shrink
        ("priority", "i4"),
        ("restarts", "i4"),
        ("since_s", "f8"),  # in this phase, epoch
        ("saved_s", "f8"),  # the state of its newest checkpoint is of then; -inf: none
        ("interval_s", "f8"),
        ("stall_s", "f8"),
        ("save_s", "f8"),
        ("pace", "f8"),  # share of its own speed that it had since
        ("first", "i4"),  # its nodes in the list of all jobs' nodes
        ("count", "i4"),
    ],
    align=True,
)
STEP_S = 1.0  # of every job here: only how long it works counts
# Shares of a step that are waiting for data and communication: those of the simulator's usual job.
DATA_SHARE, NET_SHARE = 0.032, 0.126
_DONE = 1e7  # steps that a job which saves has behind it: it never goes back to its first


@compiled
def lay(w: Tables, looks: Array, nodes: Array) -> None:
    """Lay machines and jobs out at ``core.now_s``; the rows of nodes say who is up and who is out.

    looks: (J,) of LOOK; nodes: (L,) i4 the nodes of the first job in rank order, then the next's
    """
    placement.lay_out(w)
    for node in range(len(w.nodes)):
        w.nodes[node]["fault"], w.nodes[node]["warn"] = NONE, NONE
    at = w.core[0]["domains_at"]
    at[:] = NONE
    for domain in range(len(w.domains) - 1, -1, -1):
        w.domains[domain]["fault"] = NONE
        at[w.domains[domain]["scope"]] = domain
    w.core[0]["jobs_n"] = w.core[0]["submitted"] = len(looks)
    for job in range(len(looks)):
        _submit(w, job, looks)
        _give(w, job, looks, nodes)
        _go_on(w, job, looks)


@compiled
def _submit(w: Tables, job: int, looks: Array) -> None:
    """Write what a job asks for."""
    look = looks[job]
    slots.clear(w, job)
    row = w.jobs[job]
    each = int(w.nodes[0]["gpus"])
    row["number"], row["spec"], row["named"] = job, job, False
    row["gpus"], row["least_gpus"], row["most_gpus"] = look["asked"], look["least"], look["asked"]
    row["unit"] = each if look["asked"] >= each else 1
    if look["least"] < look["asked"]:
        row["kind"] = JobKind.ELASTIC
    row["priority"] = look["priority"]
    row["data_s"], row["collective_s"] = STEP_S * DATA_SHARE, STEP_S * NET_SHARE
    row["compute_s"] = STEP_S - row["data_s"] - row["collective_s"]
    row["interval_s"], row["stall_s"] = look["interval_s"], look["stall_s"]
    row["save_s"], row["ideal_s"] = look["save_s"], STEP_S


@compiled
def _give(w: Tables, job: int, looks: Array, nodes: Array) -> None:
    """Give a job the nodes that it has, in the order of its ranks."""
    look = looks[job]
    if look["count"] == 0:
        return
    if placement.needs(w, look["gpus"]) == 0:
        placement.give_part(w, job, nodes[look["first"]])
        return
    for at in range(look["first"], look["first"] + look["count"]):
        placement.append(w, job, nodes[at])
    if jobs.is_shrunk(w, job):
        w.core[0]["shrunk"] += 1


@compiled
def _go_on(w: Tables, job: int, looks: Array) -> None:
    """Let a job be where it is seen: in its phase, so far into its work and its start."""
    look, row, now_s = looks[job], w.jobs[job], w.core[0]["now_s"]
    row["begun_s"] = now_s
    phase = int(look["phase"])
    unsaved_s = look["since_s"] - look["saved_s"]
    if phase == Phase.RUNNING:
        unsaved_s = now_s - max(look["saved_s"], look["since_s"])
    unsaved = look["pace"] * unsaved_s / STEP_S
    done = unsaved if math.isinf(look["interval_s"]) else _DONE
    row["step"] = row["best_step"] = row["good_step"] = done
    row["saved_s"] = row["captured_s"] = look["saved_s"]
    row["saved_step"] = row["captured_step"] = done - unsaved
    if phase == Phase.RUNNING:
        jobs.run_at_once(w, job)
        _set_cycle(w, job, unsaved_s)
    elif phase == Phase.PENDING:
        row["step"] = row["saved_step"]
        row["phase"], row["stage"] = Phase.PENDING, Stage.NONE
        waiting.put(w, job)
    else:
        row["step"] = row["saved_step"]
        row["phase"], row["stage"] = Phase.STOPPED, Stage.NONE
        if phase == Phase.STARTING:
            jobs.start_later(w, job, min(look["since_s"] - now_s, 0.0))
            row["launch_s"] += max(now_s - look["since_s"], 0.0)  # a start's length, not its rest
    row["since_s"], row["restarts"] = look["since_s"], look["restarts"]


@compiled
def _set_cycle(w: Tables, job: int, unsaved_s: float) -> None:
    """Let a running job be where its newest checkpoint says between two of them.

    One may have been captured since which is not whole yet.
    """
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    length_s = row["interval_s"] + row["stall_s"]
    into_s = max(unsaved_s, 0.0)
    if not math.isinf(length_s) and into_s >= length_s:
        into_s -= math.floor(into_s / length_s) * length_s
        row["captured_s"] = now_s - whole(into_s)
        row["captured_step"] = _DONE - into_s / STEP_S  # it saves: its interval is finite
    row["cycle_s"] = now_s - whole(min(into_s, row["interval_s"]))
