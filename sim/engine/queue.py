"""The site's scheduler: who starts next, where, and who must make room.

Jobs wait by priority and then in the order they came. The first starts when all its GPUs are free
together (a gang); behind it, backfill. A job that failed comes back before its equals, on the
nodes that are sound and with spares for those that are not. An elastic job starts on fewer GPUs
than it asked for rather than wait, and grows when the queue is empty.
"""

import math

from sim.engine import backfill, jobs, loads, mix, placement, slots, waiting
from sim.engine.accounts import wanted
from sim.engine.heap import after, push
from sim.engine.jit import compiled
from sim.engine.machines import ready
from sim.engine.record import keep_job, say
from sim.engine.tables import Tables
from sim.engine.words import NONE, Ending, JobKind, Kind, Phase, Reason, Said, Stage

NAMED = -2  # SUBMIT of one of the scenario's own jobs
_STARTS = 64  # most jobs that one event starts: a table has room for what one event writes
_VICTIMS = 64  # most jobs that make room for one
_GROW_AFTER_S = 600.0  # an elastic job stays at its size so long: a restart must pay
_LOOK_AGAIN_S = 60.0  # one that could grow and starts or saves its state is looked at again then


@compiled
def on_event(w: Tables, kind: int, a: int, b: int, version: int) -> None:
    """Let SUBMIT, REQUEUE, SCHEDULE or PREEMPT happen."""
    if kind == Kind.SUBMIT:
        _come(w, a, b)
    elif kind == Kind.SCHEDULE:
        look(w)
    elif version == w.jobs[a]["version"]:
        if kind == Kind.PREEMPT:
            preempt(w, a)
        else:
            requeue(w, a)


@compiled
def submit(w: Tables, job: int) -> None:
    """Let a job wait for its GPUs; one that could never have them is cancelled."""
    row = w.jobs[job]
    row["phase"], row["stage"] = Phase.PENDING, Stage.NONE
    row["since_s"] = w.core[0]["now_s"]
    say(w, Said.JOB_SUBMITTED, 0, NONE, NONE, job)
    if _is_too_large(w, job):
        jobs.end(w, job, Ending.CANCELLED)
        return
    keep_job(w, job)
    if w.core[0]["queue_n"] == 0 and _place(w, job):
        jobs.start(w, job)
        return
    waiting.put(w, job)
    last = w.core[0]["queue_n"] - 1
    if last <= w.site[0]["backfill"] or w.queue[last] != job:  # else nobody looks so deep
        waiting.wake(w)


@compiled
def cancel(w: Tables, job: int) -> None:
    """End a job, whether it waits or runs."""
    jobs.end(w, job, Ending.CANCELLED)


@compiled
def preempt(w: Tables, job: int) -> None:
    """Take a job's GPUs for a more urgent one; it waits again, before its equals."""
    row = w.jobs[job]
    if row["phase"] not in (Phase.STARTING, Phase.RUNNING):
        return
    say(w, Said.JOB_PREEMPTED, Reason.PREEMPTED, NONE, NONE, job)
    jobs.end_processes(w, job)
    row["reason"] = Reason.PREEMPTED
    wait_again(w, job)


@compiled
def requeue(w: Tables, job: int) -> None:
    """Let a stopped job start again: on its sound nodes, with spares for the others, or wait."""
    row = w.jobs[job]
    if row["phase"] != Phase.STOPPED:
        return
    bad = _count_bad(w, job)
    row["fresh"] = bad > 0
    if bad == 0 or _replace_bad(w, job, bad) or _shrink(w, job, bad):
        jobs.start(w, job)
    else:
        wait_again(w, job)


@compiled
def look(w: Tables) -> None:
    """Start the jobs that can; keep room for the first that cannot; let smaller ones pass it."""
    core = w.core[0]
    core["pulse"] = False
    at, starts, blocked = 0, 0, False
    while at < core["queue_n"] and at <= w.site[0]["backfill"]:
        job = w.queue[at]
        if starts == _STARTS:
            waiting.wake(w)
            return
        if (not blocked or backfill.may_pass(w, job)) and _place(w, job):
            waiting.take_off(w, at)
            jobs.start(w, job)
            starts += 1
            continue
        if not blocked:
            blocked = True
            if backfill.reserve(w, job):
                _make_room(w, job)
        at += 1
    if core["queue_n"] == 0 and core["shrunk"] > 0:
        _grow_all(w)


@compiled
def _come(w: Tables, a: int, b: int) -> None:
    """Let a job come: generated (its index), of the trace (its row), or the scenario's own."""
    if a == NAMED:
        submit(w, b)
        return
    job = slots.new_slot(w)
    if a == NONE:
        mix.draw(w, job, b)
        push(w, mix.next_s(w, b + 1), Kind.SUBMIT, NONE, b + 1, 0)
    else:
        mix.from_trace(w, job, a)
        if a + 1 < len(w.trace):
            at_s = w.core[0]["start_s"] + w.trace[a + 1]["submit_s"]
            push(w, at_s, Kind.SUBMIT, a + 1, 0, 0)
    submit(w, job)


@compiled
def _is_too_large(w: Tables, job: int) -> bool:
    """Say whether a job could not start if all nodes but the spares were free."""
    row = w.jobs[job]
    elastic = row["kind"] == JobKind.ELASTIC
    count = placement.needs(w, row["least_gpus"] if elastic else wanted(w, job))
    if 2 * count <= len(w.nodes):
        return False
    for node in range(len(w.nodes)):
        count -= 0 if w.nodes[node]["pool"] else 1
    return count > 0


@compiled
def _place(w: Tables, job: int) -> bool:
    """Give a waiting job its GPUs, or say that they are not free."""
    row, core = w.jobs[job], w.core[0]
    count = placement.needs(w, wanted(w, job))
    if count == 0:
        node = placement.find_one(w, row["gpus"])
        if node == NONE:
            return False
        placement.give_part(w, job, node)
        return True
    spares = 0
    if core["free_nodes"] < count:
        spares = _spares_for(w, job, count)
        if spares == 0:
            count = fitting(w, job, core["free_nodes"]) if row["kind"] == JobKind.ELASTIC else 0
        if count == 0:
            return False
    if count > spares:
        placement.append_free(w, job, count - spares)
    for _ in range(spares):
        placement.append(w, job, placement.spare(w))
    if jobs.is_shrunk(w, job):
        core["shrunk"] += 1
        after(w, _GROW_AFTER_S, Kind.SCHEDULE, 0, 0, 0)
    return True


@compiled
def _spares_for(w: Tables, job: int, count: int) -> int:
    """Return how many spares a job that has run before gets where free nodes are too few, or 0.

    They stay spares: they are kept for such jobs again when this one is gone.
    """
    missing = count - w.core[0]["free_nodes"]
    if math.isnan(w.jobs[job]["begun_s"]) or placement.count_spares(w, missing) < missing:
        return 0
    return int(missing)


@compiled
def fitting(w: Tables, job: int, most: int) -> int:
    """Return on how many of ``most`` nodes an elastic job can run, 0: on none."""
    row, each = w.jobs[job], int(w.nodes[0]["gpus"])
    count = most
    while count > 0 and count * each >= row["least_gpus"]:
        if count * each % max(row["unit"], 1) == 0:
            return count
        count -= 1
    return 0


@compiled
def _grow_all(w: Tables) -> None:
    """Let elastic jobs that run on less than they asked for have free nodes, and spares they lent.

    One that has not run long enough is looked at again when it has.
    """
    core, grown, job, next_s = w.core[0], 0, w.core[0]["holder"], math.inf
    while job != NONE and grown < _STARTS:
        row = w.jobs[job]
        following = row["holder_next"]
        if jobs.is_shrunk(w, job):
            size = _larger(w, job)
            due_s = row["since_s"] + _GROW_AFTER_S
            idle = row["stage"] == Stage.STEPPING and row["handled"] == NONE
            if size > row["nodes"] and idle and due_s <= core["now_s"]:
                _grow(w, job, size)
                grown += 1
            elif size > row["nodes"]:
                next_s = min(next_s, max(due_s, core["now_s"] + _LOOK_AGAIN_S))
        job = following
    push(w, next_s, Kind.SCHEDULE, 0, 0, 0)


@compiled
def _larger(w: Tables, job: int) -> int:
    """Return on how many nodes a shrunk job could run with those that are free for it."""
    row = w.jobs[job]
    more = w.core[0]["free_nodes"] + placement.count_spares(w, row["lent"])
    most = placement.needs(w, wanted(w, job))
    return fitting(w, job, min(most, row["nodes"] + more))


@compiled
def _grow(w: Tables, job: int, size: int) -> None:
    """Stop a job in order and start it on more nodes: its state is written first."""
    row = w.jobs[job]
    jobs.save_and_end(w, job)
    free = min(size - row["nodes"], w.core[0]["free_nodes"])
    if free > 0:
        placement.append_free(w, job, free)
    while row["nodes"] < size:
        placement.append(w, job, placement.spare(w))
        row["lent"] -= 1
    row["fresh"] = True
    if not jobs.is_shrunk(w, job):
        w.core[0]["shrunk"] -= 1
        row["lent"] = 0
    jobs.start_later(w, job, row["stall_s"] + row["save_s"])


@compiled
def wait_again(w: Tables, job: int) -> None:
    """Let a stopped job give back what it has and wait before its equals."""
    row = w.jobs[job]
    jobs.let_go(w, job)
    row["phase"], row["since_s"], row["fresh"] = Phase.PENDING, w.core[0]["now_s"], True
    keep_job(w, job)
    waiting.put_first(w, job)
    waiting.wake(w)


@compiled
def _is_sound(w: Tables, job: int, node: int) -> bool:
    """Say whether a job starts again on a node; what a start has found out is known."""
    if not ready(w, node):
        return False
    return w.jobs[job]["attempts"] == 0 or loads.why_not(w, job, node) == Reason.NONE


@compiled
def _count_bad(w: Tables, job: int) -> int:
    node, bad = w.jobs[job]["first"], 0
    for _ in range(w.jobs[job]["nodes"]):
        bad += 0 if _is_sound(w, job, node) else 1
        node = w.nodes[node]["next"]
    return bad


@compiled
def _replace_bad(w: Tables, job: int, bad: int) -> bool:
    """Give a job other nodes for its bad ones, spares first, if there are enough.

    Who is more urgent and waits has the free nodes first. A bad node takes its spare's place when
    it comes back.
    """
    row, core = w.jobs[job], w.core[0]
    if row["given"] < w.nodes[0]["gpus"]:
        return False
    first = core["queue_n"] == 0 or w.jobs[w.queue[0]]["priority"] <= row["priority"]
    if placement.count_spares(w, bad) + (core["free_nodes"] if first else 0) < bad:
        return False
    node = row["first"]
    for _ in range(row["nodes"]):
        following = w.nodes[node]["next"]
        if not _is_sound(w, job, node):
            other = placement.spare(w)
            if other == NONE:
                other = placement.find_one(w, w.nodes[0]["gpus"])
            elif not ready(w, node):
                w.nodes[other]["pool"], w.nodes[node]["pool"] = False, True
            placement.swap(w, job, node, other)
            loads.relax(w, node)
        node = following
    return True


@compiled
def _shrink(w: Tables, job: int, bad: int) -> bool:
    """Let an elastic job go on with its sound nodes, if it can."""
    row = w.jobs[job]
    size = fitting(w, job, row["nodes"] - bad)
    if row["kind"] != JobKind.ELASTIC or size == 0:
        return False
    w.core[0]["shrunk"] += 0 if jobs.is_shrunk(w, job) else 1
    node = row["first"]
    for _ in range(row["nodes"]):
        following = w.nodes[node]["next"]
        if not _is_sound(w, job, node):
            placement.drop(w, job, node)
            loads.relax(w, node)
        node = following
    while row["nodes"] > size:
        node = row["last"]
        placement.drop(w, job, node)
        loads.relax(w, node)
    after(w, _GROW_AFTER_S, Kind.SCHEDULE, 0, 0, 0)
    return True


@compiled
def _make_room(w: Tables, job: int) -> None:
    """Preempt less urgent jobs that have run long enough, if that gives a job what it needs."""
    if w.site[0]["preempt_after_s"] == math.inf:
        return
    count = placement.needs(w, wanted(w, job))
    missing = max(count - w.core[0]["free_nodes"], 1)
    victim, victims = NONE, 0
    while missing > 0 and victims < _VICTIMS:
        victim = _next_victim(w, job, victim)
        if victim == NONE:
            return
        missing -= w.jobs[victim]["nodes"]
        victims += 1
    if missing > 0:
        return
    victim = NONE
    for _ in range(victims):
        victim = _next_victim(w, job, victim)
        after(w, 0.0, Kind.PREEMPT, victim, 0, w.jobs[victim]["version"])


@compiled
def _next_victim(w: Tables, job: int, last: int) -> int:
    """Return whom to preempt after ``last``: the least urgent first, of those who lose least.

    For whole nodes only jobs with whole nodes make room.
    """
    least = min(w.jobs[job]["gpus"], w.nodes[0]["gpus"])
    found, other = NONE, w.core[0]["holder"]
    while other != NONE:
        row = w.jobs[other]
        ran_s = w.core[0]["now_s"] - row["since_s"]
        less = row["phase"] == Phase.RUNNING and row["priority"] < w.jobs[job]["priority"]
        if less and row["given"] >= least and ran_s >= w.site[0]["preempt_after_s"]:
            follows = last == NONE or _goes_before(w, last, other)
            if follows and (found == NONE or _goes_before(w, other, found)):
                found = other
        other = row["holder_next"]
    return int(found)


@compiled
def _goes_before(w: Tables, one: int, other: int) -> bool:
    first, second = w.jobs[one], w.jobs[other]
    if first["priority"] != second["priority"]:
        return bool(first["priority"] < second["priority"])
    if first["since_s"] != second["since_s"]:
        return bool(first["since_s"] > second["since_s"])
    return one < other
