"""Training jobs: start, run in lock step at the slowest rank's pace, checkpoint, stop, start again.

A cold restart takes about 50 s and 9 ms a GPU: fitted to the 200 to 900 s reported for 16k to 98k
GPUs (FT-HSDP, arXiv:2602.00277); one with a fresh node that stands warm about 70 s (derived from
ByteRobust, SOSP'25). How it divides into phases is an assumption. A stopped job keeps its nodes
and stays stopped: nothing here queues it again.
"""

import math
from dataclasses import replace
from enum import IntEnum

import numpy as np

from core.cluster import JobPhase
from core.target import Target
from sim.cluster import BUSY_MEMORY, IDLE_MEMORY, NO_JOB
from sim.draws import Purpose, generator
from sim.progress import best_at, captured_at, checkpoint_at, step_at
from sim.scenario import GPUS_PER_NODE, LEAK
from sim.state import State
from sim.thermal import Load, slowdown
from sim.trail import Rows

PHASES = tuple(JobPhase)
RESTART_S = 50.0
RESTART_S_PER_GPU = 0.009
FRESH_NODE_S = 20.0
_RESTART_SPREAD = 0.15
_SAME_PACE = 1e-6
FULL = 0.985  # of memory or of a volume: nothing more can be had


class Stage(IntEnum):
    """Where a job is within its phase; a start goes through the first four."""

    SCHEDULE = 0
    CONTAINER = 1
    INIT = 2
    LOAD = 3
    STEPPING = 4
    CAPTURING = 5
    HUNG = 6
    NONE = 7


_STARTING = (Stage.SCHEDULE, Stage.CONTAINER, Stage.INIT, Stage.LOAD)
_STAGE_SHARE = {Stage.SCHEDULE: 0.1, Stage.CONTAINER: 0.3, Stage.INIT: 0.15, Stage.LOAD: 0.45}


def phase(state: State, job: int) -> JobPhase:
    """Return where a job is."""
    return PHASES[int(_row(state, job)["phase"][0])]


def stage(state: State, job: int) -> Stage:
    """Return where a job is within its phase."""
    return Stage(int(_row(state, job)["stage"][0]))


def running_on(state: State, node: int) -> int:
    """Return the job whose processes are on the node, or NO_JOB."""
    return int(state.nodes.now(np.array([node]))["job"][0])


def run(state: State, job: int, *, into_cycle: float = 0.0) -> None:
    """Let a job step from its newest checkpoint on, its processes being in place.

    into_cycle: how much of the work between two checkpoints counts as done already, 0 to 1
    """
    nodes = state.placement[job]
    ranks = np.arange(len(nodes)) * GPUS_PER_NODE
    state.change_nodes(nodes, job=job, rank=ranks, load=Load.COMPUTING, memory=BUSY_MEMORY)
    row = _carried(state, job)
    _set_phase(row, JobPhase.RUNNING, Stage.STEPPING)
    row["cycle_s"] = state.now_s - into_cycle * state.spec(job).checkpoint_interval_s
    _append(state, job, row, compute_s=_compute_s(state, job))


def start(state: State, job: int, nodes: tuple[int, ...]) -> None:
    """Begin to start a job on nodes, after whatever of it still runs has been ended."""
    if phase(state, job) is not JobPhase.STOPPED:
        end_processes(state, job)
    _end_leaks(state, {*nodes, *state.placement[job]})
    fresh = len(set(nodes) - set(state.placement[job]))
    state.placement[job] = nodes
    state.change_nodes(nodes, job=job, load=Load.STARTING)
    row = _carried(state, job)
    row["restarts"] += 1
    _set_phase(row, JobPhase.STARTING, Stage.SCHEDULE)
    _append(state, job, row)
    total_s = _restart_s(state, job, fresh=fresh > 0)
    _schedule_stage(state, job, Stage.CONTAINER, total_s)


def end_processes(state: State, job: int) -> None:
    """Stop a job's processes: progress since the newest valid checkpoint is lost, memory freed."""
    row = _carried(state, job)
    row["captured_s"], row["captured_step"] = row["saved_s"], row["saved_step"]
    row["step"] = row["saved_step"]
    _set_phase(row, JobPhase.STOPPED, Stage.NONE)
    _append(state, job, row)
    state.change_nodes(
        state.placement[job],
        job=NO_JOB,
        rank=NO_JOB,
        load=Load.IDLE,
        memory=IDLE_MEMORY,
        memory_slope=0.0,
    )


def fail(state: State, job: int, *, text: str, code: str) -> None:
    """Stop a job with an error, as its scheduler would report it."""
    end_processes(state, job)
    spec = state.spec(job)
    state.tell(Target(job=spec.id), "job_failed", f"job {spec.id} failed: {text}", code=code)


def hang(state: State, job: int) -> None:
    """Let all ranks wait in a collective that will not end."""
    row = _carried(state, job)
    _set_phase(row, JobPhase.RUNNING, Stage.HUNG)
    _append(state, job, row)
    state.change_nodes(state.placement[job], load=Load.WAITING)


def capture(state: State, job: int) -> None:
    """Begin a checkpoint out of turn: the ranks wait for the stall, then go on."""
    row = _carried(state, job)
    row["stage"] = Stage.CAPTURING
    _append(state, job, row)
    version = state.job_version[job]
    state.schedule(state.spec(job).checkpoint_stall_s, "captured", (job, version))


def retime(state: State, job: int) -> None:
    """Take over the pace of the slowest rank, when it has changed."""
    if job == NO_JOB or stage(state, job) is not Stage.STEPPING:
        return
    compute_s = _compute_s(state, job)
    if abs(compute_s / float(_row(state, job)["compute_s"][0]) - 1) > _SAME_PACE:
        _append(state, job, _carried(state, job), compute_s=compute_s)


def on_stage(state: State, job: int, version: int, wanted: int, total_s: float) -> None:
    """Go on to the next part of a start; the last part is the first step."""
    if version != state.job_version[job]:
        return
    if wanted > Stage.LOAD:
        _finish_start(state, job)
        return
    row = _carried(state, job)
    row["stage"] = wanted
    _append(state, job, row)
    _schedule_stage(state, job, Stage(wanted + 1), total_s)


def on_captured(state: State, job: int, version: int) -> None:
    """Go on after a checkpoint out of turn; it becomes valid when its copy is whole.

    It takes the place of an earlier one whose copy is not whole yet.
    """
    if version != state.job_version[job]:
        return
    row = _carried(state, job)
    row["captured_s"], row["captured_step"] = state.now_s, row["step"]
    row["cycle_s"] = state.now_s
    row["stage"] = Stage.STEPPING
    _append(state, job, row, compute_s=_compute_s(state, job))


def on_crash(state: State, job: int, version: int, text: str, code: str) -> None:
    """End a job whose hang or error has been noticed."""
    if version == state.job_version[job]:
        fail(state, job, text=text, code=code)


def _finish_start(state: State, job: int) -> None:
    nodes = state.placement[job]
    rows = state.nodes.now(np.array(nodes, dtype=np.int64))
    for node, row in zip(nodes, rows, strict=True):
        name = state.shape.nodes[node]
        if not row["alive"].all():
            found = f"CUDA sees {int(row['alive'].sum())} of {GPUS_PER_NODE} GPUs on {name}"
            fail(state, job, text=found, code="gpu_missing")
            return
        if row["scratch"] >= FULL:
            fail(state, job, text=f"no space left on device on {name}", code="no_space")
            return
    run(state, job)
    spec = state.spec(job)
    step = int(_row(state, job)["step"][0])
    text = f"job {spec.id} runs again from step {step}"
    state.tell(Target(job=spec.id), "job_started", text)


def _restart_s(state: State, job: int, *, fresh: bool) -> float:
    gpus = len(state.placement[job]) * GPUS_PER_NODE
    index = int(_row(state, job)["restarts"][0])
    random = generator(state.seed, entity=job, purpose=Purpose.RESTART, index=index)
    spread = 1 + random.uniform(-_RESTART_SPREAD, _RESTART_SPREAD)
    total_s = RESTART_S + RESTART_S_PER_GPU * gpus + (FRESH_NODE_S if fresh else 0.0)
    return total_s * spread


def _schedule_stage(state: State, job: int, following: Stage, total_s: float) -> None:
    wait_s = total_s * _STAGE_SHARE[Stage(following - 1)]
    version = state.job_version[job]
    state.schedule(wait_s, "stage", (job, version, int(following), total_s))


def _compute_s(state: State, job: int) -> float:
    """Return the slowest rank's time to compute a step: all the others wait for it."""
    nodes = np.array(state.placement[job], dtype=np.int64)
    clock = state.nodes.now(nodes)["clock"]
    slowest = (state.shape.gpu_slowness[nodes] * slowdown(clock)).max()
    return state.spec(job).compute_s * float(slowest)


def _row(state: State, job: int) -> Rows:
    return state.jobs.now(np.array([job]))


def _carried(state: State, job: int) -> Rows:
    """Return the job's newest row, (1,), brought to now and not progressing."""
    row = _row(state, job)
    cycle, now = state.cycle.of(job), np.array([state.now_s])
    step, best = step_at(row, cycle, now), best_at(row, cycle, now)
    saved, captured = checkpoint_at(row, cycle, now), captured_at(row, cycle, now)
    row["step"], row["best_step"] = step, best
    row["saved_s"], row["saved_step"] = saved
    row["captured_s"], row["captured_step"] = captured
    row["start_s"] = state.now_s
    row["step_s"] = math.inf
    return row


def _set_phase(row: Rows, job_phase: JobPhase, job_stage: Stage) -> None:
    row["phase"], row["stage"] = PHASES.index(job_phase), job_stage


def _append(state: State, job: int, row: Rows, *, compute_s: float | None = None) -> None:
    """Write the job's new row; with a compute time it steps from here on."""
    if compute_s is not None:
        spec = state.spec(job)
        row["compute_s"] = compute_s
        row["step_s"] = compute_s + spec.data_wait_s + spec.collective_s
    state.jobs.append(row)
    state.job_version[job] += 1


def _end_leaks(state: State, nodes: set[int]) -> None:
    """A leak lives in the loader's processes and ends with them."""
    names = {state.shape.nodes[node] for node in nodes}
    for index, truth in enumerate(state.truths):
        if truth.fault == LEAK and truth.repaired_s is None and truth.target.node in names:
            state.truths[index] = replace(truth, repaired_s=state.now_s)
