"""The course of a fault after it has struck: it grows, comes and goes, fills up, meets new jobs."""

import math

from sim.engine import condition, effects, hits, machines, repair
from sim.engine.heap import after, push
from sim.engine.jit import compiled
from sim.engine.record import say
from sim.engine.tables import Tables
from sim.engine.words import NONE, Effect, Kind, Phase, Purpose, Reason, Said, Scope, Stage

_LINK_UP_S = 60.0  # mean time between two flaps of a link: assumption
_SOON_S = 1.0
_FLAPS = 64  # after so many the same waits come again


@compiled
def go_on(w: Tables, fault: int, phase: int) -> None:
    """Let the next part of an open fault's course begin."""
    row = w.faults[fault]
    if row["stopped"] or not math.isnan(row["mended_s"]):
        return
    row["phase"] = phase
    effect = w.classes[row["class"]]["effect"]
    if effect == Effect.LINK_FLAP:
        _flap(w, fault, phase)
    elif effect == Effect.ECC_GROWTH:
        _grow_errors(w, fault, phase)
    elif effect == Effect.DRIVER:
        _roll_out(w, fault, phase)
    elif effect == Effect.MAINTENANCE:
        effects.clear(w, fault)
    else:
        _ramp(w, fault, phase)


@compiled
def full(w: Tables, node: int, fault: int) -> None:
    """Let memory or a volume that filled be full, and who needs it fail."""
    row = w.faults[fault]
    if not math.isnan(row["mended_s"]):
        return
    machines.carry(w, node)
    if w.classes[row["class"]]["effect"] == Effect.VOLUME_FILLING:
        say(w, Said.VOLUME_FULL, 0, node, NONE, NONE)
        w.nodes[node]["scratch_slope"] = 0.0
        w.nodes[node]["scratch"] = max(w.nodes[node]["scratch"], machines.FULL)
        machines.changed(w, node)
        hits.fail_on(w, fault, Reason.NO_SPACE)
    elif w.nodes[node]["memory_slope"] > 0:
        say(w, Said.OOM_KILL, 0, node, NONE, NONE)
        w.nodes[node]["oom_kills"] += 1
        machines.changed(w, node)
        hits.fail_leaking(w, fault)


@compiled
def look(w: Tables, node: int) -> None:
    """Let a node's open faults heed that its service has changed.

    Those that lived in a job's processes end as it is started again or gone; those that jobs die
    of meet the ones that run now; checks before and after a job look for what nobody knows of (as
    on RSC, HPCA 2025); and a crew may have become free to begin.
    """
    fault = w.nodes[node]["fault"]
    while fault != NONE:
        following = w.faults[fault]["next"]
        if w.faults[fault]["restart_mends"] and _has_left(w, fault):
            effects.mend(w, fault)
        else:
            repair.check_later(w, fault)
            if hits.is_deadly(w, fault):
                _meet(w, fault, node)
        fault = following
    repair.consider(w, node)


@compiled
def _has_left(w: Tables, fault: int) -> bool:
    """Say whether the processes in which a fault lived are gone: a restart has begun, or no job."""
    row = w.faults[fault]
    if row["number"] == NONE:
        return False
    job = w.jobs[row["job"]]
    if job["number"] != row["number"]:
        return True
    if job["phase"] == Phase.STOPPED:
        return w.classes[row["class"]]["scope"] != Scope.JOB and not _is_on(w, fault)
    return bool(job["phase"] != Phase.RUNNING or not _is_on(w, fault))


@compiled
def _is_on(w: Tables, fault: int) -> bool:
    row = w.faults[fault]
    node = w.nodes[row["home"]]
    for gpu in range(node["gpus"]):
        if node["job"][gpu] == row["job"]:
            return True
    return False


@compiled
def _meet(w: Tables, fault: int, node: int) -> None:
    """Let a fault kill the job that runs on what is broken; look again where one is starting."""
    row = w.faults[fault]
    scope = w.classes[row["class"]]["scope"]
    for gpu in range(w.nodes[node]["gpus"]):
        job = w.nodes[node]["job"][gpu]
        if job == NONE or (scope == Scope.GPU and gpu != row["gpu"]):
            continue
        if scope == Scope.JOB and w.jobs[job]["number"] != row["number"]:
            continue
        if w.jobs[job]["stage"] == Stage.STEPPING and w.jobs[job]["struck"] == NONE:
            hits.hit(w, fault, job)
        elif w.jobs[job]["phase"] == Phase.STARTING:
            _look_again(w, node, w.jobs[job]["since_s"] + w.jobs[job]["launch_s"] + _SOON_S)


@compiled
def _look_again(w: Tables, node: int, time_s: float) -> None:
    """Look at a node's faults at a time, unless that is done before; then it is seen what next.

    A start that is overdue is looked at a little later: were it at once, time would stand still.
    """
    row = w.nodes[node]
    time_s = max(time_s, w.core[0]["now_s"] + _SOON_S)
    if row["look_s"] <= w.core[0]["now_s"] or time_s < row["look_s"]:
        row["look_s"] = time_s
        push(w, time_s, Kind.PHASE, NONE, node, 0)


@compiled
def _ramp(w: Tables, fault: int, phase: int) -> None:
    row = w.faults[fault]
    row["share"] = min(phase / effects.RAMP_STEPS, 1.0)
    effects.show(w, fault)
    if phase < effects.RAMP_STEPS:
        step_s = w.classes[row["class"]]["ramp_s"] / effects.RAMP_STEPS
        after(w, step_s, Kind.PHASE, fault, phase + 1, 0)


@compiled
def _grow_errors(w: Tables, fault: int, phase: int) -> None:
    """Let a GPU's memory get worse, until an error cannot be corrected any more."""
    row = w.faults[fault]
    row["share"] = min(phase / effects.RAMP_STEPS, 1.0)
    effects.show(w, fault)
    if phase < effects.RAMP_STEPS:
        after(w, row["size"] / effects.RAMP_STEPS, Kind.PHASE, fault, phase + 1, 0)
        return
    hits.tell(w, fault)
    hits.hit_jobs(w, fault)
    repair.know(w, fault)


@compiled
def _flap(w: Tables, fault: int, phase: int) -> None:
    """Let a link come back, in an odd phase, or fail again; it may stay away too long for a job."""
    row = w.faults[fault]
    if phase % 2 == 1:
        row["share"] = 0.0
        luck = repair.lucky(w, fault, _FLAPS + phase // 2 % _FLAPS, Purpose.COURSE)
        wait_s = -_LINK_UP_S * math.log(luck)
    else:
        row["share"] = 1.0
        wait_s = hits.outage_s(w, fault)
    effects.show(w, fault)
    if row["share"] == 1.0:
        hits.hit_jobs(w, fault)
    after(w, wait_s, Kind.PHASE, fault, phase + 1, 0)


@compiled
def _roll_out(w: Tables, fault: int, phase: int) -> None:
    """Give one more node the driver that is rolled out."""
    row = w.faults[fault]
    domain = w.domains[row["home"]]
    if phase > domain["count"]:
        return
    node = w.members[domain["first"] + phase - 1]
    w.nodes[node]["pinned"] = False
    condition.refresh(w, node)
    w.core[0]["touches"] += 1
    repair.retime_on(w, node)
    say(w, Said.DRIVER_CHANGED, phase, node, NONE, NONE)
    hits.driver_kills(w, fault, node)
    after(w, w.classes[row["class"]]["ramp_s"], Kind.PHASE, fault, phase + 1, 0)
