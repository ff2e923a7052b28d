"""What brings nodes back: reboots, the site's health checks, its crews; and clocks as they move.

A crew comes to a node whose fault does not end by itself: once the site knows of it and takes the
node out (``site.drain``), once somebody else has taken it out, or once it is down; and when no job
has it any more. Each fault that it finds there takes the time of its own; the node is back with the
last. Where the scenario says of a fault that nobody comes, nobody does.
"""

import math

from sim.engine import condition, jobs, machines, placement, thermal
from sim.engine.draws import between, uniform
from sim.engine.heap import after, push
from sim.engine.jit import compiled
from sim.engine.record import say
from sim.engine.tables import Tables
from sim.engine.waiting import wake
from sim.engine.words import BACK, NONE, Back, Effect, Hold, Kind, Purpose, Reason, Said, Scope

_SHUTDOWN_CRASH_S = 10.0  # ByteRobust's inspection period for a GPU that is lost (SOSP'25)


@compiled
def on_event(w: Tables, kind: int, a: int, b: int, version: int) -> None:
    """Let CLOCKS, UP, DOWN or CHECK happen to node ``a``."""
    if kind == Kind.CLOCKS:
        if version == w.nodes[a]["version"]:
            _follow_clocks(w, a)
    elif kind == Kind.UP:
        if version == w.nodes[a]["boots"]:
            _boot_on(w, a, b)
    elif kind == Kind.DOWN:
        go_down(w, a)
    elif math.isnan(w.faults[b]["mended_s"]):
        know(w, b)


@compiled
def reboot(w: Tables, node: int) -> None:
    """Begin to reboot a node on which no job runs; a full scratch volume is emptied by it."""
    say(w, Said.NODE_REBOOT, 0, node, NONE, NONE)
    go_down(w, node)
    boot(w, node, _boot_s(w, node))


@compiled
def go_down(w: Tables, node: int) -> None:
    """Take a node down; its jobs must have been told."""
    machines.go_down(w, node)
    placement.offer(w, node)


@compiled
def start_up(w: Tables, node: int) -> None:
    """Let a node that is down boot now that it can, unless it does already."""
    if not w.nodes[node]["booting"]:
        boot(w, node, _boot_s(w, node))


@compiled
def boot(w: Tables, node: int, wait_s: float) -> None:
    """Let a node that is down be up after a while; an earlier boot comes to nothing."""
    row = w.nodes[node]
    row["booting"] = True
    row["boots"] += 1
    after(w, wait_s, Kind.UP, node, 0, row["boots"])


@compiled
def know(w: Tables, fault: int) -> None:
    """Let the site know of a fault on a node, and take the node out where it does so."""
    row = w.faults[fault]
    if row["known"]:
        return
    row["known"] = True
    node = row["node"]
    if node == NONE:
        return
    w.nodes[node]["known"] += 1
    if w.site[0]["drain"] and keeps_out(w, fault):
        if w.nodes[node]["hold"] == Hold.NOBODY:
            say(w, Said.NODE_DRAINED, 0, node, NONE, NONE)
        machines.take_out(w, node, Hold.SITE)
        placement.offer(w, node)
    consider(w, node)


@compiled
def check_later(w: Tables, fault: int) -> None:
    """Let the next health check find a fault that nobody knows of, by the checks' recall.

    What no check can miss is found for sure: a GPU that is gone, a node that is down.
    """
    period_s = w.site[0]["check_s"]
    if period_s <= 0 or w.faults[fault]["known"]:
        return
    turn = math.floor((w.core[0]["now_s"] - w.core[0]["began_s"]) / period_s) + 1.0
    effect = w.classes[w.faults[fault]["class"]]["effect"]
    found = effect in (Effect.GPU_LOST, Effect.NODE_DOWN)
    if found or lucky(w, fault, int(turn) % LANES, Purpose.CHECK) < w.site[0]["check_recall"]:
        due_s = w.core[0]["began_s"] + turn * period_s
        push(w, due_s, Kind.CHECK, w.faults[fault]["home"], fault, 0)


@compiled
def wants_crew(w: Tables, fault: int) -> bool:
    """Say whether an open fault ends only by a crew's work, and a crew would come for it."""
    return bool(is_by_crew(w, fault) and not math.isinf(w.faults[fault]["lasts_s"]))


@compiled
def is_by_crew(w: Tables, fault: int) -> bool:
    """Say whether a fault is of a class that ends only by a crew's work."""
    kind = w.classes[w.faults[fault]["class"]]
    return bool(kind["scope"] in (Scope.GPU, Scope.NODE) and not kind["lasts_alone"])


@compiled
def keeps_out(w: Tables, fault: int) -> bool:
    """Say whether a site takes a node out for an open fault: it wants a crew, or jobs die of it.

    What ends with a restart of the job does not: by then it is gone.
    """
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if wants_crew(w, fault):
        return True
    deadly = kind["effect"] in (Effect.GPU_ERROR, Effect.CRASH_JOB, Effect.HANG)
    on_node = kind["scope"] in (Scope.GPU, Scope.NODE) and not row["restart_mends"]
    return bool(deadly and on_node and not math.isinf(row["lasts_s"]))


@compiled
def consider(w: Tables, node: int) -> None:
    """Send a crew to a node if it has work there and may begin: each fault takes its own time."""
    row = w.nodes[node]
    away = row["hold"] != Hold.NOBODY and row["free"] == row["gpus"] and row["back"] != Back.AS_UP
    if row["booting"] or (row["up"] and not away):
        return
    more, fault = False, row["fault"]
    while fault != NONE:
        if wants_crew(w, fault) and not w.faults[fault]["crew"]:
            w.faults[fault]["crew"], row["crewed"] = True, True
            after(w, w.faults[fault]["lasts_s"], Kind.MENDED, fault, 0, 0)
            more = True
        fault = w.faults[fault]["next"]
    if more and not row["repair"]:
        machines.carry(w, node)
        row["repair"] = True
        machines.changed(w, node)


@compiled
def after_mend(w: Tables, node: int) -> None:
    """Let a crew go, and the site give its node back, where nothing is left to repair."""
    row = w.nodes[node]
    fault = row["fault"]
    while fault != NONE:
        if keeps_out(w, fault) and (row["repair"] or w.faults[fault]["known"]):
            return
        fault = w.faults[fault]["next"]
    if row["repair"]:
        machines.carry(w, node)
        row["repair"] = False
        machines.changed(w, node)
    if row["back"] == Back.CHECKED:
        after(w, w.site[0]["validate_s"], Kind.NOTICE, node, BACK, 0)
    if row["hold"] == Hold.SITE:
        machines.give_back(w, node)
        if row["up"]:
            say(w, Said.NODE_RETURNED, 0, node, NONE, NONE)
    placement.offer(w, node)
    wake(w)


@compiled
def retime_on(w: Tables, node: int) -> None:
    """Let the jobs on a node take over its pace, each once a touch (``core.touches``)."""
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        if w.jobs[job]["touch"] != w.core[0]["touches"]:
            w.jobs[job]["touch"] = w.core[0]["touches"]
            jobs.retime(w, job)
        job = placement.first_on(w, node, job)


@compiled
def _boot_on(w: Tables, node: int, stage: int) -> None:
    """Bring a node up: first what a boot repairs is repaired, then it is up, if it can be."""
    row = w.nodes[node]
    if stage == 0:
        fault = row["fault"]
        while fault != NONE:
            if w.faults[fault]["reboot_mends"]:
                after(w, 0.0, Kind.MENDED, fault, 0, 0)
            fault = w.faults[fault]["next"]
        after(w, 0.0, Kind.UP, node, 1, row["boots"])
        return
    row["booting"] = False
    if condition.kept_down(w, node):
        consider(w, node)
        return
    if condition.is_stopped(w, node):
        row["pinned"] = True
        condition.refresh(w, node)
        end_rollouts(w)
    machines.come_up(w, node)
    say(w, Said.NODE_RETURNED, 0, node, NONE, NONE)
    if row["back"] != Back.NOT:
        after(w, 0.0, Kind.NOTICE, node, BACK, 0)
    consider(w, node)
    placement.offer(w, node)
    wake(w)


@compiled
def end_rollouts(w: Tables) -> None:
    """Let the stopped roll-outs be over once no node has a bad driver any more."""
    for node in range(len(w.nodes)):
        if w.nodes[node]["driver"] != 0:
            return
    fault = w.domains[condition.domain_of(w, Scope.FLEET, 0)]["fault"]
    while fault != NONE:
        if w.faults[fault]["stopped"]:
            after(w, 0.0, Kind.MENDED, fault, 0, 0)
        fault = w.faults[fault]["next"]


@compiled
def _boot_s(w: Tables, node: int) -> float:
    site, seed = w.site[0], w.core[0]["seed"]
    number = w.nodes[node]["boots"]
    return between(seed, Purpose.REBOOT, node, number, site["reboot_lo_s"], site["reboot_hi_s"])


@compiled
def _follow_clocks(w: Tables, node: int) -> None:
    """Follow a warming or cooling node's clocks, and with them its jobs' pace."""
    machines.carry(w, node)
    row = w.nodes[node]
    for gpu in range(row["gpus"]):
        if thermal.too_hot(w, node, gpu):
            _shut_down(w, node, gpu)
    machines.changed(w, node)
    w.core[0]["touches"] += 1
    retime_on(w, node)


@compiled
def _shut_down(w: Tables, node: int, gpu: int) -> None:
    """Let a GPU save itself from heat that no clock can hold out against."""
    row = w.nodes[node]
    row["alive"][gpu], row["shut"][gpu] = 0, 1
    say(w, Said.THERMAL, 0, node, gpu, NONE)
    job, fault = row["job"][gpu], condition.open_on(w, node, Effect.COOLING)
    if job != NONE:
        jobs.hang(w, job, fault, w.site[0]["hang_timeout_s"])
        jobs.crash_later(w, job, Reason.GPU_MISSING, fault, _SHUTDOWN_CRASH_S)


@compiled
def lucky(w: Tables, fault: int, lane: int, purpose: int) -> float:
    """Return a number in (0, 1) of a fault's own: the same whatever was done before it."""
    row = w.faults[fault]
    number = int(row["index"]) * LANES + int(lane)
    return uniform(w.core[0]["seed"], purpose, address(w, fault), number)


@compiled
def luck_at(w: Tables, kind: int, entity: int, index: int, lane: int) -> float:
    """Return a number in (0, 1) that a fault of a class will have: ``lucky`` with REPAIR."""
    number = int(index) * LANES + lane
    return uniform(w.core[0]["seed"], Purpose.REPAIR, int(kind) * _CLASS + int(entity), number)


@compiled
def address(w: Tables, fault: int) -> int:
    """Return by what a fault's random numbers are found: its class and what it strikes."""
    row = w.faults[fault]
    return int(row["class"]) * _CLASS + int(row["entity"])


_CLASS = 2**32
LANES = 128  # numbers a fault has of each purpose
