"""What every GPU's time goes to, exactly: of the cluster by use, of a job by good and kind of loss.

Times are whole 1/1024 s and GPUs are integers, so no sum of theirs is ever rounded; what a job's
steps are worth is rounded to the same grain, and the rest of what it held takes the difference.
"""

import math

from sim.engine.heap import whole
from sim.engine.jit import compiled
from sim.engine.progress import best_at, work_at
from sim.engine.tables import Tables
from sim.engine.words import NONE, Hold, Loss, Phase, Stage, Use

# A stretch of a job's GPU time in GPU-seconds: held, good, stall, redone, other; and the best step.
Share = tuple[float, float, float, float, float, float]


@compiled
def settle(w: Tables) -> None:
    """Count the GPU-seconds of each use up to now."""
    core = w.core[0]
    passed_s = core["now_s"] - core["use_since_s"]
    core["use_since_s"] = core["now_s"]
    if passed_s > 0:
        for use in range(len(core["use_s"])):
            core["use_s"][use] += passed_s * core["use_gpus"][use]


@compiled
def node_use(w: Tables, node: int) -> None:
    """Count a node's GPUs that no job holds as what they are now."""
    row = w.nodes[node]
    use = Use.DOWN
    if row["repair"]:
        use = Use.REPAIR
    elif row["up"] and row["hold"] == Hold.NOBODY:
        use = Use.IDLE
    if row["use"] == use:
        return
    settle(w)
    gpus = w.core[0]["use_gpus"]
    gpus[row["use"]] -= row["free"]
    gpus[use] += row["free"]
    row["use"] = use


@compiled
def held(w: Tables, node: int, gpus: int, sign: int) -> None:
    """Move GPUs of a node between its free ones and those that a job holds: 1 given, -1 back."""
    settle(w)
    row, used = w.nodes[node], w.core[0]["use_gpus"]
    used[Use.HELD] += sign * gpus
    used[row["use"]] -= sign * gpus
    row["free"] -= sign * gpus


@compiled
def count_job(w: Tables, job: int) -> None:
    """Count a job's GPU time up to now under what it does; call it before that changes."""
    row = w.jobs[job]
    if row["counted_s"] == w.core[0]["now_s"]:
        return
    if row["given"] > 0:
        total, good, stall, redone, other, best = uncounted(w, job)
        row["held_gpu_s"] += total
        row["good_gpu_s"] += good
        row["lost_gpu_s"][Loss.STALL] += stall
        row["lost_gpu_s"][Loss.REDONE] += redone
        row["lost_gpu_s"][loss_of(row["phase"], row["stage"])] += other
        row["good_step"] = best
    row["counted_s"] = w.core[0]["now_s"]


@compiled
def uncounted(w: Tables, job: int) -> Share:
    """Return what a job's GPU time since it was last counted was, GPU-seconds; nothing changes.

    Good is a step done for the first time, at the time it takes where nothing is slow, on the GPUs
    held: as ``World.goodput``. Steps that a fault has made worthless are done again.
    """
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    since_s, given = row["counted_s"], row["given"]
    total = (now_s - since_s) * given
    if row["phase"] != Phase.RUNNING or row["stage"] != Stage.STEPPING:
        return total, 0.0, 0.0, 0.0, total, row["good_step"]
    start_s, step_s = row["row_s"], row["step_s"]
    if math.isinf(step_s):
        return total, 0.0, 0.0, 0.0, total, row["good_step"]
    worked_s = work_at(row, now_s) - work_at(row, since_s)
    best = max(row["good_step"], min(best_at(row, start_s, now_s), row["corrupt_step"]))
    first = best - row["good_step"]
    stall = _within(given * (now_s - since_s - worked_s), total)
    redone = _within(given * (worked_s - first * step_s), total - stall)
    good = _within(given * first * row["ideal_s"], total - stall - redone)
    return total, good, stall, redone, total - stall - redone - good, best


@compiled
def loss_of(phase: int, stage: int) -> int:
    """Return what the time of a job in a phase and stage is lost to where it is not good."""
    if phase == Phase.STARTING:
        return Loss.START
    if phase != Phase.RUNNING:
        return Loss.STOPPED
    if stage == Stage.CAPTURING:
        return Loss.STALL
    return Loss.HUNG if stage == Stage.HUNG else Loss.SLOW


@compiled
def close(w: Tables, job: int) -> None:
    """Move the GPU time of a job whose slot is given back from its row to the cluster's sums."""
    core, row = w.core[0], w.jobs[job]
    core["asked_gpu_s"] += asked(w, job, row["ended_s"])
    core["held_gpu_s"] += row["held_gpu_s"]
    core["good_gpu_s"] += row["good_gpu_s"]
    row["held_gpu_s"] = 0.0
    row["good_gpu_s"] = 0.0
    for loss in range(len(core["lost_gpu_s"])):
        core["lost_gpu_s"][loss] += row["lost_gpu_s"][loss]
        row["lost_gpu_s"][loss] = 0.0


@compiled
def totals(w: Tables) -> tuple[float, float]:
    """Return the GPU-seconds that jobs have held and those that were good, up to now.

    Nothing changes, so that who looks does not change what comes; the difference is lost.
    """
    core = w.core[0]
    total, useful = core["held_gpu_s"], core["good_gpu_s"]
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        if row["number"] == NONE:
            continue
        more = uncounted(w, job)
        total += row["held_gpu_s"] + more[0]
        useful += row["good_gpu_s"] + more[1]
    return total, useful


@compiled
def wanted(w: Tables, job: int) -> int:
    """Return how many GPUs a job is to run on: as it was submitted, or as it was told since."""
    row = w.jobs[job]
    return int(row["ordered"] if row["ordered"] > 0 else row["gpus"])


@compiled
def want(w: Tables, job: int, gpus: int) -> None:
    """Let a job want so many GPUs from now on; what it wanted before stays asked for."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    row["asked_gpu_s"] = asked(w, job, now_s)
    row["sized_s"], row["ordered"] = now_s, gpus


@compiled
def asked(w: Tables, job: int, until_s: float) -> float:
    """Return the GPU-seconds that a job was to have from its first start on."""
    row = w.jobs[job]
    if math.isnan(row["begun_s"]):
        return 0.0
    since_s = max(row["begun_s"], row["sized_s"])
    total: float = row["asked_gpu_s"] + wanted(w, job) * (until_s - since_s)
    return total


@compiled
def _within(gpu_s: float, most: float) -> float:
    return max(0.0, min(whole(gpu_s), most))
