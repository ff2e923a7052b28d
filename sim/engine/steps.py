"""A choice carried out: the steps of its plan, each looked for every 15 s until its effect shows.

What is ordered is what ``remediation.deciding.plans`` makes of the same choice. Orders do not fail
by luck here. A plan that fails on its way gives back the node that it had taken out and not yet
moved.
"""

import math
from enum import IntEnum

from core.choice import Choice
from sim.engine import blame, effects, jobs, menu, placement, queue, surrogate, verbs
from sim.engine.facts import saved_at
from sim.engine.heap import whole
from sim.engine.jit import compiled
from sim.engine.knobs import has_processes, tune
from sim.engine.machines import ready
from sim.engine.rows_cluster import ACTS
from sim.engine.tables import Array, Tables
from sim.engine.words import NONE, Back, Hold, Phase, Stage


class Step(IntEnum):
    """The steps of a plan in their order."""

    CORDON = 0
    SAVE = 1
    HALT = 2  # the job is stopped and the node rebooted
    START = 3
    REBOOT = 4
    PERSON = 5
    END = 6


# The catalogue's deadlines: cordon, checkpoint, reboot, restart; a swap has longer.
_CORDON_S, _SAVE_S, _BOOT_S, _START_S, _SWAP_S = 120.0, 300.0, 1500.0, 900.0, 1200.0
_MOVES = (
    Choice.SWAP,
    Choice.SWAP_AND_REPAIR,
    Choice.SWAP_BOTH,
    Choice.SHRINK,
    Choice.BORROW,
)
_IN_PLACE = (Choice.RESTART, Choice.REBOOT, Choice.ROLL_BACK, Choice.TUNE)
_UNSAVED = (Choice.SHRINK, Choice.ROLL_BACK, Choice.TUNE)  # these need none, or write it themselves
_PERSON_LO, _PERSON_HI = 0.5, 1.5  # times a site's mean until a person has mended it: assumed


@compiled
def begin(
    w: Tables, trouble: int, choice: int, job: int, causes: Array, spares_kept: float
) -> None:
    """Begin a plan for a trouble and the job on its blamed node; its choice must be open."""
    row, core = w.troubles[trouble], w.core[0]
    row["busy"], row["choice"], row["ordered"] = True, choice, False
    row["at"], row["beside"] = row["node"], NONE
    row["spare"], row["spare_beside"], row["lender"] = NONE, NONE, NONE
    row["subject"] = job if choice != Choice.ESCALATE else row["job"]
    row["subject_number"] = w.jobs[row["subject"]]["number"]
    row["save"] = choice not in _UNSAVED and w.jobs[row["subject"]]["phase"] == Phase.RUNNING
    if choice in (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH):
        row["spare"] = menu.in_place_of(w, row["node"], NONE, spares_kept)
    if choice == Choice.SWAP_BOTH:
        row["beside"] = row["other_node"]
        kept = spares_kept + (1 if w.nodes[row["spare"]]["pool"] else 0)
        row["spare_beside"] = menu.in_place_of(w, row["other_node"], row["spare"], kept)
    if choice == Choice.BORROW:
        row["lender"] = menu.lender(w, job)
        row["spare"] = menu.lent_node(w, row["lender"])
    if choice in _MOVES:
        row["moves"] += 1
        row["tried_s"] = core["now_s"]
    elif choice in _IN_PLACE:
        row["restarts"] += 1
        row["tried_s"] = core["now_s"]
    if choice != Choice.ESCALATE:
        w.jobs[job]["handled"] = trouble
    row["stage"] = _first(w, trouble)
    row["acts_due"] = _count_acts(w, trouble)
    core["acts_due"] += row["acts_due"]
    _log(w, trouble)
    go_on(w, trouble, causes)
    _note(w, trouble)


@compiled
def go_on(w: Tables, trouble: int, causes: Array) -> None:
    """Go through the steps of a plan until one takes time, fails or is the last."""
    row, now_s = w.troubles[trouble], w.core[0]["now_s"]
    while row["stage"] != Step.END:
        optional = row["stage"] == Step.SAVE
        if not row["ordered"]:
            if _order(w, trouble, causes):
                row["ordered"], row["ordered_s"] = True, now_s
            elif not optional:
                break
            else:
                row["stage"] = _after(w, trouble)
                continue
        until_s = row["ordered_s"] + _deadline_s(w, trouble)
        done = _is_done(w, trouble)
        if not done and now_s < until_s and not _has_failed(w, trouble):
            surrogate.look_later(w, trouble, min(_look_s(w, trouble), until_s - now_s))
            return
        if not done and not optional:
            break
        row["stage"], row["ordered"] = _after(w, trouble), False
    _finish(w, trouble)


@compiled
def _first(w: Tables, trouble: int) -> int:
    row = w.troubles[trouble]
    if row["choice"] == Choice.ESCALATE:
        return Step.PERSON.value
    if row["choice"] in _MOVES:
        return Step.CORDON.value
    return Step.SAVE.value if row["save"] else _after_save(row["choice"])


@compiled
def _count_acts(w: Tables, trouble: int) -> int:
    """Return how many steps a plan orders."""
    row = w.troubles[trouble]
    choice = row["choice"]
    if choice == Choice.ESCALATE:
        return 0
    count = 1 if row["save"] else 0
    if choice == Choice.CHECKPOINT:
        return count
    count += 1
    if choice in _MOVES or choice == Choice.REBOOT:
        count += 1
    return count + 1 if choice == Choice.SWAP_AND_REPAIR else count


@compiled
def _after_save(choice: int) -> int:
    if choice == Choice.CHECKPOINT:
        return Step.END.value
    return Step.HALT.value if choice == Choice.REBOOT else Step.START.value


@compiled
def _after(w: Tables, trouble: int) -> int:
    """Return the step of a plan that comes next."""
    row = w.troubles[trouble]
    stage, choice = row["stage"], row["choice"]
    if stage == Step.CORDON and row["save"]:
        return Step.SAVE.value
    if stage <= Step.SAVE:
        return _after_save(choice)
    if stage == Step.HALT:
        return Step.START.value
    if stage == Step.START and choice == Choice.SWAP_AND_REPAIR:
        return Step.REBOOT.value
    return Step.END.value


@compiled
def _deadline_s(w: Tables, trouble: int) -> float:
    row = w.troubles[trouble]
    if row["stage"] == Step.CORDON:
        return _CORDON_S
    if row["stage"] == Step.SAVE:
        return _SAVE_S
    if row["stage"] == Step.HALT:
        return _BOOT_S
    if row["stage"] == Step.PERSON:
        return math.inf
    return _SWAP_S if row["choice"] in _MOVES else _START_S


@compiled
def _look_s(w: Tables, trouble: int) -> float:
    """Return after what time a step's effect is looked for again."""
    row = w.troubles[trouble]
    if row["stage"] != Step.PERSON:
        return surrogate.LOOK_S
    return float(row["person_s"] - w.core[0]["now_s"])


@compiled
def _order(w: Tables, trouble: int, causes: Array) -> bool:
    """Give the order of a plan's step; say whether the scheduler took it."""
    row, core = w.troubles[trouble], w.core[0]
    job, stage = row["subject"], row["stage"]
    if stage == Step.PERSON:
        _page(w, trouble)
        return True
    if w.jobs[job]["number"] != row["subject_number"]:
        return False
    if stage == Step.CORDON:
        _take_out(w, row["at"], row["order"])
        if row["beside"] != NONE:
            _take_out(w, row["beside"], row["order"])
    elif stage == Step.SAVE:
        if w.jobs[job]["stage"] not in (Stage.STEPPING, Stage.CAPTURING):
            return False
        verbs.capture(w, job)
    elif stage == Step.HALT:
        if not w.nodes[row["at"]]["up"]:
            return False
        _count_unsaved(w, trouble)
        verbs.stop(w, job)
        w.nodes[row["at"]]["out_s"] = core["now_s"]
        verbs.reboot(w, row["at"])
    elif stage == Step.REBOOT:
        _reboot(w, row["at"])
    else:
        _count_unsaved(w, trouble)
        if not _order_start(w, trouble, causes):
            return False
        w.orders[row["order"]]["spares"] = placement.count_spares(w, len(w.nodes))
    core["acts_s"][core["acts"] % ACTS] = core["now_s"]
    core["acts"] += 1
    core["acts_due"] -= 1
    row["acts_due"] -= 1
    return True


@compiled
def _count_unsaved(w: Tables, trouble: int) -> None:
    """Write down what a stop loses of a stepping job; SHRINK and TUNE write its state first."""
    row = w.troubles[trouble]
    job = w.jobs[row["subject"]]
    writes = row["choice"] in (Choice.SHRINK, Choice.TUNE)
    if job["stage"] == Stage.STEPPING and not math.isinf(job["interval_s"]) and not writes:
        since_s = max(saved_at(w, row["subject"]) - job["save_s"], job["since_s"])
        lost_s = w.core[0]["now_s"] - since_s
        w.orders[row["order"]]["unsaved_gpu_s"] += job["given"] * lost_s


@compiled
def _take_out(w: Tables, node: int, order: int) -> None:
    """Take a node out of service, unless somebody keeps it already."""
    core, row = w.core[0], w.nodes[node]
    if row["hold"] != Hold.NOBODY:
        return
    verbs.take_out(w, node, Hold.AGENT)
    row["out_s"], row["acted_s"] = core["now_s"], core["now_s"]
    row["order"] = order
    w.orders[order]["taken"] += 1
    core["drains"] += 1
    if not surrogate.is_broken(w, node) and not surrogate.is_coming(w, node):
        core["wrong_drains"] += 1


@compiled
def _order_start(w: Tables, trouble: int, causes: Array) -> bool:
    """Start the job anew as the choice says; say whether that could be done."""
    row = w.troubles[trouble]
    job, node, choice = row["subject"], row["at"], row["choice"]
    if choice not in _MOVES:
        return _start_in_place(w, trouble, causes)
    if w.nodes[node]["held_by"] != job or not menu.others_ready(w, job, node, row["beside"]):
        return False
    if not _move(w, trouble):
        return False
    _send_back(w, node)
    if row["beside"] != NONE:
        _send_back(w, row["beside"])
    return True


@compiled
def _move(w: Tables, trouble: int) -> bool:
    """Take the node from the job and start it on others; say whether that could be done."""
    row = w.troubles[trouble]
    job, node, choice, spare = row["subject"], row["at"], row["choice"], row["spare"]
    if choice == Choice.SHRINK:
        can = queue.fitting(w, job, w.jobs[job]["nodes"] - 1) > 0
        if can:
            verbs.do_without(w, job, node, True)
        return can
    if choice == Choice.BORROW:
        can = _still_lends(w, trouble)
        if can:
            verbs.borrow(w, job, node, row["lender"], spare)
        return can
    can = _is_spare(w, spare)
    if choice == Choice.SWAP_BOTH:
        can = can and _is_spare(w, row["spare_beside"]) and w.nodes[row["beside"]]["held_by"] == job
    if not can:
        return False
    if choice == Choice.SWAP_BOTH:
        verbs.stop(w, job)
        verbs.exchange(w, job, row["beside"], row["spare_beside"])
    elif choice == Choice.SWAP_AND_REPAIR and w.nodes[node]["hold"] == Hold.AGENT:
        w.nodes[node]["back"] = Back.AS_UP
    verbs.swap(w, job, node, spare)
    return True


@compiled
def _send_back(w: Tables, node: int) -> None:
    """Let a node that is out and empty now return when it is repaired and checked."""
    if w.nodes[node]["hold"] == Hold.AGENT and w.nodes[node]["back"] == Back.NOT:
        surrogate.return_later(w, node)


@compiled
def _is_spare(w: Tables, node: int) -> bool:
    if node == NONE:
        return False
    row = w.nodes[node]
    return bool(row["bucket"] == 0 or row["bucket"] == row["gpus"])


@compiled
def _still_lends(w: Tables, trouble: int) -> bool:
    row = w.troubles[trouble]
    lender, job = w.jobs[row["lender"]], w.jobs[row["subject"]]
    there = lender["number"] != NONE and lender["priority"] < job["priority"]
    return bool(
        there
        and w.nodes[row["spare"]]["held_by"] == row["lender"]
        and lender["handled"] == NONE
        and ready(w, row["spare"])
    )


@compiled
def _start_in_place(w: Tables, trouble: int, causes: Array) -> bool:
    row = w.troubles[trouble]
    job = row["subject"]
    can = w.jobs[job]["first"] != NONE and menu.others_ready(w, job, NONE, NONE)
    if row["choice"] == Choice.TUNE:
        return tune(w, trouble, causes)
    if not can or w.jobs[job]["phase"] == Phase.STARTING:
        return False
    if row["choice"] == Choice.ROLL_BACK:
        verbs.roll_back_one(w, job)
    else:
        verbs.restart(w, job)
    return True


@compiled
def _reboot(w: Tables, node: int) -> None:
    """Reboot a node that is out and empty; one that is down is repaired and checked instead."""
    row = w.nodes[node]
    if row["back"] != Back.AS_UP:
        return
    if not row["up"] or has_processes(w, node):
        surrogate.return_later(w, node)
        return
    row["out_s"] = w.core[0]["now_s"]
    verbs.reboot(w, node)


@compiled
def _page(w: Tables, trouble: int) -> None:
    """Call a person, who comes after a drawn time."""
    row, core = w.troubles[trouble], w.core[0]
    luck = blame.luck_of_person(w, trouble)
    times = _PERSON_LO + (_PERSON_HI - _PERSON_LO) * luck
    row["paged"] = True
    row["person_s"] = whole(core["now_s"] + w.site[0]["people_s"] * times)
    core["pages"] += 1
    w.jobs[row["subject"]]["paged"] += 1


@compiled
def _mend(w: Tables, trouble: int) -> None:
    """Let the person who has come mend all that troubles the job, and start it if it stands."""
    row = w.troubles[trouble]
    row["person_s"] = math.inf
    job = row["subject"]
    at = w.jobs[job]
    for other in range(w.core[0]["troubles_n"]):
        its = w.troubles[other]
        same = its["job"] == job and its["number"] == row["subject_number"]
        if its["open"] and same and its["fault"] != NONE:
            effects.mend(w, its["fault"])
    if at["number"] != row["subject_number"]:
        return
    at["paged"] -= 1
    if at["stage"] == Stage.HUNG:
        jobs.end_processes(w, job)
    if at["phase"] == Phase.STOPPED and at["handled"] == NONE:
        queue.requeue(w, job)


@compiled
def _has_failed(w: Tables, trouble: int) -> bool:
    """Say whether a start that was ordered has failed already."""
    row = w.troubles[trouble]
    if row["stage"] != Step.START:
        return False
    job = w.jobs[row["subject"]]
    gone = job["number"] != row["subject_number"] or job["phase"] == Phase.COMPLETED
    return bool(gone or job["phase"] == Phase.STOPPED)


@compiled
def _is_done(w: Tables, trouble: int) -> bool:
    """Say whether the effect of a plan's step shows."""
    row = w.troubles[trouble]
    stage, done = row["stage"], True  # nobody waits for the reboot of a node that is out
    if stage == Step.CORDON:
        done = w.nodes[row["at"]]["hold"] != Hold.NOBODY
    elif stage == Step.PERSON:
        done = w.core[0]["now_s"] >= row["person_s"]
        if done:
            _mend(w, trouble)
    elif stage == Step.HALT:
        done = _is_up_again(w, trouble)
    elif stage in (Step.SAVE, Step.START):
        done = _job_is_done(w, trouble)
    return bool(done)


@compiled
def _job_is_done(w: Tables, trouble: int) -> bool:
    """Say whether a job's state is saved, or it runs again, since that was ordered."""
    row = w.troubles[trouble]
    job = w.jobs[row["subject"]]
    if job["number"] != row["subject_number"]:
        return False
    if row["stage"] == Step.SAVE:
        return bool(saved_at(w, row["subject"]) >= row["ordered_s"])
    again = job["since_s"] >= row["ordered_s"] or row["choice"] == Choice.TUNE
    return bool(job["phase"] == Phase.RUNNING and again)


@compiled
def _is_up_again(w: Tables, trouble: int) -> bool:
    """Say whether the node that was rebooted under its job is up, and count how long it took."""
    row, core = w.troubles[trouble], w.core[0]
    node = w.nodes[row["at"]]
    if not node["up"]:
        return False
    core["boots"] += 1
    core["boots_s"] += core["now_s"] - node["out_s"]
    return True


@compiled
def _finish(w: Tables, trouble: int) -> None:
    """End a plan that is done or has failed."""
    row, core = w.troubles[trouble], w.core[0]
    worked = row["stage"] == Step.END
    core["acts_due"] -= row["acts_due"]
    job = row["subject"]
    there = w.jobs[job]["number"] == row["subject_number"]
    if row["choice"] != Choice.ESCALATE and there:
        w.jobs[job]["handled"] = NONE
        if row["choice"] in _IN_PLACE:
            w.jobs[job]["acted_s"] = core["now_s"]
    if row["choice"] in _MOVES or row["choice"] == Choice.REBOOT:
        _let_rest(w, row["at"], job)
        if row["beside"] != NONE:
            _let_rest(w, row["beside"], job)
    order = w.orders[row["order"]]
    order["worked"], order["ended_s"] = worked, core["now_s"]
    row["choice"] = Choice.WAIT
    surrogate.rest(w, trouble, surrogate.LOOK_S)


@compiled
def _let_rest(w: Tables, node: int, job: int) -> None:
    """Leave a node alone for a while; give it back where the plan did not get as far as moving."""
    row = w.nodes[node]
    row["acted_s"] = w.core[0]["now_s"]
    if row["hold"] == Hold.AGENT and row["back"] == Back.NOT and blame.has(w, node, job):
        verbs.give_back(w, node)


@compiled
def _log(w: Tables, trouble: int) -> None:
    """Write down what is ordered."""
    core, row = w.core[0], w.troubles[trouble]
    row["order"] = core["orders_n"]
    core["orders_n"] += 1
    order = w.orders[row["order"]]
    order["time_s"], order["ended_s"] = core["now_s"], math.nan
    order["trouble"], order["choice"], order["worked"] = trouble, row["choice"], False
    order["node"], order["job"] = row["at"], row["subject_number"]
    order["other"], order["put"] = row["beside"], row["spare"]
    order["taken"], order["unsaved_gpu_s"] = 0, 0.0
    order["back_s"], order["other_back_s"] = math.inf, math.inf


@compiled
def _note(w: Tables, trouble: int) -> None:
    """Write down how much of the bounds is used, as an order has begun."""
    row = w.troubles[trouble]
    order = w.orders[row["order"]]
    order["out"], order["rack"] = w.core[0]["out"], menu.out_in_rack(w, row["at"])
    order["spares"] = placement.count_spares(w, len(w.nodes))
