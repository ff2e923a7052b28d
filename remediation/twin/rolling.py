"""Roll-outs: a twin lived on from a first choice by a policy within, and what that loses."""

import math
from enum import IntEnum

from core.choice import Choice
from remediation.policies.compiled import choose_by_network, choose_greedily, recommend
from remediation.twin.supposing import suppose
from sim.engine import decisions, surrogate
from sim.engine.accounts import wanted
from sim.engine.decisions import Status
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.placement import count_spares
from sim.engine.progress import best_at, step_at
from sim.engine.tables import Array, Tables
from sim.engine.terms import Term
from sim.engine.words import NONE, Hold, Phase


class Inner(IntEnum):
    """Kinds of policy that roll-outs go on with; the numbers they go by are given beside."""

    RUNBOOK = 0  # numbers: its knobs
    GREEDY = 1  # its weights
    FIRST = 2  # choices: the first that is open
    NETWORK = 3  # a trained one, by ``policies.compiled.flat``


OVER = -2
Ways = tuple[Array, Array, Array, Array, Array]
_WAITED_S = 900.0
_DAY_S = 86400.0
_FIX_S = 900.0  # what is amiss with a job at the end takes so long to be seen to, beside a restart
_NEEDS = 0.5  # share of faults that need another node (Unicron: 37 %; others are warnings)


@compiled
def copy(fresh: Tables, w: Tables) -> None:
    """Make a twin what it was before a roll-out: rows in use only."""
    w.core[0], w.site[0] = fresh.core[0], fresh.site[0]
    core = fresh.core[0]
    for at in range(len(fresh.members)):
        w.members[at] = fresh.members[at]
    for at in range(len(fresh.nodes)):
        w.nodes[at] = fresh.nodes[at]
    for at in range(len(fresh.domains)):
        w.domains[at] = fresh.domains[at]
    for at in range(len(fresh.buckets)):
        w.buckets[at] = fresh.buckets[at]
    for at in range(core["jobs_n"]):
        w.jobs[at] = fresh.jobs[at]
    for at in range(core["queue_n"]):
        w.queue[at] = fresh.queue[at]
    for at in range(core["heap_n"]):
        w.heap[at] = fresh.heap[at]
    for at in range(core["troubles_n"]):
        w.troubles[at] = fresh.troubles[at]


@compiled_with_arrays
def follow(inner: int, numbers: Array, facts: Array, opened: Array) -> int:
    """Return what a policy within chooses."""
    if inner == Inner.RUNBOOK:
        return int(recommend(facts, opened, numbers))
    if inner == Inner.GREEDY:
        return int(choose_greedily(facts, opened, numbers))
    if inner == Inner.NETWORK:
        return int(choose_by_network(facts, opened, numbers))
    for number in numbers:
        if opened[int(number)]:
            return int(number)
    return Choice.WAIT.value


@compiled_with_arrays
def live_on(w: Tables, choice: int, until_s: float, inner: int, ways: Ways) -> int:
    """Live on from a choice by a policy until a time; ``OVER`` when it has come.

    Else a table was short: the choice to call again with once there is room. inner: an ``Inner``;
    ways: its numbers, the causes and terms of ``decisions.step``, and (len(Fact),) and
    (len(Choice),) that are overwritten

    Who waits waits for a while: were it but to the next look, where the policy may act, waiting
    would hardly ever lose, and be chosen again there.
    """
    numbers, causes, terms, facts, opened = ways
    trouble, waits_s = w.core[0]["decision"], w.core[0]["now_s"]
    if choice == Choice.WAIT.value:
        waits_s += _WAITED_S
    while True:
        status = decisions.step(w, choice, until_s, causes, terms, facts, opened)
        if status == Status.OVER:
            return OVER
        if status == Status.SHORT:
            return choice
        if status == Status.SHORT_LATER:
            return NONE
        if w.core[0]["decision"] == trouble and w.core[0]["now_s"] < waits_s:
            choice = Choice.WAIT.value
        else:
            choice = follow(inner, numbers, facts, opened)


@compiled
def priced(w: Tables, terms: Array, late_gpu_s: float) -> float:
    """Return what was lost so far, with pages and late requests at their price, GPU-seconds."""
    total = decisions.lost(w) + w.core[0]["pages"] * terms[Term.PAGE_GPU_S]
    if len(w.services) > 0:
        total += decisions.late(w) * late_gpu_s
    return float(total)


@compiled
def owed(w: Tables, terms: Array) -> float:
    """Return what is still to be lost by what is amiss at the end of a roll-out, GPU-seconds.

    Steps that will be done again, jobs that do not run or lack nodes or speed, and the chance that
    a node which is away is missed before it is back.
    """
    core, away, total = w.core[0], 0, 0.0
    for node in range(len(w.nodes)):
        if not w.nodes[node]["up"] or w.nodes[node]["hold"] != Hold.NOBODY:
            away += 1
    back_s = terms[Term.REPAIR_S] / (1.0 + away)
    squares, gpus = 0.0, 1.0
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        if row["number"] != NONE and row["phase"] != Phase.COMPLETED:
            total += _owed_by(w, job, back_s)
            squares += wanted(w, job) ** 2.0
            gpus += wanted(w, job)
    spares = count_spares(w, len(w.nodes))
    mean = terms[Term.FAULTS_A_DAY] * _NEEDS * terms[Term.REPAIR_S] / _DAY_S
    missed = _shortage(mean, spares) - _shortage(mean, spares + away)
    wait_s = min(back_s, 2.0 * terms[Term.PEOPLE_S])
    return float(total + missed * squares / gpus * wait_s)


@compiled
def _owed_by(w: Tables, job: int, back_s: float) -> float:
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    gpus, given = wanted(w, job), row["given"]
    fix_s = w.site[0]["restart_s"] + w.site[0]["restart_s_per_gpu"] * gpus + _FIX_S
    sound = min(best_at(row, row["row_s"], now_s), row["corrupt_step"])
    again = row["good_step"] - step_at(row, row["row_s"], now_s)
    total = max(again, 0.0) * row["ideal_s"] * max(given, 1)
    total += max(row["good_step"] - sound, 0.0) * row["ideal_s"] * max(given, 1)
    if row["phase"] == Phase.RUNNING:
        total += (1.0 - surrogate.pace(w, job)) * given * fix_s
    elif row["phase"] == Phase.STARTING:
        total += max(row["since_s"] + row["launch_s"] - now_s, 0.0) * gpus
    elif row["phase"] == Phase.STOPPED:
        total += fix_s * gpus
    else:
        total += (fix_s + back_s) * gpus
    if given > 0:
        total += max(gpus - given, 0) * back_s
    return float(total)


@compiled
def _shortage(mean: float, spares: int) -> float:
    """Return the probability that more nodes are needed than there are spares: Poisson."""
    chance, term = 1.0, math.exp(-min(mean, 700.0))
    for number in range(spares + 1):
        chance -= term
        term *= mean / (number + 1.0)
    return max(chance, 0.0)


@compiled_with_arrays
def roll_out(
    twins: tuple[Tables, Tables],
    guesses: tuple[Array, Array, Array],
    plan: tuple[Array, Array],
    inner: int,
    ways: Ways,
) -> bool:
    """Roll every guess out from every choice; False: a table was short of room.

    twins: as mirrored, and one with room that is overwritten; guesses: (S,) of GUESS, (1,) of
    TO_COME and the shares of future faults; plan: (C,) choices, and (C, S) that is filled with what
    each loses, GPU-seconds; inner, ways: as ``live_on`` has them
    """
    fresh, w = twins
    rows, to_come, kinds = guesses
    choices, losses = plan
    for at in range(len(rows)):
        for number in range(len(choices)):
            copy(fresh, w)
            suppose(w, rows, at, to_come, kinds)
            choice = int(choices[number])
            if live_on(w, choice, to_come[0]["until_s"], inner, ways) != OVER:
                return False
            losses[number, at] = priced(w, ways[2], 0.0) + owed(w, ways[2])
    return True
