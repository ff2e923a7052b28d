"""Detection drawn, not computed: when a fault is noticed, and when an incident is looked at.

What is blamed is drawn in ``sim.engine.blame``; nothing of the truth reaches a policy otherwise.
Each trouble asks for a decision when it is opened and, until its job runs on sound machines again,
whenever its next look is due.
"""

import math

from sim.engine import condition, machines, placement
from sim.engine.arrivals import lead_s
from sim.engine.blame import (
    HEARD,
    NOTICE,
    blame,
    blame_coming,
    blame_nothing,
    coming_luck,
    drawn,
    guess,
    has,
)
from sim.engine.draws import exponential, uniform
from sim.engine.heap import after, push, whole
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.waiting import wake
from sim.engine.words import (
    BACK,
    FAILED,
    GPUS,
    LOOK,
    NONE,
    WARNED,
    Back,
    Effect,
    Hold,
    Kind,
    Phase,
    Purpose,
    Scope,
    Stage,
)

_DAY_S = 86400.0
LOOK_S = 15.0  # how often an action's effect is looked for: the daemon's own cycle
WAIT_S = 300.0  # an incident for which nothing was done is looked at again
_QUEUED_S = 60.0  # a job that waits for nodes is looked at so often
_MOST_LOOKS = 20
_ALARMS = 2**48  # no fault's address
_CHECK_S = 60.0  # checks of a node are made no more often
_WELL = 0.95  # share of its healthy pace at which a job counts as well
_TUNED = (Effect.BAD_CANARY, Effect.SURGE, Effect.LOADER_STARVED, Effect.DRIVER)


@compiled
def watch(w: Tables, fault: int) -> None:
    """Draw when a fault will be noticed; nothing where detection is computed."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if w.site[0]["surrogate"] and not math.isinf(kind["notice_lo_s"]):
        low, high = kind["notice_lo_s"], kind["notice_hi_s"]
        wait_s = low + (high - low) * drawn(w, fault, NOTICE)
        after(w, wait_s * w.site[0]["notice_scale"], Kind.NOTICE, fault, NONE, 0)


@compiled
def watch_for(w: Tables, node: int, kind: int) -> None:
    """Draw when a precursor will be noticed, if it is."""
    site = w.site[0]
    if not site["surrogate"] or coming_luck(w, node, kind, HEARD) >= site["warn_recall"]:
        return
    low, high = w.classes[kind]["notice_lo_s"], w.classes[kind]["notice_hi_s"]
    wait_s = low + (high - low) * coming_luck(w, node, kind, NOTICE)
    after(w, wait_s * site["notice_scale"], Kind.NOTICE, node, WARNED, kind)


@compiled
def begin(w: Tables) -> None:
    """Put the first false alarm on the heap."""
    if w.site[0]["surrogate"] and w.site[0]["false_alarms"] > 0:
        _next_alarm(w, 0)


@compiled
def on_event(w: Tables, a: int, b: int, version: int) -> None:
    """Open an incident or look at one again, and stop where it wants a decision.

    a: the fault, b: NONE; or a: NONE, b: how-manieth false alarm; or a: trouble, b: LOOK; or
    a: a node that is out, b: BACK; or a: a job that failed, b: FAILED; or a: a node that shows a
    precursor, b: WARNED, and version: the class of fault
    """
    if b == LOOK:
        _look(w, a)
    elif b == BACK:
        bring_back(w, a)
    elif b == FAILED:
        if version == w.jobs[a]["version"]:
            _meet_failed(w, a)
    elif b == WARNED:
        _open_warning(w, a, version)
    elif a == NONE:
        _open_alarm(w, b)
    elif math.isnan(w.faults[a]["mended_s"]) and math.isnan(w.faults[a]["noticed_s"]):
        job = _job_of(w, a)
        if job != NONE and w.jobs[job]["first"] != NONE:
            _open(w, a, job)


@compiled
def look_later(w: Tables, trouble: int, wait_s: float) -> None:
    """Look at a trouble again after a while."""
    due_s = whole(w.core[0]["now_s"] + wait_s)
    w.troubles[trouble]["due_s"] = due_s
    push(w, due_s, Kind.NOTICE, trouble, LOOK, 0)


@compiled
def rest(w: Tables, trouble: int, wait_s: float) -> None:
    """Leave a trouble alone for a while, longer each time: a try in vain is not made for ever.

    No longer than until a person who was called comes.
    """
    row = w.troubles[trouble]
    wait_s += LOOK_S * min(row["looks"], _MOST_LOOKS)
    wait_s = min(wait_s, max(row["person_s"] - w.core[0]["now_s"], LOOK_S))
    row["busy"] = False
    row["looks"] += 1
    look_later(w, trouble, wait_s)


@compiled
def return_later(w: Tables, node: int) -> None:
    """Return a node that was taken out once crews have no work on it and its checks are passed."""
    w.nodes[node]["back"] = Back.CHECKED
    after(w, max(w.site[0]["validate_s"], _CHECK_S), Kind.NOTICE, node, BACK, 0)


@compiled
def bring_back(w: Tables, node: int) -> None:
    """Return a node that is out by our hand to service, if it is time.

    It is looked at again as it comes up and when a crew has gone.
    """
    row, core = w.nodes[node], w.core[0]
    if row["back"] == Back.NOT or row["hold"] != Hold.AGENT or row["free"] != row["gpus"]:
        return
    if not row["up"] or (row["back"] == Back.CHECKED and row["repair"]):
        return
    if row["back"] == Back.CHECKED and (is_broken(w, node) or row["warn"] != NONE):
        return_later(w, node)
        return
    out_s = core["now_s"] - row["out_s"]
    if row["back"] == Back.AS_UP:
        core["boots"] += 1
        core["boots_s"] += out_s
        row["acted_s"] = core["now_s"]
    elif row["crewed"]:
        core["repairs"] += 1
        core["repairs_s"] += out_s
    machines.give_back(w, node)
    _keep_spares(w, node)
    placement.offer(w, node)
    wake(w)


@compiled
def is_broken(w: Tables, node: int) -> bool:
    """Say whether a fault of a node or of one of its GPUs is open."""
    fault = w.nodes[node]["fault"]
    while fault != NONE:
        if w.classes[w.faults[fault]["class"]]["scope"] in (Scope.GPU, Scope.NODE):
            return True
        fault = w.faults[fault]["next"]
    return False


@compiled
def is_coming(w: Tables, node: int) -> bool:
    """Say whether what shows on a node is the precursor of a fault that will come."""
    row = w.nodes[node]
    if row["warn"] == NONE:
        return False
    left_s = w.arrivals[node, row["warn_class"]] - w.core[0]["now_s"]
    return bool(left_s <= lead_s(w, row["warn_class"], node))


@compiled
def pace(w: Tables, job: int) -> float:
    """Return a job's speed against its own where nothing is slow; 0: it makes no steps."""
    row = w.jobs[job]
    if row["phase"] != Phase.RUNNING or row["stage"] != Stage.STEPPING or row["step_s"] <= 0:
        return 0.0
    return float(row["ideal_s"] / row["step_s"])


@compiled
def _keep_spares(w: Tables, node: int) -> None:
    """Let a node that comes back be a spare where a job has taken one for its own."""
    if w.nodes[node]["pool"]:
        return
    for other in range(len(w.nodes)):
        row = w.nodes[other]
        if row["pool"] and row["free"] < row["gpus"]:
            row["pool"], w.nodes[node]["pool"] = False, True
            return


@compiled
def _look(w: Tables, trouble: int) -> None:
    row = w.troubles[trouble]
    if not row["open"] or row["due_s"] > w.core[0]["now_s"]:
        return
    job = row["job"]
    if row["busy"] or row["person_s"] <= w.core[0]["now_s"]:
        _ask(w, trouble)
    elif w.jobs[job]["number"] != row["number"] or w.jobs[job]["phase"] == Phase.COMPLETED:
        _close(w, trouble)
    elif w.jobs[job]["phase"] == Phase.PENDING or w.jobs[job]["first"] == NONE:
        look_later(w, trouble, _QUEUED_S)
    elif _waits(w, job):
        look_later(w, trouble, LOOK_S)
    elif not _touched(w, trouble) and (
        w.jobs[job]["phase"] == Phase.RUNNING or _is_another(w, trouble)
    ):
        _close(w, trouble)
        _meet_failed(w, job)
    else:
        guess(w, trouble)
        _ask(w, trouble)


@compiled
def _waits(w: Tables, job: int) -> bool:
    """Say whether there is nothing to decide: a job starts, saves its state or is in a plan."""
    row = w.jobs[job]
    starts = row["phase"] == Phase.STARTING or row["stage"] == Stage.CAPTURING
    return bool(starts or row["handled"] != NONE)


@compiled
def _touched(w: Tables, trouble: int) -> bool:
    """Say whether the job hangs, or runs on what broke while it is broken."""
    row = w.troubles[trouble]
    job, fault = row["job"], row["fault"]
    if w.jobs[job]["stage"] == Stage.HUNG and not _is_another(w, trouble):
        return True
    if row["warning"]:
        return w.nodes[row["node"]]["warn"] != NONE and has(w, row["node"], job)
    if fault == NONE or not math.isnan(w.faults[fault]["mended_s"]):
        return False
    kind = w.classes[w.faults[fault]["class"]]
    if kind["effect"] in _TUNED:
        return pace(w, job) < _WELL
    if kind["scope"] in (Scope.GPU, Scope.NODE):
        return has(w, w.faults[fault]["node"], job)
    return kind["scope"] == Scope.JOB or _reaches(w, fault, job)


@compiled
def _is_another(w: Tables, trouble: int) -> bool:
    """Say whether it is not the trouble's fault that its job stands: another struck it since.

    Or other incidents ask for it, as far as nothing is known of what it stands by.
    """
    row = w.troubles[trouble]
    job = w.jobs[row["job"]]
    if job["struck"] == NONE:
        behind = _behind(w, row["job"])
        return bool(job["troubled"] > 1 or (behind != NONE and behind != row["fault"]))
    return bool(job["struck"] != row["fault"])


@compiled
def _reaches(w: Tables, fault: int, job: int) -> bool:
    """Say whether a job has a node of a fault's domain; its nodes are neighbours in order."""
    domain = w.domains[w.faults[fault]["home"]]
    first = w.members[domain["first"]]
    node = w.jobs[job]["first"]
    for _ in range(w.jobs[job]["nodes"]):
        if first <= node < first + domain["count"]:
            return True
        node = w.nodes[node]["next"]
    return False


@compiled
def _close(w: Tables, trouble: int) -> None:
    """Let an incident be over, and count how it went."""
    row, core = w.troubles[trouble], w.core[0]
    row["open"] = False
    if row["warning"]:
        w.nodes[row["node"]]["warned"] = 0
    core["open_n"] -= 1
    job = w.jobs[row["job"]]
    if job["number"] == row["number"]:
        job["troubled"] -= 1
        if not math.isinf(row["person_s"]):
            job["paged"] -= 1
    row["person_s"] = math.inf  # nobody needs to come any more
    core["closed"] += 1
    if row["restarts"] + row["moves"] == 0 and not row["paged"]:
        core["idle_closed"] += 1
    if row["fault"] == NONE:
        return
    over_s = core["now_s"]
    mended_s = w.faults[row["fault"]]["mended_s"]
    if job["number"] == row["number"] and job["since_s"] > row["opened_s"]:
        over_s = min(over_s, job["since_s"])
    elif mended_s > row["opened_s"]:
        over_s = min(over_s, mended_s)
    core["recovered"] += 1
    core["recovered_s"] += over_s - row["opened_s"]


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
def _open(w: Tables, fault: int, job: int) -> None:
    """Open an incident about a fault that touches a job, or go on with the one that foretold it."""
    trouble = _foretold(w, fault, job)
    if trouble == NONE:
        trouble = _new(w, fault, job)
    blame(w, trouble)
    w.faults[fault]["noticed_s"] = w.core[0]["now_s"]
    _ask_unless_busy(w, trouble)


@compiled
def _foretold(w: Tables, fault: int, job: int) -> int:
    """Make the incident about a fault's precursor one about the fault and return it, or NONE."""
    node = w.faults[fault]["node"]
    if node == NONE or w.nodes[node]["warned"] == 0:
        return NONE
    trouble = int(w.nodes[node]["warned"]) - 1
    row = w.troubles[trouble]
    if row["busy"] or row["job"] != job or row["number"] != w.jobs[job]["number"]:
        return NONE
    w.nodes[node]["warned"] = 0
    row["warning"], row["fault"] = False, fault
    return trouble


@compiled
def _open_warning(w: Tables, node: int, kind: int) -> None:
    """Open an incident about a precursor on a node that a running job has."""
    row = w.nodes[node]
    job = row["held_by"]
    shows = row["warn"] != NONE and row["warn_class"] == kind and row["warned"] == 0
    if not shows or job == NONE or w.jobs[job]["phase"] != Phase.RUNNING:
        return
    trouble = _new(w, NONE, job)
    w.troubles[trouble]["warning"] = True
    row["warned"] = trouble + 1
    if not is_coming(w, node):
        w.core[0]["false_incidents"] += 1
    blame_coming(w, trouble, node, kind)
    _ask_unless_busy(w, trouble)


@compiled
def _meet_failed(w: Tables, job: int) -> None:
    """Open an incident about a job that has failed; where others tell of it, look at these soon."""
    row = w.jobs[job]
    if row["phase"] != Phase.STOPPED or row["first"] == NONE:
        return
    if row["troubled"] > 0:
        _look_soon(w, job)
        return
    fault = _behind(w, job)
    if fault != NONE:
        _open(w, fault, job)
        return
    trouble = _new(w, NONE, job)
    blame_nothing(w, trouble, row["first"], _ALARMS + row["number"] * GPUS + row["restarts"])
    _ask_unless_busy(w, trouble)


@compiled
def _look_soon(w: Tables, job: int) -> None:
    """Look at a job's incidents in the daemon's next cycle, those left: plans look for themselves.

    An incident that is looked at sooner anyway is left as it is.
    """
    core = w.core[0]
    for trouble in range(core["troubles_n"]):
        row = w.troubles[trouble]
        own = row["open"] and row["job"] == job and row["number"] == w.jobs[job]["number"]
        if own and not row["busy"] and row["due_s"] > core["now_s"] + LOOK_S:
            look_later(w, trouble, LOOK_S)


@compiled
def _behind(w: Tables, job: int) -> int:
    """Return the fault that a job failed by: the one that struck it, or one that is open there."""
    row = w.jobs[job]
    if row["struck"] != NONE:
        return int(row["struck"])
    node = row["first"]
    for _ in range(row["nodes"]):
        for which in range(condition.CHAINS):
            fault = condition.chain(w, node, which)
            if fault != NONE:
                return fault
        node = w.nodes[node]["next"]
    return NONE


@compiled
def _open_alarm(w: Tables, index: int) -> None:
    """Open an incident about nothing: some job and a node of it are blamed."""
    _next_alarm(w, index + 1)
    node = int(uniform(w.core[0]["seed"], Purpose.BLAME, index, 0) * len(w.nodes))
    job = w.nodes[node]["held_by"]
    if job == NONE or w.jobs[job]["phase"] != Phase.RUNNING:
        return
    trouble = _new(w, NONE, job)
    w.core[0]["false_incidents"] += 1
    blame_nothing(w, trouble, node, index)
    _ask_unless_busy(w, trouble)


@compiled
def _ask_unless_busy(w: Tables, trouble: int) -> None:
    """Ask for the first decision, or wait where a plan for another incident has the job."""
    if w.jobs[w.troubles[trouble]["job"]]["handled"] != NONE:
        look_later(w, trouble, LOOK_S)
    else:
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
    core["open_n"] += 1
    core["incidents"] += 1
    w.jobs[job]["troubled"] += 1
    row = w.troubles[trouble]
    row["fault"] = fault
    row["job"] = job
    row["number"] = w.jobs[job]["number"]
    row["opened_s"], row["due_s"] = core["now_s"], core["now_s"]
    row["looks"] = 0
    row["open"], row["busy"], row["paged"], row["warning"] = True, False, False, False
    row["restarts"], row["moves"] = 0, 0
    row["tried_s"], row["person_s"] = -math.inf, math.inf
    row["choice"], row["order"] = 0, NONE
    return trouble


@compiled
def _job_of(w: Tables, fault: int) -> int:
    """Return the job that a fault troubles: the one it stopped, or one on what it struck; NONE."""
    row = w.faults[fault]
    if row["node"] != NONE:
        found = placement.first_on(w, row["node"], NONE)
        if found != NONE:
            return found
    job = row["job"]
    there = job != NONE and w.jobs[job]["number"] == row["number"]
    if there and w.jobs[job]["phase"] != Phase.COMPLETED:
        return int(job)
    if row["home"] == NONE or condition.is_own(w, fault):
        return NONE
    if w.classes[row["class"]]["effect"] == Effect.SURGE:
        return int(w.services[0]["job"]) if len(w.services) > 0 else NONE
    domain = w.domains[row["home"]]
    for place in range(domain["first"], domain["first"] + domain["count"]):
        if w.nodes[w.members[place]]["held_by"] != NONE:
            return int(w.nodes[w.members[place]]["held_by"])
    return NONE
