"""Decisions about incidents at the engine's speed: what is known, what is open, what comes.

What a policy sees is ``core.situation.Fact`` and what it may choose ``core.choice.Choice``; a
choice becomes steps whose effect is looked for every 15 s, as the daemon carries out a plan.
"""

import math
from enum import IntEnum

from core.choice import Choice
from sim.engine import facts, menu, people, placement, steps, surrogate
from sim.engine.accounts import asked, totals
from sim.engine.jit import compiled
from sim.engine.loop import advance
from sim.engine.room import is_short
from sim.engine.tables import Array, Tables
from sim.engine.words import NONE


class Status(IntEnum):
    """Why ``step`` returned."""

    DECISION = 0  # the next one is due
    OVER = 1  # its time is up
    SHORT = 2  # nothing has begun: make room and call again with the same choice
    SHORT_LATER = 3  # make room and call again with NONE


@compiled
def step(
    w: Tables, choice: int, until_s: float, causes: Array, terms: Array, seen: Array, opened: Array
) -> int:
    """Act on the decision that is due, let time pass to the next one and look; a ``Status``.

    choice: an open ``Choice``; NONE: nothing is due. until_s: epoch seconds, whole 1/1024 s.
    causes: (causes, COLUMNS) f8 and terms: (len(Term),) f8 as ``sim.engine.terms`` says.
    seen: (len(Fact),) f8 and opened: (len(Choice),) bool are filled where a decision is due.
    Where it returns SHORT or SHORT_LATER, compiled code cannot go on: ``sim.engine.room.with_room``
    gives another ``Tables``. Tables with room for a whole life never are.
    """
    if is_short(w):
        return Status.SHORT.value
    if choice != NONE:
        act(w, choice, causes, terms)
    while True:
        advance(w, until_s)
        core = w.core[0]
        if core["short"] != 0:
            return Status.SHORT_LATER.value
        if not core["stop"]:
            return Status.OVER.value
        row = w.troubles[core["decision"]]
        comes = row["person_s"] <= core["now_s"]
        if not row["busy"] and not comes:
            look(w, causes, terms, seen, opened)
            return Status.DECISION.value
        if is_short(w):
            surrogate.look_later(w, core["decision"], 0.0)
            return Status.SHORT_LATER.value
        if comes:
            people.mend(w, core["decision"])
            surrogate.look_later(w, core["decision"], surrogate.LOOK_S)
        else:
            steps.go_on(w, core["decision"], causes)


@compiled
def act(w: Tables, choice: int, causes: Array, terms: Array) -> None:
    """Begin what was chosen for the decision that is due; it must be open."""
    trouble = w.core[0]["decision"]
    if choice == Choice.WAIT:
        surrogate.rest(w, trouble, surrogate.WAIT_S)
        return
    steps.begin(w, trouble, choice, subject(w, trouble), causes, terms)


@compiled
def look(w: Tables, causes: Array, terms: Array, seen: Array, opened: Array) -> None:
    """Fill in what is known about the decision that is due, and which choices are open."""
    trouble = w.core[0]["decision"]
    job = subject(w, trouble)
    facts.see(w, trouble, job, causes, terms, seen)
    menu.offer(w, trouble, job, causes, terms, seen, opened)


@compiled
def subject(w: Tables, trouble: int) -> int:
    """Return the job that a trouble is about: the largest on the blamed node, or NONE."""
    node = w.troubles[trouble]["node"]
    best, job = NONE, placement.first_on(w, node, NONE)
    while job != NONE:
        if best == NONE or w.jobs[job]["given"] > w.jobs[best]["given"]:
            best = job
        job = placement.first_on(w, node, job)
    return best


@compiled
def lost(w: Tables) -> float:
    """Return the GPU-seconds that jobs asked for so far and that were not useful; all stays."""
    core = w.core[0]
    total: float = core["asked_gpu_s"]
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        if row["number"] != NONE and not math.isnan(row["begun_s"]):
            total += asked(w, job, core["now_s"] if math.isnan(row["ended_s"]) else row["ended_s"])
    return total - totals(w)[1]


@compiled
def late(w: Tables) -> float:
    """Return how many requests of all services were late or failed so far."""
    count = 0.0
    for service in range(len(w.services)):
        count += w.services[service]["late"] + w.services[service]["failed"]
    return count
