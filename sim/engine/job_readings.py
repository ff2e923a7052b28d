"""What jobs, their ranks and services report of themselves at any times, from the rows kept."""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.progress import best_at, checkpoint_at, step_at
from sim.engine.read_look import Look, Real, each_run, look_at, look_beside, noise_of, row_at, shake
from sim.engine.read_pace import stepping_job
from sim.engine.tables import Tables
from sim.engine.thermal import slowdown
from sim.engine.words import GPUS, NONE, Phase


class Job(IntEnum):
    """Rows of what ``read_job`` writes; the names are ``sim.telemetry``'s."""

    STEP_TIME = 0
    STEPS = 1
    GOODPUT = 2
    CHECKPOINT_AGE = 3


class Rank(IntEnum):
    """Rows of what ``read_ranks`` writes."""

    STEP_TIME = 0
    DATA_WAIT = 1
    COLLECTIVE = 2


class Service(IntEnum):
    """Rows of what ``read_service`` writes."""

    QUEUE = 0
    LATENCY = 1
    REQUESTS = 2
    REPLICAS = 3


class Ran(IntEnum):
    """Columns of what ``ranks_of`` finds."""

    JOB = 0
    RANK = 1
    NODE = 2
    GPU = 3


JOBS, RANKS, SERVICES = len(Job), len(Rank), len(Service)
_RAN = len(Ran)
_JOB_STREAM, _RANK_STREAM = 7, 8
_GOODPUT_SPAN_S = 600.0


@compiled_with_arrays
def read_job(w: Tables, job: int, time_s: Floats, out: Floats) -> None:
    """Write (4, T), a row for each of ``Job``; NaN where the job's processes are not there."""
    look, log, newest = look_beside(w, time_s), w.job_log, w.job_last[job]
    shake(w.core[0]["seed"], _JOB_STREAM, job, look)
    if newest < 0:
        out[:] = math.nan
        return
    for at in range(len(time_s)):
        now_s, seen = time_s[at], look.real[Real.SEEN, at]
        row = log[row_at(log, newest, now_s)]
        step_s = row["step_s"] if not math.isinf(row["step_s"]) else math.nan
        out[Job.STEP_TIME, at] = step_s * (1.0 + 0.008 * noise_of(look, 0, at)) * seen
        steps = np.floor(step_at(row, row["start_s"], now_s))
        out[Job.STEPS, at] = steps * seen if row["phase"] == Phase.RUNNING else math.nan
        known = now_s - w.core[0]["began_s"] >= _GOODPUT_SPAN_S
        out[Job.GOODPUT, at] = _goodput(w, job, row, now_s) * seen if known else math.nan
        age_s = now_s - (checkpoint_at(row, row["start_s"], now_s)[0] + row["save_s"])
        out[Job.CHECKPOINT_AGE, at] = max(age_s, 0.0) * seen if not math.isinf(age_s) else math.nan


@compiled
def _goodput(w: Tables, job: int, row: Any, now_s: float) -> float:
    """Return the useful share of the last ten minutes."""
    earlier_s = now_s - _GOODPUT_SPAN_S
    earlier = w.job_log[row_at(w.job_log, w.job_last[job], earlier_s)]
    gained = best_at(row, row["start_s"], now_s) - best_at(earlier, earlier["start_s"], earlier_s)
    useful: float = gained * row["ideal_s"] / _GOODPUT_SPAN_S
    return min(max(useful, 0.0), 1.0)


@compiled_with_arrays
def ranks_of(w: Tables, nodes: Ints, time_s: Floats) -> Ints:
    """Return (R, 4) job, rank, node and GPU of the ranks that ran within the times, as found."""
    found = np.empty((GPUS * len(nodes), _RAN), dtype=np.int64)
    count = 0
    for node in nodes:
        look = look_at(w, node, time_s)
        first = 0
        while first < len(time_s):
            last = each_run(look.row, first)
            if _any_in(w, time_s, first, last):
                if count + GPUS > len(found):
                    more = np.empty((2 * len(found) + GPUS, _RAN), dtype=np.int64)
                    more[:count] = found[:count]
                    found = more
                count += _ranks_on(w, node, look.row[first], found[count:])
            first = last
    return found[:count]


@compiled
def _any_in(w: Tables, time_s: Floats, first: int, last: int) -> bool:
    core = w.core[0]
    for at in range(first, last):
        if core["began_s"] <= time_s[at] <= core["now_s"]:
            return True
    return False


@compiled
def _ranks_on(w: Tables, node: int, row: int, found: Ints) -> int:
    shown, count = w.node_log[row], 0
    for gpu in range(w.nodes[node]["gpus"]):
        job = stepping_job(shown, gpu)
        if job >= 0:
            found[count, Ran.JOB] = job
            found[count, Ran.RANK] = _rank(shown, gpu)
            found[count, Ran.NODE] = node
            found[count, Ran.GPU] = gpu
            count += 1
    return count


@compiled
def _rank(shown: Any, gpu: int) -> int:
    """Return a rank's number: nodes of a job follow one another, so do its GPUs on a node."""
    before = 0
    for other in range(gpu):
        if shown["job"][other] == shown["job"][gpu]:
            before += 1
    return int(max(shown["rank"], 0) + before)


@compiled_with_arrays
def read_ranks(w: Tables, ran: Ints, time_s: Floats, out: Floats) -> None:
    """Write (3, R, T), a row for each of ``Rank``; NaN where that rank made no steps there."""
    node = NONE
    look = look_beside(w, time_s)
    for place in range(len(ran)):
        if ran[place, Ran.NODE] != node:
            node = ran[place, Ran.NODE]
            look = look_at(w, node, time_s)
        shake(w.core[0]["seed"], _RANK_STREAM, node * GPUS + ran[place, Ran.GPU], look)
        _read_rank(w, ran[place], look, out[:, place])


@compiled
def _read_rank(w: Tables, ran: Ints, look: Look, out: Floats) -> None:
    job, gpu = ran[Ran.JOB], ran[Ran.GPU]
    newest = w.job_last[job]
    for at in range(len(look.row)):
        shown, true_s = w.node_log[look.row[at]], look.real[Real.TRUE, at]
        here = shown["alive"][gpu] and stepping_job(shown, gpu) == job
        if not here or _rank(shown, gpu) != ran[Ran.RANK]:
            for row in range(RANKS):
                out[row, at] = math.nan
            continue
        of, seen = w.job_log[row_at(w.job_log, newest, true_s)], look.real[Real.SEEN, at]
        own_s = _own_s(w, job, of, shown, gpu)
        waits_s = of["net_s"] + max(of["pace_s"] - own_s, 0.0)
        out[Rank.STEP_TIME, at] = own_s * (1.0 + 0.006 * noise_of(look, 0, at)) * seen
        out[Rank.DATA_WAIT, at] = of["wait_s"] * (1.0 + 0.08 * noise_of(look, 1, at)) * seen
        out[Rank.COLLECTIVE, at] = waits_s * (1.0 + 0.03 * noise_of(look, 2, at)) * seen


@compiled
def _own_s(w: Tables, job: int, of: Any, shown: Any, gpu: int) -> float:
    """Return what a rank computes for in a step, at its job's size of now."""
    node, row = w.nodes[shown["entity"]], w.jobs[job]
    speed = w.types[node["type"]]["speed"]
    times = node["slowness"][gpu] * shown["slow"][gpu] * slowdown(shown["clock"][gpu]) / speed
    size = row["gpus"] / of["given"] if of["given"] > 0 and row["gpus"] > 0 else 1.0
    return float(row["compute_s"] * size * times)


@compiled_with_arrays
def read_service(w: Tables, job: int, time_s: Floats, out: Floats) -> None:
    """Write (4, T), a row for each of ``Service``; NaN where no replica serves.

    Requests are counted whole minutes after they were answered, as the rows are kept.
    """
    look, log = look_beside(w, time_s), w.service_log
    mine = _rows_of(log, w.core[0]["service_log_n"], job)
    served = np.zeros(len(mine) + 1)
    for place in range(1, len(mine)):
        before, shown = log[mine[place - 1]], log[mine[place]]
        lasted_s = shown["start_s"] - before["start_s"]
        served[place] = served[place - 1] + lasted_s * before["rate"] * (1.0 - before["errors"])
    for at in range(len(time_s)):
        place = _place(log, mine, time_s[at])
        if place < 0:
            for row in range(SERVICES):
                out[row, at] = math.nan
            continue
        shown, seen = log[mine[place]], look.real[Real.SEEN, at]
        there = seen if shown["ready"] > 0 else math.nan
        out[Service.QUEUE, at] = shown["queue"] * seen
        out[Service.LATENCY, at] = shown["latency_s"] * there
        out[Service.REQUESTS, at] = np.floor(served[place]) * seen
        out[Service.REPLICAS, at] = shown["ready"] * seen


@compiled_with_arrays
def _rows_of(log: NDArray[np.void], count: int, job: int) -> Ints:
    mine = np.empty(count, dtype=np.int64)
    found = 0
    for row in range(count):
        if log[row]["entity"] == job:
            mine[found] = row
            found += 1
    return mine[:found]


@compiled
def _place(log: NDArray[np.void], mine: Ints, time_s: float) -> int:
    """Return the place of the last of a service's rows that began by a time; -1: none did."""
    low, high = 0, len(mine)
    while low < high:
        middle = (low + high) // 2
        if log[mine[middle]]["start_s"] <= time_s:
            low = middle + 1
        else:
            high = middle
    return low - 1
