"""Rows of the jobs table: taken by a job when it is submitted, given back when it is over."""

import math

from sim.engine.accounts import close
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Ending, JobKind, Phase, Reason, Stage


@compiled
def new_slot(w: Tables) -> int:
    """Return a job with nothing but its number: the next one of the world, waiting nowhere."""
    core = w.core[0]
    if core["jobs_free"] > 0:
        job = core["job_spare"]
        core["job_spare"] = w.jobs[job]["first"]
        core["jobs_free"] -= 1
    else:
        job = core["jobs_n"]
        core["jobs_n"] += 1
    clear(w, job)
    w.jobs[job]["number"] = core["submitted"]
    core["submitted"] += 1
    w.job_last[job] = NONE
    return int(job)


@compiled
def clear(w: Tables, job: int) -> None:
    """Make a row that of a training job that is submitted now and asks for nothing yet."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    row["kind"], row["named"], row["spec"], row["service"] = JobKind.TRAINING, False, NONE, NONE
    row["gpus"], row["least_gpus"], row["most_gpus"], row["unit"] = 0, 0, 0, 1
    row["priority"], row["work"], row["ending"] = 0, math.inf, Ending.COMPLETED
    row["compute_s"], row["data_s"], row["collective_s"], row["overlap"] = 1.0, 0.0, 0.0, 0.0
    row["interval_s"], row["stall_s"], row["save_s"] = math.inf, 0.0, 0.0
    row["bytes_per_step"], row["demand"], row["model"] = 0.0, 0.0, NONE
    row["pipeline"], row["micro"], row["loaders"], row["batch"] = 1, 0.0, 1.0, 1.0
    row["cache"], row["cache_asked"], row["starved"] = 0.0, 0.0, 0.0
    row["accumulate"], row["compressed"] = 1.0, False
    row["troubled"], row["handled"], row["acted_s"], row["lent"] = 0, NONE, -math.inf, 0
    row["paged"] = 0
    row["leak"], row["bad"], row["struck"], row["fresh"] = NONE, NONE, NONE, False
    row["phase"], row["stage"], row["reason"] = Phase.PENDING, Stage.NONE, Reason.NONE
    row["first"], row["last"], row["nodes"], row["given"] = NONE, NONE, 0, 0
    row["restarts"], row["interruptions"], row["attempts"] = 0, 0, 0
    row["begun_s"], row["ended_s"], row["due_s"], row["launch_s"] = (
        math.nan,
        math.nan,
        math.inf,
        0.0,
    )
    row["submit_s"], row["since_s"], row["row_s"] = now_s, now_s, now_s
    row["counted_s"], row["cycle_s"] = now_s, now_s
    row["step"], row["best_step"], row["good_step"], row["saved_step"] = 0.0, 0.0, 0.0, 0.0
    row["captured_step"], row["saved_s"], row["captured_s"] = 0.0, -math.inf, -math.inf
    row["step_s"], row["corrupt_step"] = math.inf, math.inf
    row["pace_s"], row["wait_s"], row["net_s"], row["ideal_s"], row["ratio"] = (
        0.0,
        0.0,
        0.0,
        0.0,
        1.0,
    )
    row["held_gpu_s"], row["good_gpu_s"] = 0.0, 0.0
    row["ordered"], row["asked_gpu_s"], row["sized_s"] = 0, 0.0, 0.0
    row["lost_gpu_s"][:] = 0.0


@compiled
def file(w: Tables, job: int, ending: int) -> None:
    """Write down how a job went, and give its slot back."""
    core, row = w.core[0], w.jobs[job]
    done = w.done[core["done_n"]]
    core["done_n"] += 1
    done["number"], done["submit_s"] = row["number"], row["submit_s"]
    done["begun_s"], done["ended_s"] = row["begun_s"], row["ended_s"]
    done["gpus"], done["priority"], done["kind"] = row["gpus"], row["priority"], row["kind"]
    done["ending"], done["restarts"] = ending, row["restarts"]
    done["interruptions"] = row["interruptions"]
    done["held_gpu_s"], done["good_gpu_s"] = row["held_gpu_s"], row["good_gpu_s"]
    for loss in range(len(done["lost_gpu_s"])):
        done["lost_gpu_s"][loss] = row["lost_gpu_s"][loss]
    close(w, job)
    row["number"], row["first"] = NONE, core["job_spare"]
    core["job_spare"] = job
    core["jobs_free"] += 1
