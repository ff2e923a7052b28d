"""Time: take the first event off the heap and let its handler do what it does, until a time."""

from sim.engine import faults, jobs, queue, repair, services, surrogate
from sim.engine.heap import pop, whole
from sim.engine.jit import compiled
from sim.engine.room import is_short
from sim.engine.tables import Tables
from sim.engine.words import Kind


@compiled
def advance(w: Tables, until_s: float) -> None:
    """Let events happen until ``until_s``, inclusive.

    Returns early where a table is short of room (``core.short`` is not 0: make room and call
    again) or a decision is due (``core.stop``).
    """
    core, heap = w.core[0], w.heap
    until_s = whole(until_s)
    core["stop"] = False
    while core["heap_n"] > 0 and heap[0]["time_s"] <= until_s:
        if is_short(w):
            return
        event = heap[0]
        core["now_s"] = event["time_s"]
        kind, a, b, version = event["kind"], event["a"], event["b"], event["version"]
        pop(w)
        core["handled"] += 1
        _handle(w, kind, a, b, version)
        if core["stop"]:
            return
    core["now_s"] = max(core["now_s"], until_s)


@compiled
def _handle(w: Tables, kind: int, a: int, b: int, version: int) -> None:
    if Kind.SUBMIT < kind < Kind.REQUEUE:
        jobs.on_event(w, kind, a, b, version)
    elif kind in (Kind.SUBMIT, Kind.REQUEUE, Kind.SCHEDULE, Kind.PREEMPT):
        queue.on_event(w, kind, a, b, version)
    elif kind in (Kind.CLOCKS, Kind.UP, Kind.DOWN, Kind.CHECK):
        repair.on_event(w, kind, a, b, version)
    elif kind == Kind.TICK:
        services.on_tick(w, a, version)
    elif kind == Kind.NOTICE:
        surrogate.on_event(w, a, b, version)
    else:
        faults.on_event(w, kind, a, b, version)
