"""What a fault does when it strikes and what is left when it ends, for every effect.

What follows from a node's open faults is worked out in ``condition``; here is the rest: nodes that
go down, memory and volumes that fill, what belongs to jobs, services and storage. A fault that
finds nothing to break is over at once.
"""

import math

from sim.engine import condition, hits, jobs, machines, placement, repair, surrogate
from sim.engine.accounts import count_job
from sim.engine.heap import after
from sim.engine.jit import compiled
from sim.engine.record import say
from sim.engine.tables import Tables
from sim.engine.waiting import wake
from sim.engine.words import (
    NONE,
    Effect,
    Hold,
    JobKind,
    Kind,
    Load,
    Phase,
    Purpose,
    Reason,
    Said,
    Scope,
    Stage,
)

RAMP_STEPS = 8
_GRACE_S = 600.0  # from when planned work begins to drain until it stops who is left: assumption
_CANARY_ERRORS = 0.05  # share of a bad canary's answers that fail: assumption


@compiled
def strike(w: Tables, fault: int) -> None:
    """Break what a fault breaks, now; its row is filled, it is in no chain yet."""
    row = w.faults[fault]
    if not _finds(w, fault):
        row["mended_s"] = w.core[0]["now_s"]
        return
    kind = w.classes[row["class"]]
    condition.link(w, fault)
    row["share"] = 0.0 if kind["ramp_s"] > 0 or kind["effect"] == Effect.ECC_GROWTH else 1.0
    _begin(w, fault)
    show(w, fault)
    if kind["effect"] != Effect.ECC_GROWTH:
        hits.tell(w, fault)
        hits.hit_jobs(w, fault)
    _take_down(w, fault)
    if repair.lucky(w, fault, 2, Purpose.COURSE) < kind["seen"]:
        repair.know(w, fault)
    elif condition.is_own(w, fault):
        repair.check_later(w, fault)
    surrogate.watch(w, fault)


@compiled
def mend(w: Tables, fault: int) -> None:
    """Undo what a fault did, if it is still there; its job is not started for that."""
    row = w.faults[fault]
    if not math.isnan(row["mended_s"]):
        return
    row["mended_s"] = w.core[0]["now_s"]
    own = condition.is_own(w, fault)
    condition.unlink(w, fault)
    if row["known"] and row["node"] != NONE:
        w.nodes[row["node"]]["known"] -= 1
    _end(w, fault)
    show(w, fault)
    _bring_up(w, fault)
    _tell_end(w, fault)
    if own:
        repair.after_mend(w, row["home"])


@compiled
def show(w: Tables, fault: int) -> None:
    """Let a change of a fault show in all nodes and jobs that it concerns."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    w.core[0]["touches"] += 1
    if kind["scope"] in (Scope.GPU, Scope.NODE):
        condition.refresh(w, row["home"])
        repair.retime_on(w, row["home"])
    elif kind["effect"] in _OF_NODES:
        domain = w.domains[row["home"]]
        for place in range(domain["first"], domain["first"] + domain["count"]):
            condition.refresh(w, w.members[place])
        for place in range(domain["first"], domain["first"] + domain["count"]):
            repair.retime_on(w, w.members[place])


_OF_NODES = (
    Effect.COOLING,
    Effect.SLOW_NETWORK,
    Effect.LINK_FLAP,
    Effect.LEAF_DOWN,
    Effect.POWER_CAP,
    Effect.DRIVER,
    Effect.DROPOUT,
    Effect.STALE,
    Effect.SKEW,
)


@compiled
def _finds(w: Tables, fault: int) -> bool:
    """Say whether there is something that a fault can break."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if row["home"] == NONE:
        return False
    if kind["scope"] == Scope.JOB:
        return hits.has_target(w, fault) and _job_can(w, fault, kind["effect"])
    if condition.is_own(w, fault):
        return _node_can(w, fault, kind["effect"])
    return _domain_can(w, fault, kind["effect"])


@compiled
def _node_can(w: Tables, fault: int, effect: int) -> bool:
    row = w.faults[fault]
    node = w.nodes[row["home"]]
    busy = _job_with_processes(w, row["home"]) != NONE
    can = True
    if effect in (Effect.GPU_LOST, Effect.GPU_ERROR, Effect.ECC_GROWTH):
        can = node["up"] and node["alive"][row["gpu"]] != 0
    elif effect == Effect.COOLING:
        can = node["heat"] == 1
    elif effect == Effect.MEMORY_LEAK:
        can = busy and node["memory_slope"] == 0
    elif effect == Effect.VOLUME_FILLING:
        can = node["up"] and node["scratch_slope"] == 0 and node["scratch"] < machines.FULL
    elif effect in (Effect.HANG, Effect.CRASH_JOB):
        can = busy or (node["up"] and not row["restart_mends"])
    elif effect == Effect.NODE_DOWN:
        can = node["up"]
    return bool(can)


@compiled
def _job_can(w: Tables, fault: int, effect: int) -> bool:
    job = w.jobs[w.faults[fault]["job"]]
    if effect == Effect.BAD_CANARY:
        return bool(job["service"] != NONE)
    if effect in (Effect.NAN, Effect.SILENT_CORRUPTION, Effect.HANG):
        return bool(job["phase"] == Phase.RUNNING)
    return True


@compiled
def _domain_can(w: Tables, fault: int, effect: int) -> bool:
    domain = w.domains[w.faults[fault]["home"]]
    if effect in (Effect.LEAF_DOWN, Effect.POWER_LOST):
        return bool(domain["up"])
    if effect == Effect.SURGE:
        return len(w.services) > 0
    return bool(domain["count"] > 0)


@compiled
def _job_with_processes(w: Tables, node: int) -> int:
    job = placement.first_on(w, node, NONE)
    while job != NONE and w.jobs[job]["phase"] != Phase.RUNNING:
        job = placement.first_on(w, node, job)
    return job


@compiled
def _begin(w: Tables, fault: int) -> None:
    """Do what an effect does beside the condition of nodes."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    effect, size = kind["effect"], row["size"]
    if effect == Effect.MEMORY_LEAK:
        machines.carry(w, row["home"])
        node = w.nodes[row["home"]]
        node["memory_slope"] = max(machines.FULL - node["memory"], 0.0) / size
        hits.note(w, fault, _job_with_processes(w, row["home"]))
        after(w, size, Kind.FULL, row["home"], fault, 0)
    elif effect == Effect.VOLUME_FILLING:
        machines.carry(w, row["home"])
        node = w.nodes[row["home"]]
        node["scratch_slope"] = max(machines.FULL - node["scratch"], 0.0) / size
        after(w, size, Kind.FULL, row["home"], fault, 0)
    elif effect == Effect.LINK_FLAP:
        after(w, hits.outage_s(w, fault), Kind.PHASE, fault, 1, 0)
    elif effect == Effect.ECC_GROWTH:
        after(w, size / RAMP_STEPS, Kind.PHASE, fault, 1, 0)
    elif kind["ramp_s"] > 0:
        step_s = kind["ramp_s"] / RAMP_STEPS if effect != Effect.DRIVER else 0.0
        after(w, step_s, Kind.PHASE, fault, 1, 0)
    elif effect == Effect.MAINTENANCE:
        _drain(w, row["home"])
        after(w, _GRACE_S, Kind.PHASE, fault, 1, 0)
    else:
        _begin_elsewhere(w, fault, effect)


@compiled
def _begin_elsewhere(w: Tables, fault: int, effect: int) -> None:
    """Do what an effect does to storage, services and jobs, and note a domain that is down."""
    row = w.faults[fault]
    if effect == Effect.SLOW_STORAGE:
        share_storage(w)
    elif effect == Effect.SURGE:
        share_requests(w)
    elif effect in (Effect.LEAF_DOWN, Effect.POWER_LOST):
        w.domains[row["home"]]["up"] = False
    elif effect == Effect.LOADER_STARVED:
        _starve(w, row["job"], 1.0 - row["size"])
    elif effect == Effect.BAD_CANARY:
        service = w.services[w.jobs[row["job"]]["service"]]
        service["canary_slow"] = row["size"]
        service["canary_errors"] = min(_CANARY_ERRORS * row["severity"], 1.0)


@compiled
def _end(w: Tables, fault: int) -> None:
    """Undo what an effect did beside the condition of nodes."""
    row = w.faults[fault]
    effect = w.classes[row["class"]]["effect"]
    there = row["job"] != NONE and w.jobs[row["job"]]["number"] == row["number"]
    if effect == Effect.MEMORY_LEAK:
        machines.carry(w, row["home"])
        node = w.nodes[row["home"]]
        busy = node["load"] in (Load.COMPUTING, Load.WAITING)
        node["memory_slope"] = 0.0
        if node["up"]:
            node["memory"] = machines.BUSY_MEMORY if busy else machines.IDLE_MEMORY
    elif effect == Effect.VOLUME_FILLING:
        machines.carry(w, row["home"])
        node = w.nodes[row["home"]]
        node["scratch"], node["scratch_slope"] = machines.SCRATCH_USED, 0.0
    elif effect == Effect.SLOW_STORAGE:
        share_storage(w)
    elif effect == Effect.SURGE:
        share_requests(w)
    elif effect in (Effect.LEAF_DOWN, Effect.POWER_LOST):
        w.domains[row["home"]]["up"] = True
    elif effect == Effect.MAINTENANCE:
        _undrain(w, row["home"])
    elif effect == Effect.LOADER_STARVED and there:
        _starve(w, row["job"], 0.0)
    elif effect == Effect.BAD_CANARY and there:
        service = w.services[w.jobs[row["job"]]["service"]]
        service["canary_slow"], service["canary_errors"] = 1.0, 0.0


@compiled
def share_storage(w: Tables) -> None:
    """Work out how much of the storage's bandwidth its open faults leave, and time its readers."""
    share = 1.0
    domain = condition.domain_of(w, Scope.STORAGE, 0)
    fault = w.domains[domain]["fault"]
    while fault != NONE:
        if w.classes[w.faults[fault]["class"]]["effect"] == Effect.SLOW_STORAGE:
            share *= w.faults[fault]["size"]
        fault = w.faults[fault]["next"]
    w.core[0]["storage_factor"] = share
    jobs.retime_readers(w)


@compiled
def share_requests(w: Tables) -> None:
    """Work out how many times the usual requests the open surges make."""
    times = 1.0
    domain = condition.domain_of(w, Scope.FLEET, 0)
    fault = w.domains[domain]["fault"]
    while fault != NONE:
        if w.classes[w.faults[fault]["class"]]["effect"] == Effect.SURGE:
            times *= w.faults[fault]["size"]
        fault = w.faults[fault]["next"]
    for service in range(len(w.services)):
        w.services[service]["surge"] = times


@compiled
def _starve(w: Tables, job: int, share: float) -> None:
    """Keep so large a share of a job's reads from any cache."""
    count_job(w, job)
    w.jobs[job]["starved"] = share
    jobs.retime(w, job)


@compiled
def _take_down(w: Tables, fault: int) -> None:
    """Take down the nodes that a fault takes down, after their jobs have been hit."""
    row = w.faults[fault]
    effect = w.classes[row["class"]]["effect"]
    if effect == Effect.NODE_DOWN:
        _fall(w, row["home"])
    elif effect == Effect.POWER_LOST:
        domain = w.domains[row["home"]]
        for place in range(domain["first"], domain["first"] + domain["count"]):
            _fall(w, w.members[place])


@compiled
def _fall(w: Tables, node: int) -> None:
    w.nodes[node]["boots"] += 1  # a boot under way comes to nothing
    w.nodes[node]["booting"] = False
    repair.go_down(w, node)


@compiled
def _bring_up(w: Tables, fault: int) -> None:
    """Boot the nodes that a fault kept down and nothing else does."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if kind["effect"] == Effect.NODE_DOWN:
        _rise(w, row["home"], kind["lasts_alone"])
    elif kind["effect"] == Effect.POWER_LOST:
        domain = w.domains[row["home"]]
        for place in range(domain["first"], domain["first"] + domain["count"]):
            _rise(w, w.members[place], False)


@compiled
def _rise(w: Tables, node: int, at_once: bool) -> None:
    """Let a node boot; a fault that was a reboot by itself ends with its end."""
    if w.nodes[node]["up"] or w.nodes[node]["booting"] or condition.kept_down(w, node):
        return
    if at_once:
        repair.boot(w, node, 0.0)
    else:
        repair.start_up(w, node)


@compiled
def _tell_end(w: Tables, fault: int) -> None:
    effect = w.classes[w.faults[fault]["class"]]["effect"]
    if effect == Effect.LEAF_DOWN:
        hits.told(w, fault, Said.SWITCH_UP)
    elif effect == Effect.POWER_LOST:
        hits.told(w, fault, Said.POWER_BACK)
    elif w.classes[w.faults[fault]["class"]]["said"] == Said.LINK_DOWN:
        hits.told(w, fault, Said.LINK_UP)


@compiled
def _drain(w: Tables, home: int) -> None:
    """Take a domain's nodes out of service as planned; they keep the jobs they have."""
    domain = w.domains[home]
    for place in range(domain["first"], domain["first"] + domain["count"]):
        node = w.members[place]
        if w.nodes[node]["hold"] == Hold.NOBODY:
            say(w, Said.NODE_DRAINED, 0, node, NONE, NONE)
            machines.take_out(w, node, Hold.PLANNED)
            placement.offer(w, node)


@compiled
def clear(w: Tables, fault: int) -> None:
    """Stop in order the jobs on nodes that planned work waits for; they go on elsewhere, or wait.

    Their state is written before they start again. A service's other replicas answer meanwhile, so
    it is left to whoever moves it.
    """
    domain = w.domains[w.faults[fault]["home"]]
    for place in range(domain["first"], domain["first"] + domain["count"]):
        node = w.members[place]
        job = placement.first_on(w, node, NONE)
        while job != NONE and w.nodes[node]["hold"] == Hold.PLANNED:
            row = w.jobs[job]
            if row["phase"] in (Phase.STARTING, Phase.RUNNING) and row["kind"] != JobKind.SERVICE:
                hits.note(w, fault, job)
                _stop(w, job)
            job = placement.first_on(w, node, job)


@compiled
def _stop(w: Tables, job: int) -> None:
    """Stop a job in order, so that it loses nothing, and let it start again when that is done."""
    row = w.jobs[job]
    saving_s = 0.0
    if row["stage"] == Stage.STEPPING:
        saving_s = row["stall_s"] + row["save_s"]
        jobs.save_and_end(w, job)
    else:
        jobs.end_processes(w, job)
    row["reason"] = Reason.PREEMPTED
    say(w, Said.JOB_PREEMPTED, Reason.PREEMPTED, NONE, NONE, job)
    after(w, saving_s, Kind.REQUEUE, job, 0, row["version"])


@compiled
def _undrain(w: Tables, home: int) -> None:
    domain = w.domains[home]
    for place in range(domain["first"], domain["first"] + domain["count"]):
        node = w.members[place]
        if w.nodes[node]["hold"] == Hold.PLANNED:
            machines.give_back(w, node)
            placement.offer(w, node)
    wake(w)
