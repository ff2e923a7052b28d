"""What a drawn diagnosis says of a fault: which node and cause, how sure, whether it stays.

The draws depend on what struck where for the how-manieth time, so every policy is told the same.
"""

import math

from sim.engine.draws import between, uniform
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Purpose, Scope

_GUESS = 0.3  # probability of a cause on a job's first node, where none of those named has it
_SURE_LO, _SURE_HI = 0.6, 0.97  # probability of the first cause, where it is the true one
_LESS_SURE = 0.8  # of a wrong blame's: that is what calibration means
_OTHER = 0.7  # what is left goes to a second cause by this share
_NODES = 0.5  # share of wrong blames, and of second causes, that name another node: assumed. The
# others name another fault on the same node
# How sure a diagnosis is whether a fault stays. It is as often right, so that what it says is
# calibrated where half of the faults stay; right in 89 % like the diagnosis of issue D.
_STAYS_LO, _STAYS_HI = 0.79, 0.99
_SHORT_S = 1800.0  # a fault that ends by itself within this time does not stay
_CALM, _CALM_ALARM = 0.2, 0.6  # share of what is left that is "no fault": of a fault, of none
_WEEK_S = 7 * 86400.0
_CLASS = 2**32
_PEOPLE = 2**49  # no alarm's address
_COMING = 2**40  # behind the numbers of faults that came
_LANES = 32  # draws for one fault, by address
_AGAIN, _FOUND, _TURNS = 16, 24, 8  # lanes of later diagnoses; after so many they repeat
NOTICE, HEARD = 0, 9  # lanes: when a fault or precursor is noticed; whether a precursor is
_SEEN_LO, _SEEN_HI = 0.5, 0.84  # probability of the cause that a precursor tells of; 84 % come
_RIGHT, _SURE, _WHICH_NODE, _WHICH, _WHICH_CAUSE, _STAYS, _STAYS_SURE, _PERSON = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)


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
    sure = _SURE_LO + (_SURE_HI - _SURE_LO) * drawn(w, fault, _SURE)
    other = _another_node(w, job, node, drawn(w, fault, _WHICH_NODE))
    wrong = _another_class(w, kind["cause"], drawn(w, fault, _WHICH_CAUSE))
    by_node = placed and other != node and drawn(w, fault, _WHICH) < _NODES
    if not by_node and wrong == NONE:
        by_node = placed and other != node
    _name(w, trouble, node, kind["cause"], placed, True)
    _name(w, trouble, node, kind["cause"], placed, False)
    said["gpu"] = row["gpu"]
    right = drawn(w, fault, _RIGHT) < w.site[0]["blame"] or (not by_node and wrong == NONE)
    if by_node:
        _name(w, trouble, other, kind["cause"], placed, not right)
    elif wrong != NONE:
        there = w.classes[wrong]["scope"] in (Scope.GPU, Scope.NODE)
        _name(w, trouble, node, w.classes[wrong]["cause"], there, not right)
    if right:
        said["probability"], said["other_probability"] = sure, _OTHER * (1 - sure)
    else:
        said["gpu"] = NONE
        said["probability"] = _LESS_SURE * sure
        said["other_probability"] = (1 - _LESS_SURE * sure) / 2
    left = 1.0 - said["probability"] - said["other_probability"]
    said["no_fault"] = _CALM * left
    said["persistent"] = _persistent(w, fault, stays(w, fault))
    remember(w, trouble)


@compiled
def blame_nothing(w: Tables, trouble: int, node: int, index: int) -> None:
    """Write what is said where nothing is broken: with little confidence, as is calibrated."""
    said, seed = w.troubles[trouble], w.core[0]["seed"]
    cause, placed = 0, True
    if len(w.classes) > 0:
        kind = w.classes[int(uniform(seed, Purpose.BLAME, index, 1) * len(w.classes))]
        cause, placed = kind["cause"], kind["scope"] in (Scope.GPU, Scope.NODE)
    _name(w, trouble, node, cause, placed, True)
    _name(w, trouble, node, cause, placed, False)
    said["gpu"] = NONE
    said["probability"] = between(seed, Purpose.BLAME, index, 2, 0.1, 0.5)
    said["other_probability"] = 0.0
    said["no_fault"] = _CALM_ALARM * (1.0 - said["probability"])
    said["persistent"] = 1.0 - between(seed, Purpose.BLAME, index, 3, _STAYS_LO, _STAYS_HI)
    remember(w, trouble)


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

    What shows anew is diagnosed anew, and right as often as before. Where it is not: the second
    cause; where the job has not its node either, any node may be to blame.
    """
    row = w.troubles[trouble]
    job = row["job"]
    if has(w, row["node"], job):
        return
    row["gpu"] = NONE
    if _finds(w, trouble):
        fault = row["fault"]
        kind = w.classes[w.faults[fault]["class"]]
        _name(w, trouble, w.faults[fault]["node"], kind["cause"], True, True)
        luck = drawn(w, fault, _AGAIN + int(row["moves"]) % _TURNS)
        row["probability"] = _SURE_LO + (_SURE_HI - _SURE_LO) * luck
    elif has(w, row["other_node"], job) and row["other_probability"] > 0:
        row["probability"] = row["other_probability"] / (1.0 - row["probability"])
        row["node"], row["cause"] = row["other_node"], row["other_cause"]
        row["placed"] = row["other_placed"]
    else:
        row["node"] = w.jobs[job]["first"]
        if row["placed"]:
            row["probability"] = _GUESS
    row["other_node"], row["other_probability"] = row["node"], 0.0
    row["no_fault"] = min(row["no_fault"], 1.0 - row["probability"])
    remember(w, trouble)


@compiled
def luck_of_person(w: Tables, trouble: int) -> float:
    """Return a number in (0, 1) by which a person comes sooner or later: the fault's own."""
    row = w.troubles[trouble]
    if row["fault"] != NONE:
        return drawn(w, row["fault"], _PERSON)
    who, when = int(row["number"]), int(row["opened_s"])
    return uniform(w.core[0]["seed"], Purpose.BLAME, _PEOPLE + who, when)


@compiled
def _finds(w: Tables, trouble: int) -> bool:
    """Say whether a diagnosis of what shows anew blames the node that is broken."""
    row = w.troubles[trouble]
    fault = row["fault"]
    if fault == NONE or not math.isnan(w.faults[fault]["mended_s"]):
        return False
    node = w.faults[fault]["node"]
    if node == NONE or not has(w, node, row["job"]):
        return False
    return drawn(w, fault, _FOUND + int(row["moves"]) % _TURNS) < w.site[0]["blame"]


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
