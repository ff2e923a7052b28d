"""What may be behind an incident, laid into a twin, and what may come: the compiled half."""

import math

import numpy as np

from sim.engine import effects, jobs, surrogate
from sim.engine.draws import exponential, lognormal, uniform
from sim.engine.heap import after
from sim.engine.jit import compiled
from sim.engine.repair import boot
from sim.engine.tables import Array, Tables
from sim.engine.words import BACK, FAILED, NONE, Back, Effect, Hold, Kind, Phase, Purpose, Scope

# One thing that may be so; the same for all choices that are compared.
GUESS = np.dtype(
    [
        ("seed", "i8"),
        ("kind", "i4"),  # row of ``classes``; NONE: nothing is broken
        ("entity", "i4"),  # of the class's scope
        ("home", "i4"),  # node, or row of ``domains``
        ("gpu", "i1"),
        ("size", "f4"),
        ("lasts_s", "f8"),  # from now until it ends by itself, or a crew's work
        ("restart_mends", "b1"),
        ("reboot_mends", "b1"),
        ("hung", "b1"),  # the job is seen to hang
    ],
    align=True,
)
# What is to come: how often, of which classes, and how soon nodes come back.
TO_COME = np.dtype(
    [
        ("faults_a_s", "f8"),
        ("until_s", "f8"),  # epoch
        ("away_mu", "f8"),  # of ln of the time that crews take for a node, seconds
        ("away_sigma", "f8"),
        ("boot_s", "f8"),
        ("frail_node", "i4"),  # one node whose rate is so many times the others'
        ("frail_times", "f8"),
    ],
    align=True,
)
_SOON_BACK = 0.4  # share of nodes that are out on which no crew has work: assumed
_TURNS, _ROOT_2 = 16, math.sqrt(2.0)  # a longer time than the past one is tried for so often
_TOLD_S = 120.0  # a job that stands still without this incident is told of so late
_LANE_NODES, _LANE_FAULTS = 1 << 40, 1 << 41  # addresses of random numbers that no fault has
_BREWS = (Effect.MEMORY_LEAK, Effect.VOLUME_FILLING, Effect.ECC_GROWTH)


@compiled
def suppose(w: Tables, guesses: Array, at: int, to_come: Array, kinds: Array) -> None:
    """Lay one guess into a twin: what is broken, when nodes come back, what will break.

    kinds: (classes,) f8 the cumulative shares of future faults
    """
    core = w.core[0]
    core["seed"] = guesses[at]["seed"]
    trouble = w.troubles[core["decision"]]
    trouble["fault"] = NONE
    if guesses[at]["kind"] != NONE:
        trouble["fault"] = _break(w, guesses, at)
    _hang(w, guesses, at, trouble["fault"])
    _bring_back(w, guesses, at, to_come)
    _sow(w, to_come, kinds)
    surrogate.begin(w)
    for job in range(core["jobs_n"]):
        if job != trouble["job"] and w.jobs[job]["phase"] == Phase.STOPPED:
            after(w, _TOLD_S, Kind.NOTICE, job, FAILED, w.jobs[job]["version"])


@compiled
def _break(w: Tables, guesses: Array, at: int) -> int:
    """Let what is supposed be broken; it is known already, so that nobody is told of it again."""
    guess, core = guesses[at], w.core[0]
    trouble = w.troubles[core["decision"]]
    fault = core["faults_n"]
    core["faults_n"] += 1
    row, kind = w.faults[fault], w.classes[guess["kind"]]
    own = kind["scope"] in (Scope.GPU, Scope.NODE)
    row["class"], row["entity"], row["index"], row["parent"] = (
        guess["kind"],
        guess["entity"],
        0,
        NONE,
    )
    row["node"] = guess["home"] if own else NONE
    row["home"], row["gpu"], row["next"] = guess["home"], guess["gpu"], NONE
    row["job"], row["number"] = trouble["job"], trouble["number"]
    row["share"], row["phase"], row["severity"], row["size"] = 1.0, 0, 1.0, guess["size"]
    row["onset_s"], row["mended_s"] = core["now_s"], math.nan
    row["noticed_s"], row["warned_s"] = core["now_s"], math.nan
    row["lasts_s"] = guess["lasts_s"]
    row["restart_mends"], row["reboot_mends"] = guess["restart_mends"], guess["reboot_mends"]
    row["known"], row["crew"], row["stopped"], row["interrupted"] = False, False, False, 0
    effects.strike(w, fault)
    if not math.isnan(row["mended_s"]):
        return NONE
    if kind["ramp_s"] > 0 and kind["effect"] not in (Effect.DRIVER, *_BREWS):
        row["share"] = 1.0
        effects.show(w, fault)
    by_itself = kind["lasts_alone"] or kind["scope"] not in (Scope.GPU, Scope.NODE, Scope.JOB)
    if by_itself:
        after(w, guess["lasts_s"], Kind.MENDED, fault, 0, 0)
    return int(fault)


@compiled
def _hang(w: Tables, guesses: Array, at: int, fault: int) -> None:
    """Let the job hang that is seen to, whatever is behind it."""
    job = w.troubles[w.core[0]["decision"]]["job"]
    if guesses[at]["hung"] and w.jobs[job]["phase"] == Phase.RUNNING:
        jobs.hang(w, job, fault, w.site[0]["hang_timeout_s"])


@compiled
def _bring_back(w: Tables, guesses: Array, at: int, to_come: Array) -> None:
    """Draw when nodes that are out come back, given how long they have been out."""
    guess = guesses[at]
    downs = guess["kind"] != NONE and w.classes[guess["kind"]]["effect"] == Effect.NODE_DOWN
    for node in range(len(w.nodes)):
        row = w.nodes[node]
        if row["up"] and row["hold"] == Hold.NOBODY:
            continue
        wait_s = guess["lasts_s"]
        if row["up"] or not (downs and guess["home"] == node):
            wait_s = _still_away_s(w, node, to_come)
        if not row["up"]:
            boot(w, node, wait_s)
        if row["hold"] != Hold.NOBODY and row["free"] == row["gpus"]:
            row["back"] = Back.CHECKED
            after(w, wait_s, Kind.NOTICE, node, BACK, 0)


@compiled
def _still_away_s(w: Tables, node: int, to_come: Array) -> float:
    """Draw how much longer a node stays out: it boots or is checked, or a crew has work on it.

    The longer it has been out, the likelier is a crew, and the longer that still takes.
    """
    core, come = w.core[0], to_come[0]
    seed, who = core["seed"], _LANE_NODES + node
    passed_s = max(core["now_s"] - w.nodes[node]["since_s"], 1.0)
    mu, sigma = come["away_mu"], come["away_sigma"]
    soon = _SOON_BACK * math.exp(-passed_s / come["boot_s"])
    late = (1.0 - _SOON_BACK) * 0.5 * math.erfc((math.log(passed_s) - mu) / (sigma * _ROOT_2))
    if uniform(seed, Purpose.REBOOT, who, 0) * (soon + late) < soon:
        return float(come["boot_s"] * exponential(seed, Purpose.REPAIR, who, 0))
    for turn in range(_TURNS):
        takes_s = lognormal(seed, Purpose.REPAIR, who, 1 + turn, mu, sigma)
        if takes_s > passed_s:
            return float(takes_s - passed_s)
    return float(passed_s * exponential(seed, Purpose.REPAIR, who, 0))


@compiled
def _sow(w: Tables, to_come: Array, kinds: Array) -> None:
    """Put the faults to come on the heap: so many a second, each on any unit of its scope."""
    core, come = w.core[0], to_come[0]
    seed, wait_s, number = core["seed"], 0.0, 0
    while True:
        wait_s += exponential(seed, Purpose.ARRIVAL, _LANE_FAULTS, number) / come["faults_a_s"]
        if not core["now_s"] + wait_s < come["until_s"]:
            return
        kind = 0
        luck = uniform(seed, Purpose.FAULT, _LANE_FAULTS, 2 * number)
        while kind < len(kinds) - 1 and luck >= kinds[kind]:
            kind += 1
        luck = uniform(seed, Purpose.FAULT, _LANE_FAULTS, 2 * number + 1)
        entity = _entity(w, w.classes[kind]["scope"], luck, to_come)
        number += 1
        w.drawn[entity, kind] = number  # its random numbers are its own
        after(w, wait_s, Kind.ARRIVAL, entity, kind, 0)


@compiled
def _entity(w: Tables, scope: int, luck: float, to_come: Array) -> int:
    """Return which unit of a scope is struck."""
    come, count = to_come[0], len(w.nodes)
    if scope in (Scope.GPU, Scope.NODE):
        at = luck * (count - 1.0 + come["frail_times"])
        if at < come["frail_times"]:
            return int(come["frail_node"])
        return int(min(at - come["frail_times"] + 1.0, count - 1.0))
    if scope in (Scope.JOB, Scope.STORAGE, Scope.FLEET):
        return 0
    units = 0
    for domain in range(len(w.domains)):
        if w.domains[domain]["scope"] == scope:
            units += 1
    return int(luck * units)
