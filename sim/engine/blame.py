"""What a drawn diagnosis says of a fault: which node and cause, how sure, whether it stays.

The draws depend on what struck where for the how-manieth time, so every policy is told the same.
"""

import math

from sim.engine.draws import between, uniform
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Purpose, Scope

# How sure a diagnosis is: the site's share of right blames, give or take so much of what is less:
# that share or the rest.
# It is as often right as it is sure, so it is calibrated; no value of it gives the truth away.
_SPREAD = 0.8
_OTHER_LO, _OTHER_HI = 0.4, 0.9  # what is left goes to a second cause by a share between these
_NODES = 0.5  # share of wrong blames, and of second causes, that name another node: assumed. The
# others name another fault on the same node
# How sure a diagnosis is whether a fault stays. It is as often right, so that what it says is
# calibrated where half of the faults stay; right in 89 % like the diagnosis of issue D.
_STAYS_LO, _STAYS_HI = 0.79, 0.99
_SHORT_S = 1800.0  # a fault that ends by itself within this time does not stay
# Share of what is left then that is "no fault": of a fault, and of none. They overlap on purpose.
_CALM_LO, _CALM_HI = 0.05, 0.6
_CALM_ALARM_LO, _CALM_ALARM_HI = 0.4, 0.95
_ALARM_LO = 0.2  # an alarm's first cause is so much less sure than a fault's, up to as sure
_WEEK_S = 7 * 86400.0
_CLASS = 2**32
_PEOPLE = 2**49  # no alarm's address
_COMING = 2**40  # behind the numbers of faults that came
_LANES = 32  # draws for one fault, by address
_AGAIN, _FOUND, _TURNS = 16, 24, 8  # lanes of later diagnoses; after so many they repeat
NOTICE, HEARD = 0, 9  # lanes: when a fault or precursor is noticed; whether a precursor is
_SEEN_LO, _SEEN_HI = 0.5, 0.84  # probability of the cause that a precursor tells of; 84 % come
_RIGHT, _SURE, _WHICH_NODE, _WHICH, _WHICH_CAUSE, _STAYS, _STAYS_SURE, _PERSON = range(1, 9)
_OTHER, _SECOND, _THIRD_CAUSE, _CALM = 10, 11, 12, 13


@compiled
def drawn(w: Tables, fault: int, lane: int) -> float:
    """Return a uniform number of the fault: of its class, its unit and which of theirs it is."""
    row = w.faults[fault]
    who = int(row["class"]) * _CLASS + int(row["entity"])
    return uniform(w.core[0]["seed"], Purpose.DETECTION, who, int(row["index"]) * _LANES + lane)


@compiled
def blame(w: Tables, trouble: int) -> None:
    """Write what is said of a trouble's fault, which need not be right."""
    said = w.troubles[trouble]
    fault, job = said["fault"], said["job"]
    row, kind = w.faults[fault], w.classes[w.faults[fault]["class"]]
    placed = kind["scope"] in (Scope.GPU, Scope.NODE)
    node = row["node"] if placed else w.jobs[job]["first"]
    if placed and node == NONE:
        node = w.jobs[job]["first"]
    sure = _sure(w, drawn(w, fault, _SURE))
    share = _between(_OTHER_LO, _OTHER_HI, drawn(w, fault, _OTHER))
    _name_both(w, trouble, node, sure, share)
    said["gpu"] = row["gpu"] if said["node"] == node else NONE
    said["probability"], said["other_probability"] = sure, share * (1.0 - sure)
    left = (1.0 - share) * (1.0 - sure)
    said["no_fault"] = left * _between(_CALM_LO, _CALM_HI, drawn(w, fault, _CALM))
    said["persistent"] = _persistent(w, fault, stays(w, fault))
    remember(w, trouble)


@compiled
def _name_both(w: Tables, trouble: int, node: int, sure: float, share: float) -> None:
    """Name the two causes: the true one first as often as said, second as often, or neither."""
    fault, job = w.troubles[trouble]["fault"], w.troubles[trouble]["job"]
    cause = w.classes[w.faults[fault]["class"]]["cause"]
    placed = w.classes[w.faults[fault]["class"]]["scope"] in (Scope.GPU, Scope.NODE)
    other = _another_node(w, job, node, drawn(w, fault, _WHICH_NODE))
    wrong = _another_class(w, cause, drawn(w, fault, _WHICH_CAUSE))
    third = _another_class(w, cause, drawn(w, fault, _THIRD_CAUSE))
    by_node = placed and other != node
    if wrong != NONE and drawn(w, fault, _WHICH) >= _NODES:
        by_node = False
    _name(w, trouble, node, cause, placed, True)
    _name(w, trouble, node, cause, placed, False)
    if not by_node and wrong == NONE:
        return
    right = drawn(w, fault, _RIGHT) < sure
    if by_node:
        _name(w, trouble, other, cause, placed, not right)
    else:
        there = w.classes[wrong]["scope"] in (Scope.GPU, Scope.NODE)
        _name(w, trouble, node, w.classes[wrong]["cause"], there, not right)
    if not right and third != NONE and drawn(w, fault, _SECOND) >= share:
        there = w.classes[third]["scope"] in (Scope.GPU, Scope.NODE)
        _name(w, trouble, other, w.classes[third]["cause"], there, False)


@compiled
def blame_nothing(w: Tables, trouble: int, node: int, index: int) -> None:
    """Write what is said where nothing is broken: as of a fault, mostly with less confidence."""
    said, seed = w.troubles[trouble], w.core[0]["seed"]
    other = _another_node(w, said["job"], node, uniform(seed, Purpose.BLAME, index, 4))
    _name_any(w, trouble, node, uniform(seed, Purpose.BLAME, index, 1), True)
    _name_any(w, trouble, other, uniform(seed, Purpose.BLAME, index, 5), False)
    said["gpu"] = NONE
    sure = _sure(w, uniform(seed, Purpose.BLAME, index, 6))
    sure *= between(seed, Purpose.BLAME, index, 2, _ALARM_LO, 1.0)
    share = between(seed, Purpose.BLAME, index, 7, _OTHER_LO, _OTHER_HI)
    said["probability"], said["other_probability"] = sure, share * (1.0 - sure)
    calm = between(seed, Purpose.BLAME, index, 8, _CALM_ALARM_LO, _CALM_ALARM_HI)
    said["no_fault"] = (1.0 - share) * (1.0 - sure) * calm
    said["persistent"] = 1.0 - between(seed, Purpose.BLAME, index, 3, _STAYS_LO, _STAYS_HI)
    remember(w, trouble)


@compiled
def _name_any(w: Tables, trouble: int, node: int, luck: float, first: bool) -> None:
    """Name any cause of the world's on a node."""
    cause, placed = 0, True
    if len(w.classes) > 0:
        kind = w.classes[int(luck * len(w.classes))]
        cause, placed = kind["cause"], kind["scope"] in (Scope.GPU, Scope.NODE)
    _name(w, trouble, node, cause, placed, first)


@compiled
def _sure(w: Tables, luck: float) -> float:
    """Return how sure a diagnosis is, for a uniform number."""
    mean = w.site[0]["blame"]
    return float(mean + _SPREAD * min(mean, 1.0 - mean) * (2.0 * luck - 1.0))


@compiled
def _between(low: float, high: float, luck: float) -> float:
    return low + (high - low) * luck


@compiled
def blame_coming(w: Tables, trouble: int, node: int, kind: int) -> None:
    """Write what is said of a precursor: the fault that may come, or nothing."""
    said = w.troubles[trouble]
    cause = w.classes[kind]["cause"]
    _name(w, trouble, node, cause, True, True)
    _name(w, trouble, node, cause, True, False)
    said["gpu"] = w.nodes[node]["warn_gpu"]
    sure = _SEEN_LO + (_SEEN_HI - _SEEN_LO) * coming_luck(w, node, kind, _SURE)
    said["probability"], said["other_probability"] = sure, 0.0
    said["no_fault"] = 1.0 - sure
    stays_sure = coming_luck(w, node, kind, _STAYS_SURE)
    said["persistent"] = _STAYS_LO + (_STAYS_HI - _STAYS_LO) * stays_sure
    remember(w, trouble)


@compiled
def coming_luck(w: Tables, node: int, kind: int, lane: int) -> float:
    """Return a uniform number of the precursor that a node shows of a class."""
    who, which = int(kind) * _CLASS + int(node), int(w.drawn[node, kind])
    return uniform(w.core[0]["seed"], Purpose.DETECTION, who, _COMING + which * _LANES + lane)


@compiled
def guess(w: Tables, trouble: int) -> None:
    """Blame another where the job has the first cause's node no more, and is troubled yet.

    What shows anew is diagnosed anew, and as often right as it is sure. Where it is not right, or
    nothing of the job is broken: the second cause; where the job has not its node either, any.
    """
    row = w.troubles[trouble]
    job = row["job"]
    if has(w, row["node"], job):
        return
    row["gpu"] = NONE
    turn = int(row["moves"]) % _TURNS
    sure, present = _sure(w, _luck_again(w, trouble, _AGAIN + turn)), _is_there(w, trouble)
    if present and drawn(w, row["fault"], _FOUND + turn) < sure:
        kind = w.classes[w.faults[row["fault"]]["class"]]
        _name(w, trouble, w.faults[row["fault"]]["node"], kind["cause"], True, True)
    elif has(w, row["other_node"], job) and row["other_probability"] > 0:
        _name(w, trouble, row["other_node"], row["other_cause"], row["other_placed"], True)
    else:
        row["node"] = w.jobs[job]["first"]
    if not present:
        sure *= _between(_ALARM_LO, 1.0, _luck_again(w, trouble, _FOUND + turn))
    row["probability"] = sure
    row["other_node"], row["other_probability"] = row["node"], 0.0
    row["no_fault"] = min(row["no_fault"], 1.0 - row["probability"])
    remember(w, trouble)


@compiled
def _luck_again(w: Tables, trouble: int, lane: int) -> float:
    """Return a uniform number of a later diagnosis: the fault's own, or the trouble's."""
    row = w.troubles[trouble]
    if row["fault"] != NONE:
        return drawn(w, row["fault"], lane)
    when = int(row["opened_s"]) * _LANES + lane
    return uniform(w.core[0]["seed"], Purpose.BLAME, _PEOPLE + int(row["number"]), when)


@compiled
def luck_of_person(w: Tables, trouble: int) -> float:
    """Return a number in (0, 1) by which a person comes sooner or later: the fault's own."""
    row = w.troubles[trouble]
    if row["fault"] != NONE:
        return drawn(w, row["fault"], _PERSON)
    who, when = int(row["number"]), int(row["opened_s"])
    return uniform(w.core[0]["seed"], Purpose.BLAME, _PEOPLE + who, when)


@compiled
def _is_there(w: Tables, trouble: int) -> bool:
    """Say whether what is broken is a node that the job has."""
    row = w.troubles[trouble]
    fault = row["fault"]
    if fault == NONE or not math.isnan(w.faults[fault]["mended_s"]):
        return False
    node = w.faults[fault]["node"]
    return bool(node != NONE and has(w, node, row["job"]))


@compiled
def stays(w: Tables, fault: int) -> bool:
    """Say whether a fault stays until something is done: no restart ends it, nor soon time."""
    row = w.faults[fault]
    soon = w.classes[row["class"]]["lasts_alone"] and row["lasts_s"] < _SHORT_S
    return bool(not row["restart_mends"] and not soon)


@compiled
def remember(w: Tables, trouble: int) -> None:
    """Count the incident against the node that it blames first."""
    row, now_s = w.troubles[trouble], w.core[0]["now_s"]
    row["blamed_s"] = now_s
    if row["placed"]:
        node = w.nodes[row["node"]]
        node["blamed"] = node["blamed"] * faded(now_s - node["blamed_s"]) + 1.0
        node["blamed_s"] = now_s


@compiled
def faded(passed_s: float) -> float:
    """Return what is left of an earlier incident: half after each 7 days."""
    return math.exp2(-passed_s / _WEEK_S)


@compiled
def has(w: Tables, node: int, job: int) -> bool:
    """Say whether a job has GPUs of a node."""
    row = w.nodes[node]
    for gpu in range(row["gpus"]):
        if row["job"][gpu] == job:
            return True
    return False


@compiled
def _name(w: Tables, trouble: int, node: int, cause: int, placed: bool, first: bool) -> None:
    row = w.troubles[trouble]
    if first:
        row["node"], row["cause"], row["placed"] = node, cause, placed
    else:
        row["other_node"], row["other_cause"], row["other_placed"] = node, cause, placed


@compiled
def _persistent(w: Tables, fault: int, truth: bool) -> float:
    sure = _STAYS_LO + (_STAYS_HI - _STAYS_LO) * drawn(w, fault, _STAYS_SURE)
    says = truth if drawn(w, fault, _STAYS) < sure else not truth
    return sure if says else 1.0 - sure


@compiled
def _another_node(w: Tables, job: int, node: int, luck: float) -> int:
    """Return a node of the same job that a wrong diagnosis would blame; the same if it has one."""
    steps = int(luck * w.jobs[job]["nodes"])
    other = w.jobs[job]["first"]
    for _ in range(steps):
        if w.nodes[other]["next"] != NONE:
            other = w.nodes[other]["next"]
    return other if other != NONE else node


@compiled
def _another_class(w: Tables, cause: int, luck: float) -> int:
    """Return a class with another cause, any of the world's as likely; NONE: there is none."""
    first = int(luck * len(w.classes))
    for turn in range(len(w.classes)):
        at = (first + turn) % len(w.classes)
        if w.classes[at]["cause"] != cause:
            return at
    return NONE
