"""The life of a job: start, run at the pace of its nodes, checkpoint, hang, fail, end.

A cold restart takes about 50 s and 9 ms a GPU: fitted to the 200 to 900 s reported for 16k to 98k
GPUs (FT-HSDP, arXiv:2602.00277); one with a fresh node that stands warm about 70 s (derived from
ByteRobust, SOSP'25). How it divides into stages is an assumption. The scenario's own jobs go
through them one by one; a start of any other is one event, for nobody reads its stages.

An event of a job holds its ``version``, which only grows and does so when its processes end; those
of its pace hold its ``turn`` besides. So what was due to an earlier life of a slot is void.
"""

import math

from sim.engine import loads, placement, scaling, slots
from sim.engine.accounts import count_job, wanted
from sim.engine.draws import between, uniform
from sim.engine.heap import after, push, whole
from sim.engine.jit import compiled
from sim.engine.progress import captured_at, checkpoint_at, step_at, when_step
from sim.engine.record import keep_job, say
from sim.engine.tables import Tables
from sim.engine.waiting import remove, wake
from sim.engine.words import (
    FAILED,
    NONE,
    Ending,
    JobKind,
    Kind,
    Phase,
    Purpose,
    Reason,
    Said,
    Stage,
)

_SAME_PACE = 1e-6
# A job that fails again before it has run for 10 min waits 10 s more, then 20 s, at most 5 min: the
# back-off of Kubernetes for what crashes in a loop (kubernetes.io, Pod Lifecycle).
_STEADY_S, _BACK_OFF_S, _MOST_S = 600.0, 10.0, 300.0
_TOLD_S = 120.0  # a job that fails and of which no incident tells is noticed so late: assumed
_STAGE_ENDS = (0.1, 0.4, 0.55, 1.0)  # share of a start that has passed at the end of each stage
_NO_FAULTS = (Reason.ORDERED, Reason.PREEMPTED, Reason.USER_BUG)


@compiled
def on_event(w: Tables, kind: int, a: int, b: int, version: int) -> None:
    """Let STAGE, FINISHED, CAPTURED or CRASH happen to job ``a``."""
    row = w.jobs[a]
    if version != row["version"]:
        return
    if kind == Kind.STAGE:
        _go_on(w, a, b)
    elif kind == Kind.CRASH:
        fail(w, a, b, row["struck"])
    elif b == row["turn"]:
        if kind == Kind.FINISHED:
            _finished(w, a)
        else:
            _captured(w, a)


@compiled
def run_at_once(w: Tables, job: int) -> None:
    """Let a job with nodes step from the world's beginning on, somewhere in a checkpoint cycle."""
    row, core = w.jobs[job], w.core[0]
    row["begun_s"] = core["now_s"]
    into_s = 0.0
    if not math.isinf(row["interval_s"]):
        into_s = row["interval_s"] * uniform(core["seed"], Purpose.SHAPE, row["number"], 0)
    _run(w, job, whole(into_s))


@compiled
def start(w: Tables, job: int) -> None:
    """Begin to start a job on the nodes it has, after whatever of it still runs has been ended."""
    start_later(w, job, 0.0)


@compiled
def start_later(w: Tables, job: int, more_s: float) -> None:
    """Begin to start a job as ``start`` does; it takes so much longer."""
    _launch(w, job, Stage.SCHEDULE.value, more_s)


@compiled
def start_in_place(w: Tables, job: int) -> None:
    """Begin to start a job's processes in the containers they had: nothing is scheduled anew."""
    _launch(w, job, Stage.INIT.value, 0.0)


@compiled
def set_interval(w: Tables, job: int, interval_s: float) -> None:
    """Let a job save its state after so much work from now on; what has passed of it counts."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    steps = row["phase"] == Phase.RUNNING and row["stage"] == Stage.STEPPING
    count_job(w, job)
    if not steps:
        row["interval_s"] = interval_s
        return
    _carry(w, job)
    length_s = row["interval_s"] + row["stall_s"]
    into_s = (now_s - row["cycle_s"]) - math.floor((now_s - row["cycle_s"]) / length_s) * length_s
    stalled_s = into_s - row["interval_s"]
    into_s = interval_s + stalled_s if stalled_s > 0 else min(into_s, interval_s)
    row["interval_s"], row["cycle_s"] = interval_s, now_s - whole(into_s)
    _step(w, job, scaling.pace(w, job))
    keep_job(w, job)


@compiled
def usual_s(w: Tables, job: int) -> float:
    """Return how long the rest of a job's work takes where nothing is slow; inf: not known."""
    row = w.jobs[job]
    step_s = row["ideal_s"] if row["ideal_s"] > 0 else row["compute_s"] + row["collective_s"]
    stalls = 1.0
    if not math.isinf(row["interval_s"]):
        stalls += row["stall_s"] / row["interval_s"]
    left_s: float = (row["work"] - row["step"]) * step_s * stalls
    return left_s


@compiled
def end_processes(w: Tables, job: int) -> None:
    """Stop a job's processes: progress since the newest valid checkpoint is lost.

    It keeps its GPUs, and a service keeps what it has answered.
    """
    row = w.jobs[job]
    count_job(w, job)
    freed = row["demand"] > 0 and scaling.leaves(w, job)
    _carry(w, job)
    if row["kind"] == JobKind.SERVICE:
        row["saved_step"] = row["step"]
    elif row["saved_step"] > row["corrupt_step"]:
        go_back(w, job, row["corrupt_step"])
    if not math.isinf(row["corrupt_step"]):
        row["best_step"] = min(row["best_step"], row["corrupt_step"])
        row["corrupt_step"] = math.inf
    row["captured_s"], row["captured_step"] = row["saved_s"], row["saved_step"]
    row["step"] = row["saved_step"]
    _enter(w, job, Phase.STOPPED, Stage.NONE)
    _void(w, job)
    loads.set_loads(w, job)
    keep_job(w, job)
    if freed:
        retime_readers(w)


@compiled
def save_and_end(w: Tables, job: int) -> None:
    """Stop a stepping job's processes in order: its state is written first, so nothing is lost."""
    row = w.jobs[job]
    count_job(w, job)
    _carry(w, job)
    row["captured_s"], row["captured_step"] = row["row_s"], row["step"]
    row["saved_s"], row["saved_step"] = row["row_s"], row["step"]
    end_processes(w, job)


@compiled
def fail(w: Tables, job: int, reason: int, fault: int) -> None:
    """Stop a job with an error; where the site does so, it is queued again after a while.

    fault: what is behind it, NONE: not known
    """
    _fail_on(w, job, reason, fault, NONE)


@compiled
def hang(w: Tables, job: int, fault: int, wait_s: float) -> None:
    """Let all ranks wait in a collective until its own timeout or somebody ends it, after a while.

    fault: what is behind it, NONE: not known
    """
    row = w.jobs[job]
    if row["phase"] != Phase.RUNNING or row["stage"] == Stage.HUNG:
        return
    count_job(w, job)
    freed = row["demand"] > 0 and scaling.leaves(w, job)
    _carry(w, job)
    row["stage"], row["struck"], row["due_s"] = Stage.HUNG, fault, math.inf
    row["turn"] += 1
    loads.set_loads(w, job)
    keep_job(w, job)
    after(w, wait_s, Kind.CRASH, job, Reason.HANG, row["version"])
    if freed:
        retime_readers(w)


@compiled
def crash_later(w: Tables, job: int, reason: int, fault: int, wait_s: float) -> None:
    """Let a job fail after a while, if its processes live that long."""
    w.jobs[job]["struck"] = fault
    after(w, wait_s, Kind.CRASH, job, reason, w.jobs[job]["version"])


@compiled
def capture(w: Tables, job: int) -> None:
    """Begin a checkpoint out of turn: the ranks wait for the stall, then go on."""
    row = w.jobs[job]
    if row["stage"] != Stage.STEPPING:
        return
    count_job(w, job)
    _carry(w, job)
    row["stage"] = Stage.CAPTURING
    row["turn"] += 1
    keep_job(w, job)
    after(w, row["stall_s"], Kind.CAPTURED, job, row["turn"], row["version"])


@compiled
def retime(w: Tables, job: int) -> None:
    """Take over the pace that its nodes, its storage and its settings allow now."""
    if job == NONE:
        return
    _take_pace(w, job)
    row = w.jobs[job]
    if row["stage"] == Stage.STEPPING and row["bytes_per_step"] > 0 and scaling.joins(w, job):
        retime_readers(w)


@compiled
def retime_readers(w: Tables) -> None:
    """Take over the pace of all jobs that read from the shared storage: its share has changed."""
    job = w.core[0]["holder"]
    while job != NONE:
        if w.jobs[job]["demand"] > 0:
            _take_pace(w, job)
        job = w.jobs[job]["holder_next"]


@compiled
def end(w: Tables, job: int, ending: int) -> None:
    """Let a job be over, wherever it is; its GPUs and, unless it has a name, its slot are free."""
    row = w.jobs[job]
    if row["phase"] == Phase.COMPLETED:
        return
    if row["phase"] == Phase.PENDING:
        remove(w, job)
    count_job(w, job)
    freed = row["demand"] > 0 and scaling.leaves(w, job)
    _carry(w, job)
    _enter(w, job, Phase.COMPLETED, Stage.NONE)
    row["ended_s"] = row["since_s"]
    _void(w, job)
    let_go(w, job)
    say(w, Said.JOB_COMPLETED, ending, NONE, NONE, job)
    keep_job(w, job)
    if ending == Ending.COMPLETED:
        w.core[0]["completed"] += 1
    if not row["named"]:
        slots.file(w, job, ending)
    wake(w)
    if freed:
        retime_readers(w)


@compiled
def let_go(w: Tables, job: int) -> None:
    """Take all GPUs from a job that has no processes."""
    row = w.jobs[job]
    if row["nodes"] > 0 and is_shrunk(w, job):
        w.core[0]["shrunk"] -= 1
    while row["nodes"] > 0:
        loads.relax(w, placement.release_first(w, job))


@compiled
def is_shrunk(w: Tables, job: int) -> bool:
    """Say whether a job that can have other sizes has fewer GPUs than it wants."""
    return is_flexible(w, job) and w.jobs[job]["given"] < wanted(w, job)


@compiled
def is_flexible(w: Tables, job: int) -> bool:
    """Say whether a job can run at other sizes: the site shrinks and grows an elastic one itself.

    A training of whole nodes has another only where it is told so, and grows again by itself.
    """
    return bool(w.jobs[job]["kind"] in (JobKind.ELASTIC, JobKind.TRAINING))


@compiled
def _launch(w: Tables, job: int, stage: int, more_s: float) -> None:
    """Begin a start at one of its stages, which takes so much longer; what runs is ended first."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    if row["phase"] in (Phase.STARTING, Phase.RUNNING):
        end_processes(w, job)
    count_job(w, job)
    if math.isnan(row["begun_s"]):
        row["begun_s"] = now_s
    else:
        row["restarts"] += 1
    _enter(w, job, Phase.STARTING, stage)
    row["version"] += 1
    row["struck"], row["reason"] = NONE, Reason.NONE
    began = _STAGE_ENDS[stage - 1] if stage > 0 else 0.0
    row["launch_s"] = whole((1.0 - began) * _launch_s(w, job) + more_s)
    row["due_s"] = now_s + row["launch_s"] + usual_s(w, job)
    loads.set_loads(w, job)
    keep_job(w, job)
    if not row["named"]:
        after(w, row["launch_s"], Kind.STAGE, job, Stage.STEPPING, row["version"])
        return
    first_s = (_STAGE_ENDS[stage] - began) / (1.0 - began) * row["launch_s"]
    after(w, first_s, Kind.STAGE, job, stage + 1, row["version"])


@compiled
def _go_on(w: Tables, job: int, stage: int) -> None:
    """Go on to the next part of a start; the last part is the first step."""
    row = w.jobs[job]
    if stage > Stage.LOAD:
        _finish_start(w, job)
        return
    row["stage"] = stage
    keep_job(w, job)
    ends_s = row["since_s"] + _STAGE_ENDS[stage] * row["launch_s"]
    push(w, ends_s, Kind.STAGE, job, stage + 1, row["version"])


@compiled
def _finish_start(w: Tables, job: int) -> None:
    row = w.jobs[job]
    node = row["first"]
    for _ in range(row["nodes"]):
        reason = loads.why_not(w, job, node)
        if reason != Reason.NONE:
            _fail_on(w, job, reason, NONE, node)
            return
        node = w.nodes[node]["next"]
    _run(w, job, 0.0)
    say(w, Said.JOB_STARTED, int(row["step"]), NONE, NONE, job)


@compiled
def _fail_on(w: Tables, job: int, reason: int, fault: int, node: int) -> None:
    row, site = w.jobs[job], w.site[0]
    if row["phase"] not in (Phase.STARTING, Phase.RUNNING):
        return
    ran_s = w.core[0]["now_s"] - row["since_s"]
    if row["phase"] == Phase.RUNNING and ran_s >= _STEADY_S:
        row["attempts"] = 0
    else:
        row["attempts"] += 1
    if row["phase"] == Phase.RUNNING and reason not in _NO_FAULTS:
        row["interruptions"] += 1
        w.core[0]["interruptions"] += 1
    if fault != NONE:
        w.faults[fault]["interrupted"] += 1
    end_processes(w, job)
    row["reason"], row["struck"] = reason, fault
    say(w, Said.JOB_FAILED, reason, node, NONE, job)
    if site["requeue"]:
        wait_s = site["requeue_s"] + _back_off_s(row["attempts"])
        after(w, wait_s, Kind.REQUEUE, job, 0, row["version"])
    elif site["surrogate"]:
        after(w, _TOLD_S * site["notice_scale"], Kind.NOTICE, job, FAILED, row["version"])


@compiled
def _back_off_s(attempts: int) -> float:
    if attempts <= 1:
        return 0.0
    return min(_BACK_OFF_S * 2.0 ** min(attempts - 2, 10), _MOST_S)


@compiled
def _run(w: Tables, job: int, into_s: float) -> None:
    """Let a job step from its newest checkpoint on, so far into the work between two of them."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    count_job(w, job)
    _enter(w, job, Phase.RUNNING, Stage.STEPPING)
    row["row_s"], row["cycle_s"] = now_s, now_s - into_s
    loads.set_loads(w, job)
    _step(w, job, scaling.pace(w, job))
    if row["bytes_per_step"] > 0 and scaling.joins(w, job):
        retime_readers(w)
    keep_job(w, job)
    if row["kind"] == JobKind.SERVICE:
        after(w, 0.0, Kind.TICK, job, 0, row["version"])


@compiled
def _step(w: Tables, job: int, step_s: float) -> None:
    """Let a job that is brought to now make steps at a pace, and end when its work is done."""
    row = w.jobs[job]
    row["step_s"] = step_s
    row["turn"] += 1
    row["due_s"] = when_step(row, row["row_s"], row["work"])
    push(w, row["due_s"], Kind.FINISHED, job, row["turn"], row["version"])


@compiled
def _take_pace(w: Tables, job: int) -> None:
    """Write a stepping job's pace anew where it has changed."""
    row = w.jobs[job]
    if row["phase"] != Phase.RUNNING or row["stage"] != Stage.STEPPING:
        return
    count_job(w, job)
    before_s, step_s = row["step_s"], scaling.pace(w, job)
    if step_s == before_s or abs(step_s / before_s - 1.0) <= _SAME_PACE:
        return
    _carry(w, job)
    _step(w, job, step_s)
    keep_job(w, job)


@compiled
def _captured(w: Tables, job: int) -> None:
    """Go on after a checkpoint out of turn; it becomes valid when its copy is whole.

    It takes the place of an earlier one whose copy is not whole yet.
    """
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    count_job(w, job)
    _carry(w, job)
    row["captured_s"], row["captured_step"] = now_s, row["step"]
    row["cycle_s"], row["stage"] = now_s, Stage.STEPPING
    _step(w, job, scaling.pace(w, job))
    keep_job(w, job)


@compiled
def _finished(w: Tables, job: int) -> None:
    row = w.jobs[job]
    count_job(w, job)
    _carry(w, job)
    row["step"] = row["work"]
    row["best_step"] = max(row["best_step"], row["work"])
    end(w, job, row["ending"])


@compiled
def _carry(w: Tables, job: int) -> None:
    """Bring a job's progress to now; it makes no steps from here on."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    start_s = row["row_s"]
    if not math.isinf(row["interval_s"]) or not math.isinf(row["captured_s"]):
        saved_s, saved_step = checkpoint_at(row, start_s, now_s)
        captured_s, captured_step = captured_at(row, start_s, now_s)
        row["saved_s"], row["saved_step"] = saved_s, saved_step
        row["captured_s"], row["captured_step"] = captured_s, captured_step
    row["step"] = step_at(row, start_s, now_s)
    row["best_step"] = max(row["best_step"], row["step"])
    row["row_s"], row["step_s"] = now_s, math.inf


@compiled
def go_back(w: Tables, job: int, step: float) -> None:
    """Take the newest checkpoint of a step or before it; all older ones are kept.

    They are taken to lie as far apart as where nothing is slow. The job must have no processes.
    """
    row = w.jobs[job]
    apart = row["interval_s"] / row["ideal_s"]
    if math.isinf(apart):
        row["saved_step"], row["saved_s"] = 0.0, -math.inf
        return
    turns = max(math.ceil((row["saved_step"] - step) / apart), 0)
    row["saved_step"] -= turns * apart
    row["saved_s"] -= whole(turns * (row["interval_s"] + row["stall_s"]))
    if row["saved_step"] < 0:
        row["saved_step"], row["saved_s"] = 0.0, -math.inf


@compiled
def _enter(w: Tables, job: int, phase: int, stage: int) -> None:
    row = w.jobs[job]
    if row["phase"] != phase:
        row["since_s"] = w.core[0]["now_s"]
    row["phase"], row["stage"] = phase, stage


@compiled
def _void(w: Tables, job: int) -> None:
    """Make what is due to a job's processes void; what leaks in them ends with them."""
    row = w.jobs[job]
    row["version"] += 1
    row["turn"] += 1
    row["due_s"] = math.inf
    if row["leak"] != NONE:
        after(w, 0.0, Kind.MENDED, row["leak"], 0, 0)
        row["leak"] = NONE


@compiled
def _launch_s(w: Tables, job: int) -> float:
    """Return how long a start takes: drawn by how many there were of this job."""
    row, site = w.jobs[job], w.site[0]
    total_s: float = site["restart_s"] + site["restart_s_per_gpu"] * row["given"]
    if row["fresh"]:
        total_s += site["fresh_node_s"]
    if site["exact_restart"]:
        return total_s
    seed, spread = w.core[0]["seed"], site["restart_spread"]
    times = between(
        seed, Purpose.RESTART, row["number"], row["restarts"], 1.0 - spread, 1.0 + spread
    )
    return total_s * times
