"""Decisions about incidents at the engine's speed: what is seen, what can be done, what comes.

What a policy sees and may choose is what ``remediation.choices`` makes of the same moment; a choice
becomes steps whose effect is looked for every 15 s, as the daemon carries out a plan. Orders do not
fail by luck here.
"""

import math
from enum import IntEnum
from typing import Any

from sim.engine import placement, surrogate, verbs
from sim.engine.accounts import totals
from sim.engine.jit import compiled
from sim.engine.loop import advance
from sim.engine.machines import ready
from sim.engine.progress import checkpoint_at
from sim.engine.room import is_short
from sim.engine.tables import Tables
from sim.engine.words import NONE, Hold, Phase, Stage


class Choice(IntEnum):
    """What a policy chooses from, by the numbers of ``remediation.choices.Choice``."""

    WAIT = 0
    CHECKPOINT = 1
    RESTART = 2
    SWAP = 3
    SWAP_AND_REPAIR = 4


class Status(IntEnum):
    """Why ``step`` returned."""

    DECISION = 0  # the next one is due
    OVER = 1  # its time is up
    SHORT = 2  # nothing has begun: make room and call again with the same choice
    SHORT_LATER = 3  # make room and call again with NONE


class _Step(IntEnum):
    """The steps of a plan in their order."""

    CORDON = 0
    SAVE = 1
    START = 2
    REBOOT = 3
    END = 4


Array = Any  # a numpy array that is filled or read
SEEN = 4  # faults that a policy sees one by one
SIZE = SEEN + 14  # of an observation
_MOST_BROKEN = 0.5
_WORK_S, _AGE_S, _PHASE_S = 1800.0, 1800.0, 1800.0
_NODES, _SPARES, _RESTARTS = 16.0, 2.0, 3.0
# The catalogue's deadlines: cordon, checkpoint, restart; a swap has longer.
_CORDON_S, _SAVE_S, _START_S, _SWAP_S = 120.0, 300.0, 900.0, 1200.0
_STARTABLE = (Phase.RUNNING, Phase.STARTING, Phase.STOPPED)


@compiled
def step(w: Tables, choice: int, until_s: float, sees: Array, seen: Array, mask: Array) -> int:
    """Act on the decision that is due, let time pass to the next one and look; a ``Status``.

    choice: NONE: nothing is due. sees: (2, causes) the observation's column of each cause, NONE,
    and 1 where it is broken hardware. seen: (SIZE,) f4 and mask: (5,) bool are filled.
    """
    if is_short(w):
        return Status.SHORT.value
    if choice != NONE:
        act(w, choice)
    while True:
        advance(w, until_s)
        core = w.core[0]
        if core["short"] != 0:
            return Status.SHORT_LATER.value
        if not core["stop"]:
            return Status.OVER.value
        if not w.troubles[core["decision"]]["busy"]:
            look(w, sees, seen, mask)
            return Status.DECISION.value
        if is_short(w):
            surrogate.look_later(w, core["decision"], 0.0)
            return Status.SHORT_LATER.value
        _go_on(w, core["decision"])


@compiled
def act(w: Tables, choice: int) -> None:
    """Begin what was chosen for the decision that is due; it must be offered."""
    trouble = w.core[0]["decision"]
    if choice == Choice.WAIT:
        surrogate.rest(w, trouble, surrogate.WAIT_S)
        return
    row = w.troubles[trouble]
    job = subject(w, row["node"])
    row["busy"], row["choice"], row["ordered"] = True, choice, False
    row["at"], row["subject"], row["subject_number"] = row["node"], job, w.jobs[job]["number"]
    row["save"] = w.jobs[job]["phase"] == Phase.RUNNING
    row["spare"] = nearest_spare(w, row["node"])
    row["stage"] = _Step.CORDON.value
    if choice < Choice.SWAP:
        row["stage"] = _after(w, trouble, _Step.CORDON.value)
    _go_on(w, trouble)


@compiled
def subject(w: Tables, node: int) -> int:
    """Return the largest job that has GPUs of a node, or NONE."""
    best, job = NONE, placement.first_on(w, node, NONE)
    while job != NONE:
        if best == NONE or w.jobs[job]["given"] > w.jobs[best]["given"]:
            best = job
        job = placement.first_on(w, node, job)
    return best


@compiled
def nearest_spare(w: Tables, node: int) -> int:
    """Return the ready spare nearest to a node: same leaf, same rack, then the first; or NONE."""
    best, best_far, row = NONE, 0, w.nodes[node]
    spare = placement.spare(w)
    while spare != NONE:
        other = w.nodes[spare]
        far = 2 * int(other["leaf"] != row["leaf"]) + int(other["rack"] != row["rack"])
        fits = other["gpus"] == row["gpus"]
        nearer = best == NONE or far < best_far or (far == best_far and spare < best)
        if fits and nearer:
            best, best_far = spare, far
        spare = other["bucket_next"]
    return int(best)


@compiled
def look(w: Tables, sees: Array, seen: Array, mask: Array) -> None:
    """Fill in what the policy sees of the decision that is due, and which choices it has."""
    row, core = w.troubles[w.core[0]["decision"]], w.core[0]
    job, now_s = subject(w, row["node"]), core["now_s"]
    seen[:] = 0.0
    first, second = float(row["probability"]), float(row["other_probability"])
    unknown = max(0.0, 1.0 - (first + second))
    known = _see_causes(row["cause"], row["other_cause"], first, second, sees, seen)
    seen[SEEN] = max(0.0, 1.0 - known - unknown)
    seen[SEEN + 1] = unknown
    if job != NONE:
        _see_job(w, job, seen)
    seen[SEEN + 8] = _rising(placement.count_spares(w, len(w.nodes)), _SPARES)
    seen[SEEN + 9] = 0.0 if ready(w, row["node"]) else 1.0
    seen[SEEN + 10] = _rising(now_s - row["opened_s"], _AGE_S)
    offered(w, job, broken(w, sees), mask)


@compiled
def broken(w: Tables, sees: Array) -> float:
    """Return the probability that the hardware of the node that is blamed is broken."""
    row = w.troubles[w.core[0]["decision"]]
    found = 0.0
    if sees[1, row["cause"]] != 0:
        found += float(row["probability"])
    if row["other_node"] == row["node"] and sees[1, row["other_cause"]] != 0:
        found += float(row["other_probability"])
    return found


@compiled
def offered(w: Tables, job: int, broken: float, mask: Array) -> None:
    """Fill in which choices can be carried out for a job on the node that is blamed."""
    mask[:] = False
    mask[Choice.WAIT.value] = True
    if job == NONE or w.jobs[job]["phase"] not in _STARTABLE:
        return
    node = w.troubles[w.core[0]["decision"]]["node"]
    others = _others_ready(w, job, node)
    mask[Choice.CHECKPOINT.value] = w.jobs[job]["phase"] == Phase.RUNNING
    mask[Choice.RESTART.value] = broken <= _MOST_BROKEN and others and ready(w, node)
    can = others and nearest_spare(w, node) != NONE
    mask[Choice.SWAP.value] = can
    mask[Choice.SWAP_AND_REPAIR.value] = can and _has_only(w, node, job)


@compiled
def lost(w: Tables) -> float:
    """Return the GPU-seconds that jobs asked for so far and that were not useful; all stays."""
    core = w.core[0]
    asked: float = core["asked_gpu_s"]
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        if row["number"] != NONE and not math.isnan(row["begun_s"]):
            until_s = core["now_s"] if math.isnan(row["ended_s"]) else row["ended_s"]
            asked += row["gpus"] * (until_s - row["begun_s"])
    return asked - totals(w)[1]


@compiled
def _see_causes(
    cause: int, other: int, first: float, second: float, sees: Array, seen: Array
) -> float:
    """Put the causes' probabilities in their columns; return the sum of those that have one."""
    one, two, known = sees[0, cause], sees[0, other], 0.0
    for column in range(SEEN):
        total = 0.0
        if one == column:
            total += first
        if two == column:
            total += second
        seen[column] = total
        known += total
    return known


@compiled
def _see_job(w: Tables, job: int, seen: Array) -> None:
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    phase = row["phase"]
    seen[SEEN + 2] = phase == Phase.RUNNING
    seen[SEEN + 3] = phase == Phase.STARTING
    seen[SEEN + 4] = phase == Phase.STOPPED
    saved_s = checkpoint_at(row, row["row_s"], now_s)[0] + row["save_s"]
    if math.isinf(saved_s):
        saved_s = row["since_s"]
    gpus = row["given"] if row["given"] > 0 else row["gpus"]
    seen[SEEN + 5] = _rising(now_s - saved_s, _WORK_S)
    seen[SEEN + 6] = gpus / _gpus(w)
    seen[SEEN + 7] = _rising(row["nodes"], _NODES)
    seen[SEEN + 11] = _rising(now_s - row["since_s"], _PHASE_S)
    seen[SEEN + 12] = _rising(row["restarts"], _RESTARTS)


@compiled
def _gpus(w: Tables) -> int:
    total = 0
    for count in w.core[0]["use_gpus"]:
        total += count
    return total


@compiled
def _rising(value: float, scale: float) -> float:
    return 1.0 - math.exp(-max(0.0, value) / scale)


@compiled
def _others_ready(w: Tables, job: int, node: int) -> bool:
    at = w.jobs[job]["first"]
    while at != NONE:
        if at != node and not ready(w, at):
            return False
        at = w.nodes[at]["next"]
    return True


@compiled
def _has_only(w: Tables, node: int, job: int) -> bool:
    """Say whether no other job has GPUs of a node."""
    first = placement.first_on(w, node, NONE)
    return bool(first == job and placement.first_on(w, node, job) == NONE)


@compiled
def _go_on(w: Tables, trouble: int) -> None:
    """Go through the steps of a plan until one takes time, fails or is the last."""
    row, now_s = w.troubles[trouble], w.core[0]["now_s"]
    while row["stage"] != _Step.END:
        optional = row["stage"] == _Step.SAVE
        if not row["ordered"]:
            if _order(w, trouble):
                row["ordered"], row["ordered_s"] = True, now_s
            elif not optional:
                break
            else:
                row["stage"] = _after(w, trouble, row["stage"])
                continue
        until_s = row["ordered_s"] + _deadline_s(w, trouble)
        if not _is_done(w, trouble) and now_s < until_s:
            surrogate.look_later(w, trouble, min(surrogate.LOOK_S, until_s - now_s))
            return
        if not _is_done(w, trouble) and not optional:
            break
        row["stage"], row["ordered"] = _after(w, trouble, row["stage"]), False
    row["choice"] = Choice.WAIT
    surrogate.rest(w, trouble, surrogate.LOOK_S)


@compiled
def _after(w: Tables, trouble: int, stage: int) -> int:
    """Return the step of a plan that comes after one."""
    row = w.troubles[trouble]
    if stage == _Step.CORDON and row["save"]:
        return _Step.SAVE.value
    if stage <= _Step.SAVE:
        if row["choice"] == Choice.CHECKPOINT:
            return _Step.END.value
        return _Step.START.value
    if stage == _Step.START and row["choice"] == Choice.SWAP_AND_REPAIR:
        return _Step.REBOOT.value
    return _Step.END.value


@compiled
def _deadline_s(w: Tables, trouble: int) -> float:
    row = w.troubles[trouble]
    if row["stage"] == _Step.CORDON:
        return _CORDON_S
    if row["stage"] == _Step.SAVE:
        return _SAVE_S
    return _START_S if row["choice"] == Choice.RESTART else _SWAP_S


@compiled
def _order(w: Tables, trouble: int) -> bool:
    """Give the order of a plan's step; say whether the scheduler took it."""
    row = w.troubles[trouble]
    job, stage = row["subject"], row["stage"]
    same = w.jobs[job]["number"] == row["subject_number"]
    if stage == _Step.CORDON:
        if w.nodes[row["at"]]["hold"] == Hold.NOBODY:
            verbs.take_out(w, row["at"], Hold.AGENT)
        return True
    if stage == _Step.SAVE:
        if not same or w.jobs[job]["stage"] not in (Stage.STEPPING, Stage.CAPTURING):
            return False
        verbs.capture(w, job)
        return True
    if stage == _Step.REBOOT:
        return _order_reboot(w, row["at"])
    return bool(same and _order_start(w, trouble))


@compiled
def _order_start(w: Tables, trouble: int) -> bool:
    row = w.troubles[trouble]
    job, node = row["subject"], row["at"]
    if row["choice"] == Choice.RESTART:
        can = w.jobs[job]["phase"] != Phase.STARTING and w.jobs[job]["first"] != NONE
        if not can or not _others_ready(w, job, NONE):
            return False
        verbs.restart(w, job)
        return True
    spare = row["spare"]
    if w.nodes[node]["held_by"] != job or not _others_ready(w, job, node):
        return False
    if not (w.nodes[spare]["pool"] and w.nodes[spare]["bucket"] == 0):
        return False
    verbs.swap(w, job, node, spare)
    return True


@compiled
def _order_reboot(w: Tables, node: int) -> bool:
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        if w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
            return False
        job = placement.first_on(w, node, job)
    if not w.nodes[node]["up"]:
        return False
    verbs.reboot(w, node)
    surrogate.bring_back(w, node)
    return True


@compiled
def _is_done(w: Tables, trouble: int) -> bool:
    """Say whether the effect of a plan's step shows."""
    row = w.troubles[trouble]
    if row["stage"] == _Step.CORDON:
        return bool(w.nodes[row["at"]]["hold"] == Hold.AGENT)
    if row["stage"] == _Step.REBOOT:
        return True  # it comes back by itself: nobody waits for it
    job = w.jobs[row["subject"]]
    if job["number"] != row["subject_number"]:
        return False
    if row["stage"] == _Step.SAVE:
        saved_s = checkpoint_at(job, job["row_s"], w.core[0]["now_s"])[0] + job["save_s"]
        return bool(saved_s >= row["ordered_s"])
    return bool(job["phase"] == Phase.RUNNING and job["since_s"] >= row["ordered_s"])
