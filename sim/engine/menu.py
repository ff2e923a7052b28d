"""Which choices are open: what can be carried out, within the shield's bounds.

The bounds are those of the guards (``remediation.guards``), so that none of what is offered would
be refused: nodes out by our hand, in all, in a rack and under a leaf switch; a target left alone
for a while after it was disturbed; actions an hour; how likely a cause must be; spares that are
kept; a checkpoint to return to, and how much work a stop may lose; how large a job may be that is
stopped; and what came back from our hands a short time ago.
"""

import math
from typing import Any

from core.choice import Choice
from core.situation import Fact
from sim.engine import condition, placement
from sim.engine.blame import has
from sim.engine.facts import can_shrink, saved_at
from sim.engine.jit import compiled
from sim.engine.machines import ready
from sim.engine.progress import checkpoint_at
from sim.engine.rows_cluster import ACTS
from sim.engine.standins import in_place_of, is_trusted, lender
from sim.engine.tables import Array, Tables
from sim.engine.terms import KNOB, NAMELESS, Knob, Term
from sim.engine.words import NONE, Hold, JobKind, Phase, Scope, Stage

_STARTABLE = (Phase.RUNNING, Phase.STARTING, Phase.STOPPED)
_HOUR_S = 3600.0
# A job that makes no steps may be started again so soon: where kubelet's back-off from a crash loop
# ends. There is nothing to disturb in it, but it must not be tried without a rest.
BACK_OFF_S = 300.0
_MOST_LOADERS = 16.0
_HARMLESS = (Knob.CANARY, Knob.REPLICAS)  # knobs that stop no job


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
    if others_ready(w, job, node, NONE):
        _offer_in_place(w, trouble, job, causes, terms, facts, opened)
    if not _may_stop(w, job, terms):
        return
    if _is_likely(facts[Fact.NODE_BLAMED], terms) and others_ready(w, job, node, NONE):
        _offer_moves(w, trouble, job, terms, opened)
    if _is_likely(facts[Fact.NODE_BLAMED] + facts[Fact.OTHER_BLAMED], terms):
        opened[Choice.SWAP_BOTH] = _can_swap_both(w, trouble, job, acts, terms)


@compiled
def _offer_in_place(
    w: Tables, trouble: int, job: int, causes: Array, terms: Array, facts: Array, opened: Array
) -> None:
    """Fill in what starts the job anew on the nodes it has, or turns a knob."""
    row, at, acts = w.troubles[trouble], w.jobs[job], _acts_left(w, terms)
    node, save = row["node"], saves(w, job)
    stands = at["phase"] == Phase.STOPPED or at["stage"] == Stage.HUNG
    rested, may = _rested(w, at["acted_s"], terms), _may_stop(w, job, terms)
    backed_off = w.core[0]["now_s"] - at["acted_s"] >= BACK_OFF_S
    likely = _likeliest(row, causes) >= terms[Term.LEAST_PROBABILITY]
    opened[Choice.TUNE] = _may_tune(w, trouble, job, causes, terms) and rested and acts >= 1
    if not ready(w, node) or not may:
        return
    again = rested or (stands and backed_off)
    opened[Choice.RESTART] = again and acts >= 1 + save and (likely or stands)
    opened[Choice.ROLL_BACK] = (
        again and acts >= 1 and likely and _has_older(w, job) and _has_saved(w, job, terms)
    )
    opened[Choice.REBOOT] = (
        acts >= 1 + save
        and _is_likely(facts[Fact.NODE_BLAMED], terms)
        and _has_only(w, node, job)
        and _rested(w, w.nodes[node]["acted_s"], terms)
        and is_trusted(w, node, terms)
    )


@compiled
def _offer_moves(w: Tables, trouble: int, job: int, terms: Array, opened: Array) -> None:
    """Fill in what takes the blamed node from the job."""
    node, acts, save = w.troubles[trouble]["node"], _acts_left(w, terms), saves(w, job)
    if not _may_take(w, node, job, terms) or out_of_room(w, node, NONE, terms):
        return
    stand_in = in_place_of(w, node, job, NONE, terms)
    if stand_in != NONE:
        count = 2 + save + adds_spare(w, stand_in)
        opened[Choice.SWAP] = acts >= count
        whole = w.nodes[node]["up"] and _has_only(w, node, job)
        opened[Choice.SWAP_AND_REPAIR] = acts >= count + 1 and whole
    opened[Choice.SHRINK] = can_shrink(w, job) and acts >= 2 + save
    opened[Choice.BORROW] = acts >= 2 + save and lender(w, job, terms) != NONE


@compiled
def _can_swap_both(w: Tables, trouble: int, job: int, acts: int, terms: Array) -> bool:
    row = w.troubles[trouble]
    node, other = row["node"], row["other_node"]
    named = row["placed"] and row["other_placed"] and row["other_probability"] > 0
    if not named or node == other or not has(w, other, job):
        return False
    if not _may_take(w, node, job, terms) or not _may_take(w, other, job, terms):
        return False
    if out_of_room(w, node, other, terms) or not others_ready(w, job, node, other):
        return False
    first = in_place_of(w, node, job, NONE, terms)
    if first == NONE:
        return False
    second = in_place_of(w, other, job, first, terms)
    if second == NONE:
        return False
    return acts >= 3 + saves(w, job) + adds_spare(w, first) + adds_spare(w, second)


@compiled
def _may_take(w: Tables, node: int, job: int, terms: Array) -> bool:
    """Say whether a node is a whole one of the job, and was left alone for long enough."""
    whole = w.jobs[job]["given"] >= w.nodes[node]["gpus"] and w.nodes[node]["held_by"] == job
    return bool(whole and _rested(w, w.nodes[node]["acted_s"], terms))


@compiled
def _may_stop(w: Tables, job: int, terms: Array) -> bool:
    """Say whether a job is small enough to be stopped without a person's word."""
    total = 0
    for count in w.core[0]["use_gpus"]:
        total += count
    most = math.floor(terms[Term.MOST_JOB_SHARE] * total)
    if terms[Term.MOST_JOB_GPUS] > 0:
        most = min(most, terms[Term.MOST_JOB_GPUS])
    return bool(w.jobs[job]["given"] <= most)


@compiled
def _is_likely(probability: float, terms: Array) -> bool:
    """Say whether it is likely enough that a node is to blame; one that is not blamed never is."""
    return bool(0.0 < probability >= terms[Term.LEAST_PROBABILITY])


@compiled
def _likeliest(row: Any, causes: Array) -> float:
    """Return the probability of the first cause that names a fault; 0: none does."""
    if causes[row["cause"], NAMELESS] == 0:
        return float(row["probability"])
    named = row["other_probability"] > 0 and causes[row["other_cause"], NAMELESS] == 0
    return float(row["other_probability"]) if named else 0.0


@compiled
def saves(w: Tables, job: int) -> int:
    """Return 1 for a job that runs: its state is saved before it is stopped."""
    return 1 if w.jobs[job]["phase"] == Phase.RUNNING else 0


@compiled
def adds_spare(w: Tables, node: int) -> int:
    """Return 1 for a free node that is kept as a spare first, 0 for a spare."""
    return 0 if w.nodes[node]["pool"] else 1


@compiled
def _has_saved(w: Tables, job: int, terms: Array) -> bool:
    """Say whether a job that is stopped as it is loses no more work than it may."""
    row = w.jobs[job]
    if row["phase"] != Phase.RUNNING:
        return True
    captured_s = saved_at(w, job) - row["save_s"]  # at the latest
    lost_s = w.core[0]["now_s"] - captured_s
    return bool(row["given"] * lost_s <= terms[Term.MOST_UNSAVED_GPU_S])


@compiled
def _may_tune(w: Tables, trouble: int, job: int, causes: Array, terms: Array) -> bool:
    """Say whether the blamed cause calls for a knob that turns, and the guards let it be turned."""
    row = w.troubles[trouble]
    if not _turns(w, job, row["cause"], causes):
        return False
    knob = int(causes[row["cause"], KNOB])
    if knob in _HARMLESS:
        return True
    if knob == Knob.LOADERS and not ready(w, row["node"]):
        return False
    likely = row["probability"] >= terms[Term.LEAST_PROBABILITY]
    return bool(likely and _may_stop(w, job, terms))


@compiled
def out_of_room(w: Tables, node: int, other: int, terms: Array) -> bool:
    """Say whether taking out a node, and another, would pass a bound: in all or in one place."""
    core = w.core[0]
    mine = len(w.nodes) - core["kept"]
    most = min(terms[Term.MOST_OUT], max(1.0, math.floor(terms[Term.MOST_OUT_SHARE] * mine)))
    more = _adds(w, node) + (_adds(w, other) if other != NONE else 0)
    if more == 0:
        return False
    if core["out"] + more > most:
        return True
    return _crowds(w, node, other, Scope.RACK.value, terms[Term.MOST_OUT_RACK]) or _crowds(
        w, node, other, Scope.LEAF.value, terms[Term.MOST_OUT_SWITCH]
    )


@compiled
def _crowds(w: Tables, node: int, other: int, scope: int, most: float) -> bool:
    """Say whether more nodes of a rack, or under a leaf, would be out than may be."""
    place, here = _place(w, node, scope), _adds(w, node)
    if other != NONE:
        if _place(w, other, scope) == place:
            here += _adds(w, other)
        elif _adds(w, other) and out_in(w, _place(w, other, scope)) + 1 > most:
            return True
    return bool(here and out_in(w, place) + here > most)


@compiled
def _place(w: Tables, node: int, scope: int) -> int:
    """Return the row of a node's rack or leaf in ``domains``, NONE: it has none."""
    row = w.nodes[node]
    return condition.domain_of(w, scope, row["rack"] if scope == Scope.RACK else row["leaf"])


@compiled
def out_in(w: Tables, domain: int) -> int:
    """Return how many nodes of a domain are out by our hand."""
    count = 0
    if domain != NONE:
        first = w.domains[domain]["first"]
        for place in range(first, first + w.domains[domain]["count"]):
            if w.nodes[w.members[place]]["hold"] == Hold.AGENT:
                count += 1
    return count


@compiled
def out_beside(w: Tables, node: int, scope: int) -> int:
    """Return how many nodes of a node's rack, or under its leaf, are out by our hand."""
    return out_in(w, _place(w, node, scope))


@compiled
def _adds(w: Tables, node: int) -> int:
    """Return 1 for a node that would be taken out by us, 0 for one that somebody keeps already."""
    return 1 if w.nodes[node]["hold"] == Hold.NOBODY else 0


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
