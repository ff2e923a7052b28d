"""The queue's order: by priority, then by who came first; a requeued job before its equals."""

from sim.engine.heap import after
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import Kind


@compiled
def put(w: Tables, job: int) -> None:
    """Let a job wait behind all of its priority."""
    _put_behind(w, job, w.jobs[job]["priority"])


@compiled
def put_first(w: Tables, job: int) -> None:
    """Let a job wait before all others of its priority."""
    _put_behind(w, job, w.jobs[job]["priority"] + 1)


@compiled
def take_off(w: Tables, at: int) -> None:
    """Take the job at a place off the queue."""
    core, queue = w.core[0], w.queue
    count = core["queue_n"] - 1
    for place in range(at, count):
        queue[place] = queue[place + 1]
    core["queue_n"] = count


@compiled
def remove(w: Tables, job: int) -> None:
    """Take a job off the queue, if it is there."""
    for at in range(w.core[0]["queue_n"]):
        if w.queue[at] == job:
            take_off(w, at)
            return


@compiled
def wake(w: Tables) -> None:
    """Have the queue looked at when what happens now has happened, if anybody could start then."""
    core = w.core[0]
    if not core["pulse"] and (core["queue_n"] > 0 or core["shrunk"] > 0):
        core["pulse"] = True
        after(w, 0.0, Kind.SCHEDULE, 0, 0, 0)


@compiled
def _put_behind(w: Tables, job: int, priority: int) -> None:
    """Put a job behind those of at least this priority."""
    core, queue = w.core[0], w.queue
    at = core["queue_n"]
    while at > 0 and w.jobs[queue[at - 1]]["priority"] < priority:
        queue[at] = queue[at - 1]
        at -= 1
    queue[at] = job
    core["queue_n"] += 1
