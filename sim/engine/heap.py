"""The events to come: a binary heap of plain rows, first in time first, then first put first."""

import math

from sim.engine.jit import compiled
from sim.engine.tables import Tables

_TICKS = 1024.0  # times are whole 1/1024 s, so that sums of them are exact


@compiled
def whole(time_s: float) -> float:
    """Return the time rounded to the engine's ticks."""
    return math.floor(time_s * _TICKS + 0.5) / _TICKS


@compiled
def push(w: Tables, time_s: float, kind: int, a: int, b: int, version: int) -> None:
    """Put an event; those of one instant happen in the order they were put.

    A time before now is now; an infinite one never comes.
    """
    if math.isinf(time_s):
        return
    core, heap = w.core[0], w.heap
    time_s = max(whole(time_s), core["now_s"])
    core["seq"] += 1
    hole = core["heap_n"]
    core["heap_n"] = hole + 1
    while hole > 0:
        parent = (hole - 1) >> 1
        if heap[parent]["time_s"] <= time_s:
            break
        heap[hole] = heap[parent]
        hole = parent
    event = heap[hole]
    event["time_s"] = time_s
    event["seq"] = core["seq"]
    event["kind"] = kind
    event["a"] = a
    event["b"] = b
    event["version"] = version


@compiled
def after(w: Tables, wait_s: float, kind: int, a: int, b: int, version: int) -> None:
    """Put an event ``wait_s`` from now."""
    push(w, w.core[0]["now_s"] + wait_s, kind, a, b, version)


@compiled
def pop(w: Tables) -> None:
    """Take the first event off; the heap is not empty."""
    core, heap = w.core[0], w.heap
    count = core["heap_n"] - 1
    core["heap_n"] = count
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= count:
            break
        if child + 1 < count and _before(heap, child + 1, child):
            child += 1
        if _before(heap, count, child):
            break
        heap[hole] = heap[child]
        hole = child
    heap[hole] = heap[count]


@compiled
def _before(heap: object, one: int, other: int) -> bool:
    first, second = heap[one], heap[other]  # type: ignore[index]
    if first["time_s"] != second["time_s"]:
        return bool(first["time_s"] < second["time_s"])
    return bool(first["seq"] < second["seq"])
