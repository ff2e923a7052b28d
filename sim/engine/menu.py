"""Which choices are open: what can be carried out, within the shield's bounds.

The bounds are those of the guards, so that none of what is offered would be refused: nodes out by
our hand, in all and in a rack; a target left alone for a while after it was disturbed; actions an
hour; how likely it is that the node is to blame before it is taken out; spares that are kept; a
checkpoint to return to.
"""

import math

from core.choice import Choice
from core.situation import Fact
from sim.engine import condition, placement
from sim.engine.blame import has
from sim.engine.facts import can_shrink, saved_at
from sim.engine.jit import compiled
from sim.engine.machines import ready
from sim.engine.progress import checkpoint_at
from sim.engine.rows_cluster import ACTS
from sim.engine.tables import Array, Tables
from sim.engine.terms import KNOB, Knob, Term
from sim.engine.words import NONE, Hold, JobKind, Phase, Scope, Stage

_STARTABLE = (Phase.RUNNING, Phase.STARTING, Phase.STOPPED)
_HOUR_S = 3600.0
_MOST_LOADERS = 16.0


@compiled
def offer(
    w: Tables, trouble: int, job: int, causes: Array, terms: Array, facts: Array, opened: Array
) -> None:
    """Fill in which choices are open about a trouble and the job on its blamed node, or NONE."""
    opened[:] = False
    opened[Choice.WAIT] = True
    row = w.troubles[trouble]
    opened[Choice.ESCALATE] = w.jobs[row["job"]]["paged"] == 0
    if job == NONE or w.jobs[job]["phase"] not in _STARTABLE or w.jobs[job]["handled"] != NONE:
        return
    acts = _acts_left(w, terms)
    opened[Choice.CHECKPOINT] = w.jobs[job]["stage"] == Stage.STEPPING and acts >= 1
    if not can_return(w, job):
        return
    node = row["node"]
    others = others_ready(w, job, node, NONE)
    sound = others and ready(w, node)
    rested = _rested(w, w.jobs[job]["acted_s"], terms)
    opened[Choice.RESTART] = sound and rested and acts >= 2
    alone = _has_only(w, node, job)
    opened[Choice.REBOOT] = (
        sound and rested and alone and acts >= 3 and _rested(w, w.nodes[node]["acted_s"], terms)
    )
    opened[Choice.ROLL_BACK] = sound and rested and acts >= 1 and _has_older(w, job)
    opened[Choice.TUNE] = rested and others and acts >= 1 and _turns(w, job, row["cause"], causes)
    sure = facts[Fact.NODE_BLAMED] > 0
    if sure and facts[Fact.NODE_BLAMED] >= terms[Term.LEAST_PROBABILITY] and others:
        _offer_moves(w, trouble, job, terms, opened)
    if facts[Fact.NODE_BLAMED] + facts[Fact.OTHER_BLAMED] >= terms[Term.LEAST_PROBABILITY]:
        opened[Choice.SWAP_BOTH] = acts >= 4 and _can_swap_both(w, trouble, job, terms)


@compiled
def _offer_moves(w: Tables, trouble: int, job: int, terms: Array, opened: Array) -> None:
    """Fill in what takes the blamed node from the job."""
    node, acts = w.troubles[trouble]["node"], _acts_left(w, terms)
    if not _may_take(w, node, job, terms) or out_of_room(w, node, NONE, terms):
        return
    swap = in_place_of(w, node, NONE, terms[Term.SPARES_KEPT]) != NONE
    opened[Choice.SWAP] = swap and acts >= 3
    opened[Choice.SWAP_AND_REPAIR] = (
        swap and acts >= 4 and w.nodes[node]["up"] and _has_only(w, node, job)
    )
    opened[Choice.SHRINK] = can_shrink(w, job) and acts >= 2
    opened[Choice.BORROW] = acts >= 4 and lender(w, job) != NONE


@compiled
def _can_swap_both(w: Tables, trouble: int, job: int, terms: Array) -> bool:
    row = w.troubles[trouble]
    node, other = row["node"], row["other_node"]
    named = row["placed"] and row["other_placed"] and row["other_probability"] > 0
    if not named or node == other or not has(w, other, job):
        return False
    if not _may_take(w, node, job, terms) or not _may_take(w, other, job, terms):
        return False
    if out_of_room(w, node, other, terms) or not others_ready(w, job, node, other):
        return False
    kept = terms[Term.SPARES_KEPT]
    first = in_place_of(w, node, NONE, kept)
    if first == NONE:
        return False
    if w.nodes[first]["pool"]:
        kept += 1
    return in_place_of(w, other, first, kept) != NONE


@compiled
def _may_take(w: Tables, node: int, job: int, terms: Array) -> bool:
    """Say whether a node is a whole one of the job, and was left alone for long enough."""
    whole = w.jobs[job]["given"] >= w.nodes[node]["gpus"] and w.nodes[node]["held_by"] == job
    return bool(whole and _rested(w, w.nodes[node]["acted_s"], terms))


@compiled
def out_of_room(w: Tables, node: int, other: int, terms: Array) -> bool:
    """Say whether taking out a node, and another, would pass the bound in all or in a rack."""
    core = w.core[0]
    mine = len(w.nodes) - core["kept"]
    most = min(terms[Term.MOST_OUT], max(1.0, math.floor(terms[Term.MOST_OUT_SHARE] * mine)))
    more = _adds(w, node) + (_adds(w, other) if other != NONE else 0)
    if more == 0:
        return False
    if core["out"] + more > most:
        return True
    here = _adds(w, node)
    if other != NONE and w.nodes[other]["rack"] == w.nodes[node]["rack"]:
        here += _adds(w, other)
    if here and out_in_rack(w, node) + here > terms[Term.MOST_OUT_RACK]:
        return True
    if other != NONE and w.nodes[other]["rack"] != w.nodes[node]["rack"]:
        return bool(_adds(w, other) and out_in_rack(w, other) + 1 > terms[Term.MOST_OUT_RACK])
    return False


@compiled
def out_in_rack(w: Tables, node: int) -> int:
    """Return how many nodes of a node's rack are out by our hand."""
    domain = condition.domain_of(w, Scope.RACK, w.nodes[node]["rack"])
    count = 0
    if domain != NONE:
        first = w.domains[domain]["first"]
        for place in range(first, first + w.domains[domain]["count"]):
            if w.nodes[w.members[place]]["hold"] == Hold.AGENT:
                count += 1
    return count


@compiled
def _adds(w: Tables, node: int) -> int:
    """Return 1 for a node that would be taken out by us, 0 for one that somebody keeps already."""
    return 1 if w.nodes[node]["hold"] == Hold.NOBODY else 0


@compiled
def in_place_of(w: Tables, node: int, but: int, kept: float) -> int:
    """Return the node to put in a node's place: the nearest spare, else a free one; or NONE.

    but: one that is taken already; kept: spares that must be left, that one not counted
    """
    if placement.count_spares(w, len(w.nodes)) - 1 >= kept:
        spare = nearest_spare(w, node, but)
        if spare != NONE:
            return spare
    free = w.buckets[w.nodes[node]["gpus"]]
    if free == but and free != NONE:
        free = w.nodes[free]["bucket_next"]
    return int(free)


@compiled
def nearest_spare(w: Tables, node: int, but: int) -> int:
    """Return the ready spare nearest to a node: same leaf, same rack, then the first; or NONE."""
    best, best_far, row = NONE, 0, w.nodes[node]
    spare = placement.spare(w)
    while spare != NONE:
        other = w.nodes[spare]
        far = 2 * int(other["leaf"] != row["leaf"]) + int(other["rack"] != row["rack"])
        fits = other["gpus"] == row["gpus"] and spare != but
        nearer = best == NONE or far < best_far or (far == best_far and spare < best)
        if fits and nearer:
            best, best_far = spare, far
        spare = other["bucket_next"]
    return int(best)


@compiled
def lender(w: Tables, job: int) -> int:
    """Return the job of lower priority that a node is taken from, or NONE.

    The least urgent; of these one that can shrink, then the smallest.
    """
    best, other, each = NONE, w.core[0]["holder"], w.nodes[0]["gpus"]
    while other != NONE:
        row = w.jobs[other]
        lower = row["priority"] < w.jobs[job]["priority"] and row["kind"] != JobKind.SERVICE
        can = lower and row["given"] >= each and row["handled"] == NONE
        if can and lent_node(w, other) != NONE and _lends_before(w, other, best):
            best = other
        other = row["holder_next"]
    return int(best)


@compiled
def lent_node(w: Tables, job: int) -> int:
    """Return the last node of a job that is ready, or NONE."""
    found, node = NONE, w.jobs[job]["first"]
    for _ in range(w.jobs[job]["nodes"]):
        if ready(w, node):
            found = node
        node = w.nodes[node]["next"]
    return int(found)


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


@compiled
def can_return(w: Tables, job: int) -> bool:
    """Say whether a job has a checkpoint to start from, or needs none: it can save, or stands.

    What a job had that has failed before its first checkpoint is lost already.
    """
    row = w.jobs[job]
    if row["kind"] == JobKind.SERVICE or row["stage"] == Stage.STEPPING:
        return True
    if row["phase"] == Phase.STOPPED:
        return True
    return not math.isinf(saved_at(w, job))


@compiled
def _has_older(w: Tables, job: int) -> bool:
    """Say whether there is a checkpoint before the newest."""
    row = w.jobs[job]
    if row["kind"] == JobKind.SERVICE or row["ideal_s"] <= 0 or math.isinf(row["interval_s"]):
        return False
    step = checkpoint_at(row, row["row_s"], w.core[0]["now_s"])[1]
    return bool(step > row["interval_s"] / row["ideal_s"])


@compiled
def _turns(w: Tables, job: int, cause: int, causes: Array) -> bool:
    """Say whether there is a knob that the blamed cause calls for and that can be turned."""
    knob, row = int(causes[cause, KNOB]), w.jobs[job]
    served = row["service"] != NONE and w.services[row["service"]]["due_s"] > 0
    if knob == Knob.LOADERS:
        return bool(row["kind"] != JobKind.SERVICE and 2 * row["loaders"] <= _MOST_LOADERS)
    if knob == Knob.CANARY:
        return bool(served and w.services[row["service"]]["canary"] > 0)
    if knob == Knob.REPLICAS:
        return bool(served and more_replicas(w, job) > w.services[row["service"]]["replicas"])
    return knob == Knob.ROLLOUT


@compiled
def more_replicas(w: Tables, job: int) -> int:
    """Return half as many replicas more, as far as the job's GPUs hold them."""
    service = w.services[w.jobs[job]["service"]]
    most = w.jobs[job]["given"] // max(service["gpus_each"], 1)
    return int(min(most, math.ceil(1.5 * service["replicas"])))


@compiled
def others_ready(w: Tables, job: int, node: int, other: int) -> bool:
    """Say whether all nodes of a job but two are ready; NONE: but none."""
    at = w.jobs[job]["first"]
    while at != NONE:
        if at not in (node, other) and not ready(w, at):
            return False
        at = w.nodes[at]["next"]
    return True


@compiled
def _has_only(w: Tables, node: int, job: int) -> bool:
    """Say whether no other job has GPUs of a node."""
    first = placement.first_on(w, node, NONE)
    return bool(first == job and placement.first_on(w, node, job) == NONE)


@compiled
def _rested(w: Tables, acted_s: float, terms: Array) -> bool:
    return bool(w.core[0]["now_s"] - acted_s >= terms[Term.COOLDOWN_S])


@compiled
def _acts_left(w: Tables, terms: Array) -> int:
    """Return how many more steps may be ordered in this hour."""
    core = w.core[0]
    most = int(min(terms[Term.MOST_AN_HOUR], ACTS))
    done = 0
    while done < min(most, core["acts"]):
        at_s = core["acts_s"][(core["acts"] - 1 - done) % ACTS]
        if core["now_s"] - at_s >= _HOUR_S:
            break
        done += 1
    return int(most - done - core["acts_due"])
