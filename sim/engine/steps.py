"""A choice carried out: the steps of its plan, each looked for every 15 s until its effect shows.

What is ordered is what ``remediation.deciding.plans`` makes of the same choice. Orders do not fail
by luck here. A plan that fails on its way gives back the node that it had taken out and not yet
moved.
"""

from enum import IntEnum

from core.choice import Choice
from sim.engine import (
    blame,
    menu,
    order_log,
    people,
    placement,
    queue,
    standins,
    surrogate,
    verbs,
)
from sim.engine.facts import saved_at
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
    END = 5


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
_OF_THE_JOB = (Choice.RESTART, Choice.ROLL_BACK, Choice.TUNE)  # what they disturb, not a node
_SWAPS = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH)
_UNSAVED = (Choice.SHRINK, Choice.ROLL_BACK, Choice.TUNE)  # these need none, or write it themselves


@compiled
def begin(w: Tables, trouble: int, choice: int, job: int, causes: Array, terms: Array) -> None:
    """Begin a plan for a trouble and the job on its blamed node; its choice must be open."""
    row, core = w.troubles[trouble], w.core[0]
    row["choice"], row["ordered"] = choice, False
    row["subject"] = job if choice != Choice.ESCALATE else row["job"]
    row["subject_number"] = w.jobs[row["subject"]]["number"]
    row["save"] = choice not in _UNSAVED and w.jobs[row["subject"]]["phase"] == Phase.RUNNING
    _choose_nodes(w, trouble, terms)
    if choice == Choice.ESCALATE:
        order_log.log(w, trouble, causes)
        people.call(w, trouble)
        order_log.note(w, trouble)
        return
    row["busy"] = True
    if choice in _MOVES:
        row["moves"] += 1
        row["tried_s"] = core["now_s"]
    elif choice in _IN_PLACE:
        row["restarts"] += 1
        row["tried_s"] = core["now_s"]
    order_log.log(w, trouble, causes)
    w.jobs[job]["handled"] = trouble
    row["stage"] = _first(w, trouble)
    row["acts_due"] = _count_acts(w, trouble)
    core["acts_due"] += row["acts_due"]
    go_on(w, trouble, causes)
    order_log.note(w, trouble)


@compiled
def _choose_nodes(w: Tables, trouble: int, terms: Array) -> None:
    """Write down which nodes a plan is about and which are to stand in for them; it has these."""
    row = w.troubles[trouble]
    job, choice = row["subject"], row["choice"]
    row["at"], row["beside"] = row["node"], NONE
    row["spare"], row["spare_beside"], row["lender"] = NONE, NONE, NONE
    if choice in _SWAPS:
        row["spare"] = standins.in_place_of(w, row["node"], job, NONE, terms)
    if choice == Choice.SWAP_BOTH:
        row["beside"] = row["other_node"]
        row["spare_beside"] = standins.in_place_of(w, row["beside"], job, row["spare"], terms)
    if choice == Choice.BORROW:
        row["lender"] = standins.lender(w, job, terms)
        row["spare"] = standins.lent_node(w, row["lender"], job, terms)
        w.jobs[row["lender"]]["handled"] = trouble
    _promise(w, trouble, True)


@compiled
def _promise(w: Tables, trouble: int, promised: bool) -> None:
    """Let no other plan have the nodes that stand in, or let them be free for others again."""
    row = w.troubles[trouble]
    if row["spare"] != NONE:
        w.nodes[row["spare"]]["promised"] = promised
    if row["spare_beside"] != NONE:
        w.nodes[row["spare_beside"]]["promised"] = promised


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
            surrogate.look_later(w, trouble, min(surrogate.LOOK_S, until_s - now_s))
            return
        if not done and not optional:
            break
        row["stage"], row["ordered"] = _after(w, trouble), False
    _finish(w, trouble)


@compiled
def _first(w: Tables, trouble: int) -> int:
    row = w.troubles[trouble]
    if row["choice"] in _MOVES:
        return Step.CORDON.value
    return Step.SAVE.value if row["save"] else _after_save(row["choice"])


@compiled
def _count_acts(w: Tables, trouble: int) -> int:
    """Return how many actions a plan's steps are, as a plan in life has them."""
    row = w.troubles[trouble]
    choice = row["choice"]
    count = 1 if row["save"] else 0
    if choice == Choice.CHECKPOINT:
        return count
    count += _acts_of(w, trouble, Step.START.value)
    if choice in _MOVES:
        count += _acts_of(w, trouble, Step.CORDON.value)
    if choice == Choice.REBOOT:
        count += 1
    return count + 1 if choice == Choice.SWAP_AND_REPAIR else count


@compiled
def _acts_of(w: Tables, trouble: int, stage: int) -> int:
    """Return how many actions a step is.

    A free node is kept as a spare and each node cordoned by an action of its own; a job that is
    rebooted under starts again by the same action; one that shrinks was saved by another.
    """
    row = w.troubles[trouble]
    choice, count = row["choice"], 1
    if stage == Step.CORDON:
        if row["beside"] != NONE:
            count += 1 + menu.adds_spare(w, row["spare_beside"])
        return count + (menu.adds_spare(w, row["spare"]) if choice in _SWAPS else 0)
    if stage == Step.START and choice == Choice.REBOOT:
        return 0
    if stage == Step.START and choice == Choice.SHRINK:
        return 1 + menu.saves(w, row["subject"])
    return count


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
    return _SWAP_S if row["choice"] in _MOVES else _START_S


@compiled
def _order(w: Tables, trouble: int, causes: Array) -> bool:
    """Give the order of a plan's step; say whether the scheduler took it."""
    row, core = w.troubles[trouble], w.core[0]
    job, stage = row["subject"], row["stage"]
    if w.jobs[job]["number"] != row["subject_number"]:
        return False
    count = _acts_of(w, trouble, stage)
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
        order_log.count_unsaved(w, trouble)
        verbs.stop(w, job)
        w.nodes[row["at"]]["out_s"] = core["now_s"]
        verbs.reboot(w, row["at"])
    elif stage == Step.REBOOT:
        _reboot(w, row["at"])
    else:
        order_log.count_unsaved(w, trouble)
        if not _order_start(w, trouble, causes):
            return False
        w.orders[row["order"]]["spares"] = placement.count_spares(w, len(w.nodes))
    _count_done(w, trouble, count)
    return True


@compiled
def _count_done(w: Tables, trouble: int, count: int) -> None:
    """Count actions that were ordered now; a plan may have fewer to come than it began with."""
    row, core = w.troubles[trouble], w.core[0]
    for _ in range(count):
        core["acts_s"][core["acts"] % ACTS] = core["now_s"]
        core["acts"] += 1
    count = min(count, row["acts_due"])
    core["acts_due"] -= count
    row["acts_due"] -= count


@compiled
def _take_out(w: Tables, node: int, order: int) -> None:
    """Take a node out of service, unless somebody keeps it already."""
    core, row = w.core[0], w.nodes[node]
    if row["hold"] != Hold.NOBODY:
        return
    verbs.take_out(w, node, Hold.AGENT)
    row["out_s"], row["acted_s"] = core["now_s"], core["now_s"]
    standins.note_taken(w, node)
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
        and lender["handled"] == trouble
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
def _has_failed(w: Tables, trouble: int) -> bool:
    """Say whether a start that was ordered has failed already, or a job can save nothing more."""
    row = w.troubles[trouble]
    if row["stage"] not in (Step.SAVE, Step.START):
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
    if there:
        w.jobs[job]["handled"] = NONE
        if row["choice"] in _OF_THE_JOB:
            w.jobs[job]["acted_s"] = core["now_s"]
    if row["lender"] != NONE and w.jobs[row["lender"]]["handled"] == trouble:
        w.jobs[row["lender"]]["handled"] = NONE
    _promise(w, trouble, False)
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
        standins.forget_taken(w, node)
