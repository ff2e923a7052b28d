"""What a world keeps of its past: rows of nodes and jobs as they change, and what was said.

Rows are never changed once written. Nothing is kept where ``core.keep`` and ``core.said`` are off,
and only of the scenario's own jobs, so a month of a large cluster fits in memory.
"""

from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE


@compiled
def say(w: Tables, said: int, code: int, node: int, gpu: int, job: int) -> None:
    """Keep an event as a kernel log or the scheduler would say it; NONE where it names nothing.

    The job is kept by its number, for its slot may be another's when the event is read.
    """
    core = w.core[0]
    if not core["said"]:
        return
    row = w.said[core["said_n"]]
    core["said_n"] += 1
    row["time_s"] = core["now_s"]
    row["said"] = said
    row["code"] = code
    row["node"] = node
    row["gpu"] = gpu
    row["job"] = NONE if job == NONE else w.jobs[job]["number"]


@compiled
def keep_node(w: Tables, node: int) -> None:
    """Keep what is true of a node from now on; call it after the last change of an instant."""
    core = w.core[0]
    if not core["keep"]:
        return
    at = core["node_log_n"]
    core["node_log_n"] = at + 1
    row, now = w.node_log[at], w.nodes[node]
    row["before"] = w.node_last[node]
    w.node_last[node] = at
    row["entity"] = node
    row["start_s"] = core["now_s"]
    row["up"] = now["up"]
    row["load"] = now["load"]
    _keep_gpus(w, at, node)
    row["rank"] = now["rank"]
    row["network"] = now["network"]
    row["host"] = now["host"]
    row["driver"] = now["driver"]
    row["inlet"] = now["inlet"]
    row["inlet_goal"] = now["inlet_goal"]
    row["memory"] = now["memory"]
    row["memory_slope"] = now["memory_slope"]
    row["scratch"] = now["scratch"]
    row["scratch_slope"] = now["scratch_slope"]
    row["oom_kills"] = now["oom_kills"]
    row["replays"] = now["replays"]
    row["replay_count"] = now["replay_count"]
    row["link_errors"] = now["link_errors"]
    row["link_count"] = now["link_count"]
    row["silent"] = now["silent"]
    row["stale_s"] = now["stale_s"]
    row["skew_s"] = now["skew_s"]


@compiled
def keep_job(w: Tables, job: int) -> None:
    """Keep what is true of one of the scenario's own jobs from now on."""
    core, now = w.core[0], w.jobs[job]
    if not core["keep"] or not now["named"]:
        return
    at = core["job_log_n"]
    core["job_log_n"] = at + 1
    row = w.job_log[at]
    row["before"] = w.job_last[job]
    w.job_last[job] = at
    row["entity"] = job
    row["start_s"] = core["now_s"]
    row["phase"] = now["phase"]
    row["stage"] = now["stage"]
    row["step"] = now["step"]
    row["best_step"] = now["best_step"]
    row["step_s"] = now["step_s"]
    row["pace_s"] = now["pace_s"]
    row["wait_s"] = now["wait_s"]
    row["net_s"] = now["net_s"]
    row["ideal_s"] = now["ideal_s"]
    row["interval_s"] = now["interval_s"]
    row["stall_s"] = now["stall_s"]
    row["save_s"] = now["save_s"]
    row["cycle_s"] = now["cycle_s"]
    row["saved_s"] = now["saved_s"]
    row["saved_step"] = now["saved_step"]
    row["captured_s"] = now["captured_s"]
    row["captured_step"] = now["captured_step"]
    row["corrupt_step"] = now["corrupt_step"]
    row["given"] = now["given"]
    row["restarts"] = now["restarts"]


@compiled
def _keep_gpus(w: Tables, at: int, node: int) -> None:
    """Keep what is true of each GPU, its job's kind too: a slot of ``jobs`` may change hands."""
    row, now = w.node_log[at], w.nodes[node]
    for gpu in range(GPUS):
        row["job"][gpu] = now["job"][gpu]
        row["celsius"][gpu] = now["celsius"][gpu]
        row["goal"][gpu] = now["goal"][gpu]
        row["clock"][gpu] = now["clock"][gpu]
        row["slow"][gpu] = now["slow"][gpu]
        row["alive"][gpu] = now["alive"][gpu]
        row["xid"][gpu] = now["xid"][gpu]
        row["uncorrected"][gpu] = now["uncorrected"][gpu]
        row["ecc_rate"][gpu] = now["ecc_rate"][gpu]
        row["ecc_count"][gpu] = now["ecc_count"][gpu]
        row["remap_pending"][gpu] = now["remap_pending"][gpu]
        row["remap_failed"][gpu] = now["remap_failed"][gpu]
        job = now["job"][gpu]
        row["number"][gpu] = w.jobs[job]["number"] if job != NONE else NONE
        row["kind"][gpu] = w.jobs[job]["kind"] if job != NONE else NONE
        row["own"][gpu] = job != NONE and w.jobs[job]["named"]
