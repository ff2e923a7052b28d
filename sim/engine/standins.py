"""Who stands in for a node: the nearest spare, a free node, one of a less urgent job.

As the guards in life: what another plan has taken is left alone, and a node on probation or a lemon
(``remediation.guards.lately``) is put under no job that is above others.
"""

from sim.engine import placement
from sim.engine.facts import can_shrink
from sim.engine.jit import compiled
from sim.engine.machines import ready
from sim.engine.rows_machines import TAKEN
from sim.engine.tables import Array, Tables
from sim.engine.terms import Term
from sim.engine.words import NONE, JobKind, Phase


@compiled
def note_taken(w: Tables, node: int) -> None:
    """Count against a node that a plan takes it out now."""
    times = w.nodes[node]["taken_s"]
    for place in range(TAKEN - 1, 0, -1):
        times[place] = times[place - 1]
    times[0] = w.core[0]["now_s"]


@compiled
def forget_taken(w: Tables, node: int) -> None:
    """Take the last of these back: the plan has given the node back unused."""
    times = w.nodes[node]["taken_s"]
    for place in range(TAKEN - 1):
        times[place] = times[place + 1]
    times[TAKEN - 1] = 0.0


@compiled
def is_trusted(w: Tables, node: int, terms: Array) -> bool:
    """Say whether a ready node is neither a lemon nor back from our hands for too short a time."""
    row, now_s = w.nodes[node], w.core[0]["now_s"]
    times, span_s = row["taken_s"], terms[Term.LEMON_SPAN_S]
    if now_s - times[int(terms[Term.LEMON_AFTER]) - 1] < span_s:
        return False
    if now_s - times[0] >= span_s:
        return True
    return bool(now_s - max(times[0], row["since_s"]) >= terms[Term.PROBATION_S])


@compiled
def ranks(w: Tables) -> tuple[int, int]:
    """Return the lowest and the highest priority of the jobs that run or wait."""
    core = w.core[0]
    job, least, most = core["holder"], 2**31 - 1, -(2**31)
    while job != NONE:
        least = min(least, w.jobs[job]["priority"])
        most = max(most, w.jobs[job]["priority"])
        job = w.jobs[job]["holder_next"]
    for at in range(core["queue_n"]):
        least = min(least, w.jobs[w.queue[at]]["priority"])
        most = max(most, w.jobs[w.queue[at]]["priority"])
    return int(least), int(most)


@compiled
def is_above(w: Tables, job: int) -> bool:
    """Say whether no job comes before this one, and some come after."""
    least, most = ranks(w)
    return bool(w.jobs[job]["priority"] >= most > least)


@compiled
def in_place_of(w: Tables, node: int, job: int, but: int, terms: Array) -> int:
    """Return the node to put in a node's place: the nearest spare, else a free one; or NONE.

    Spares that are to be kept are not used up, and no free node instead of them.
    but: one that is taken already, NONE
    """
    picky = is_above(w, job)
    spare = _nearest_spare(w, node, but, picky, terms)
    if spare != NONE:
        left = placement.count_spares(w, len(w.nodes)) - 1
        if but != NONE and w.nodes[but]["pool"]:
            left -= 1
        return spare if left >= _kept(w, job, terms) else NONE
    free = w.buckets[w.nodes[node]["gpus"]]
    while free != NONE and not _fits(w, free, but, picky, terms):
        free = w.nodes[free]["bucket_next"]
    return int(free)


@compiled
def lender(w: Tables, job: int, terms: Array) -> int:
    """Return the job of lower priority that a node is taken from, or NONE.

    The least urgent that runs; of these one that can shrink, then the smallest.
    """
    best, other, each = NONE, w.core[0]["holder"], w.nodes[0]["gpus"]
    picky = is_above(w, job)
    while other != NONE:
        row = w.jobs[other]
        lower = row["priority"] < w.jobs[job]["priority"] and row["kind"] != JobKind.SERVICE
        can = lower and row["given"] >= each and row["handled"] == NONE
        can = can and row["phase"] == Phase.RUNNING and _lent(w, other, picky, terms) != NONE
        if can and _lends_before(w, other, best):
            best = other
        other = row["holder_next"]
    return int(best)


@compiled
def lent_node(w: Tables, lender: int, job: int, terms: Array) -> int:
    """Return the node that a job lends another: the first that is ready and fits, or NONE."""
    return _lent(w, lender, is_above(w, job), terms)


@compiled
def _lent(w: Tables, lender: int, picky: bool, terms: Array) -> int:
    found, node = NONE, w.jobs[lender]["first"]
    for _ in range(w.jobs[lender]["nodes"]):
        lower = found == NONE or node < found
        if lower and ready(w, node) and _fits(w, node, NONE, picky, terms):
            found = node
        node = w.nodes[node]["next"]
    return int(found)


@compiled
def _nearest_spare(w: Tables, node: int, but: int, picky: bool, terms: Array) -> int:
    """Return the ready spare nearest to a node: same leaf, same rack, then the first; or NONE."""
    best, best_far, row = NONE, 0, w.nodes[node]
    spare = placement.spare(w)
    while spare != NONE:
        other = w.nodes[spare]
        far = 2 * int(other["leaf"] != row["leaf"]) + int(other["rack"] != row["rack"])
        nearer = best == NONE or far < best_far or (far == best_far and spare < best)
        if nearer and other["gpus"] == row["gpus"] and _fits(w, spare, but, picky, terms):
            best, best_far = spare, far
        spare = other["bucket_next"]
    return int(best)


@compiled
def _fits(w: Tables, node: int, but: int, picky: bool, terms: Array) -> bool:
    """Say whether no plan has a node, and it is trusted where that is asked for."""
    free = node != but and not w.nodes[node]["promised"]
    return bool(free and (not picky or is_trusted(w, node, terms)))


@compiled
def _kept(w: Tables, job: int, terms: Array) -> float:
    """Return how many spares a plan for a job must leave."""
    kept: float = terms[Term.SPARES_KEPT]
    if terms[Term.PRIORITY_SPARES] > kept and ranks(w)[1] > w.jobs[job]["priority"]:
        kept = terms[Term.PRIORITY_SPARES]
    return kept


@compiled
def _lends_before(w: Tables, one: int, other: int) -> bool:
    if other == NONE:
        return True
    first, second = w.jobs[one], w.jobs[other]
    if first["priority"] != second["priority"]:
        return bool(first["priority"] < second["priority"])
    shrinks, too = can_shrink(w, one), can_shrink(w, other)
    if shrinks != too:
        return shrinks
    if first["given"] != second["given"]:
        return bool(first["given"] < second["given"])
    return one < other
