"""Detection and diagnosis drawn, not computed: when a fault is noticed, and what is blamed.

The draws depend on what struck where for the how-manieth time, so every policy is told the same.
Nothing of the truth reaches a policy otherwise. Each trouble asks for a decision when it is opened
and, until its job runs on sound machines again, whenever its next look is due.
"""

import math

from sim.engine import machines, placement
from sim.engine.draws import between, exponential, uniform
from sim.engine.heap import after, push
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.waiting import wake
from sim.engine.words import GPUS, NONE, Hold, Kind, Phase, Purpose, Stage

_DAY_S = 86400.0
LOOK_S = 15.0  # how often an action's effect is looked for: the daemon's own cycle
WAIT_S = 300.0  # an incident for which nothing was done is looked at again
LOOK, BACK = -2, -3
_MOST_LOOKS = 20
_GUESS = 0.3  # probability of a cause on a job's first node, where none of those named has it
_SURE_LO, _SURE_HI = 0.6, 0.97  # probability of the first cause, where it is the true one
_LESS_SURE = 0.8  # of a wrong blame's: that is what calibration means
_OTHER = 0.7  # what is left goes to a second cause by this share
_CLASS = 2**32
_ALARMS = 2**48  # no fault's address
_LANES = 8  # draws for one fault, by address


@compiled
def watch(w: Tables, fault: int) -> None:
    """Draw when a fault will be noticed; nothing where detection is computed."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if w.site[0]["surrogate"] and not math.isinf(kind["notice_lo_s"]):
        low, high = kind["notice_lo_s"], kind["notice_hi_s"]
        wait_s = low + (high - low) * _drawn(w, fault, 0)
        after(w, wait_s, Kind.NOTICE, fault, NONE, 0)


@compiled
def begin(w: Tables) -> None:
    """Put the first false alarm on the heap."""
    if w.site[0]["surrogate"] and w.site[0]["false_alarms"] > 0:
        _next_alarm(w, 0)


@compiled
def on_event(w: Tables, a: int, b: int) -> None:
    """Open an incident or look at one again, and stop where it wants a decision.

    a: the fault, b: NONE; or a: NONE, b: how-manieth false alarm; or a: trouble, b: LOOK; or
    a: a node that reboots, b: BACK
    """
    if b == LOOK:
        _look(w, a)
    elif b == BACK:
        bring_back(w, a)
    elif a == NONE:
        _open_alarm(w, b)
    elif math.isnan(w.faults[a]["mended_s"]):
        _open(w, a)


@compiled
def look_later(w: Tables, trouble: int, wait_s: float) -> None:
    """Look at a trouble again after a while."""
    w.troubles[trouble]["due_s"] = w.core[0]["now_s"] + wait_s
    push(w, w.troubles[trouble]["due_s"], Kind.NOTICE, trouble, LOOK, 0)


@compiled
def rest(w: Tables, trouble: int, wait_s: float) -> None:
    """Leave a trouble alone for a while, longer each time: a try in vain is not made for ever."""
    row = w.troubles[trouble]
    wait_s += LOOK_S * min(row["looks"], _MOST_LOOKS)
    row["busy"] = False
    row["looks"] += 1
    look_later(w, trouble, wait_s)


@compiled
def bring_back(w: Tables, node: int) -> None:
    """Return a node that is out by our hand to service once it has booted."""
    if not w.nodes[node]["up"]:
        after(w, LOOK_S, Kind.NOTICE, node, BACK, 0)
    elif w.nodes[node]["hold"] == Hold.AGENT:
        machines.give_back(w, node)
        placement.offer(w, node)
        wake(w)


@compiled
def _look(w: Tables, trouble: int) -> None:
    row = w.troubles[trouble]
    if not row["open"] or row["due_s"] > w.core[0]["now_s"]:
        return
    job = row["job"]
    if row["busy"]:
        _ask(w, trouble)
    elif w.jobs[job]["number"] != row["number"] or w.jobs[job]["phase"] == Phase.COMPLETED:
        row["open"] = False
    elif _waits(w, job):
        look_later(w, trouble, LOOK_S)
    elif w.jobs[job]["phase"] == Phase.RUNNING and not _touched(w, trouble):
        row["open"] = False
    else:
        _blame_again(w, trouble)
        _ask(w, trouble)


@compiled
def _waits(w: Tables, job: int) -> bool:
    """Say whether there is nothing to decide: a job waits for nodes, starts or saves its state."""
    row = w.jobs[job]
    waits = row["phase"] in (Phase.PENDING, Phase.STARTING)
    return bool(waits or row["stage"] == Stage.CAPTURING or row["first"] == NONE)


@compiled
def _blame_again(w: Tables, trouble: int) -> None:
    """Blame the second cause where the job has the first one's node no more, and is troubled yet.

    Where it has neither, any node may be to blame.
    """
    row = w.troubles[trouble]
    job = row["job"]
    if _has(w, row["node"], job):
        return
    row["gpu"] = NONE
    if _has(w, row["other_node"], job) and row["other_probability"] > 0:
        row["probability"] = row["other_probability"] / (1.0 - row["probability"])
        row["node"], row["cause"] = row["other_node"], row["other_cause"]
    else:
        row["probability"] = _GUESS
        row["node"] = w.jobs[job]["first"]
    row["other_node"], row["other_probability"] = row["node"], 0.0


@compiled
def _touched(w: Tables, trouble: int) -> bool:
    """Say whether the job hangs, or runs on what broke while it is broken."""
    row = w.troubles[trouble]
    if w.jobs[row["job"]]["stage"] == Stage.HUNG:
        return True
    fault = row["fault"]
    if fault == NONE or not math.isnan(w.faults[fault]["mended_s"]):
        return False
    node = w.faults[fault]["node"]
    return node == NONE or _has(w, node, row["job"])


@compiled
def _has(w: Tables, node: int, job: int) -> bool:
    for gpu in range(GPUS):
        if w.nodes[node]["job"][gpu] == job:
            return True
    return False


@compiled
def _ask(w: Tables, trouble: int) -> None:
    """Ask for a decision; what was noticed by the start waits a cycle longer."""
    core = w.core[0]
    if core["now_s"] <= core["start_s"]:
        look_later(w, trouble, core["start_s"] - core["now_s"] + LOOK_S)
        return
    core["decision"] = trouble
    core["stop"] = True


@compiled
def _open(w: Tables, fault: int) -> None:
    """Open an incident about a fault, where it touches a job; it need not blame the right node."""
    row = w.faults[fault]
    job = _job_of(w, fault)
    if job == NONE or w.jobs[job]["first"] == NONE:
        return
    trouble = _new(w, fault, job)
    said = w.troubles[trouble]
    cause = w.classes[row["class"]]["cause"]
    node = row["node"] if row["node"] != NONE else w.jobs[job]["first"]
    sure = _SURE_LO + (_SURE_HI - _SURE_LO) * _drawn(w, fault, 2)
    other = _another_node(w, job, node, _drawn(w, fault, 3))
    said["gpu"] = row["gpu"]
    said["cause"] = cause
    said["other_cause"] = cause
    if _drawn(w, fault, 1) < w.site[0]["blame"] or other == node:
        said["node"], said["probability"] = node, sure
        said["other_node"], said["other_probability"] = other, _OTHER * (1 - sure)
    else:
        first = _LESS_SURE * sure
        said["gpu"] = NONE
        said["node"], said["probability"] = other, first
        said["other_node"], said["other_probability"] = node, (1 - first) / 2
    row["noticed_s"] = w.core[0]["now_s"]
    _ask(w, trouble)


@compiled
def _open_alarm(w: Tables, index: int) -> None:
    """Open an incident about nothing: some job and a node of it are blamed."""
    seed = w.core[0]["seed"]
    _next_alarm(w, index + 1)
    node = int(uniform(seed, Purpose.BLAME, index, 0) * len(w.nodes))
    job = w.nodes[node]["held_by"]
    if job == NONE or w.jobs[job]["phase"] != Phase.RUNNING:
        return
    trouble = _new(w, NONE, job)
    said = w.troubles[trouble]
    said["node"], said["other_node"] = node, node
    said["gpu"] = NONE
    said["cause"] = int(uniform(seed, Purpose.BLAME, index, 1) * len(w.classes))
    said["cause"] = w.classes[said["cause"]]["cause"]
    said["other_cause"] = said["cause"]
    # A false alarm is told with little confidence, as a calibrated diagnosis would.
    said["probability"] = between(seed, Purpose.BLAME, index, 2, 0.1, 0.5)
    said["other_probability"] = 0.0
    _ask(w, trouble)


@compiled
def _next_alarm(w: Tables, index: int) -> None:
    core, rate = w.core[0], w.site[0]["false_alarms"]
    wait_s = exponential(core["seed"], Purpose.DETECTION, _ALARMS, index) * _DAY_S / rate
    push(w, max(core["now_s"], core["start_s"]) + wait_s, Kind.NOTICE, NONE, index, 0)


@compiled
def _new(w: Tables, fault: int, job: int) -> int:
    core = w.core[0]
    trouble = core["troubles_n"]
    core["troubles_n"] += 1
    row = w.troubles[trouble]
    row["fault"] = fault
    row["job"] = job
    row["number"] = w.jobs[job]["number"]
    row["opened_s"] = core["now_s"]
    row["due_s"] = core["now_s"]
    row["looks"] = 0
    row["open"] = True
    row["busy"] = False
    row["choice"] = 0
    return trouble


@compiled
def _job_of(w: Tables, fault: int) -> int:
    """Return the job that a fault troubles: the one it stopped, or one on its node; NONE."""
    row = w.faults[fault]
    if row["node"] != NONE:
        for gpu in range(GPUS):
            if w.nodes[row["node"]]["job"][gpu] != NONE:
                return w.nodes[row["node"]]["job"][gpu]
    job = row["job"]
    if job == NONE or w.jobs[job]["number"] == NONE or w.jobs[job]["phase"] == Phase.COMPLETED:
        return NONE
    return job


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
def _drawn(w: Tables, fault: int, lane: int) -> float:
    """Return a uniform number of the fault: of its class, its unit and which of theirs it is."""
    row = w.faults[fault]
    who = int(row["class"]) * _CLASS + int(row["entity"])
    return uniform(w.core[0]["seed"], Purpose.DETECTION, who, int(row["index"]) * _LANES + lane)
