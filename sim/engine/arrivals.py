"""When drawn faults come: renewal processes whose clocks no policy can touch.

Each class has one for each unit of its scope; the one of a node stands for its GPUs too. Times
between faults are Weibull's with the mean of the unit's rate, which the node's frailty multiplies
where the class is frail. A clock runs on through restarts of jobs and repairs of other things and
begins anew at each onset. The first time is that of a process that has run for ever (forward
recurrence, Cox 1962): had all parts been new, a shape below 1 would give too many faults at first.
"""

import math

from sim.engine.draws import gamma, uniform
from sim.engine.heap import push, whole
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Kind, Purpose, Scope

_DAY_S = 86400.0
WINDOW_S = 30 * _DAY_S
_CLASS = 2**32
_WARNED, _LEAD, _FALSE, _FALSE_AT = 0, 1, 3, 4  # lanes of one arrival's random numbers
_LANES = 8
# Precursors that no fault follows: at the published precision of 84 % (arXiv:2201.11853) there are
# so many for each that one follows; they come up to 20 days before: an assumption.
_FALSE_WARNINGS = (1 - 0.84) / 0.84
_FALSE_DAYS = 20.0
FAULT, WARNING, WORSE, FALSE_WARNING, FALSE_WORSE = 0, 1, 2, 3, 4  # an ARRIVAL's version


@compiled
def units(w: Tables, scope: int) -> int:
    """Return how many processes a class of a scope has; a GPU's run by node, others by domain."""
    if scope in (Scope.GPU, Scope.NODE):
        return len(w.nodes)
    if scope in (Scope.JOB, Scope.STORAGE, Scope.FLEET):
        return 1
    count = 0
    for domain in range(len(w.domains)):
        if w.domains[domain]["scope"] == scope:
            count += 1
    return min(count, len(w.arrivals))


@compiled
def draw_first(w: Tables) -> None:
    """Draw when each process has its first fault after the start."""
    w.arrivals[:] = math.inf
    w.drawn[:] = 0
    for kind in range(len(w.classes)):
        if w.classes[kind]["rate"] > 0:
            for entity in range(units(w, w.classes[kind]["scope"])):
                _draw_first(w, kind, entity)
    push(w, w.core[0]["start_s"], Kind.WINDOW, 0, 0, 0)


@compiled
def draw_next(w: Tables, kind: int, entity: int) -> None:
    """Draw when a process that has a fault now has the next, and let it come if that is soon."""
    luck = uniform(
        w.core[0]["seed"], Purpose.ARRIVAL, int(kind) * _CLASS + int(entity), w.drawn[entity, kind]
    )
    wait_s = scale_s(w, kind, entity) * (-math.log(luck)) ** (1.0 / w.classes[kind]["shape"])
    w.drawn[entity, kind] += 1
    w.arrivals[entity, kind] = whole(w.core[0]["now_s"] + wait_s)
    if w.arrivals[entity, kind] < window_end_s(w):
        put(w, kind, entity)


@compiled
def scale_s(w: Tables, kind: int, entity: int) -> float:
    """Return the scale of the Weibull times of a process, seconds; inf: it never has a fault."""
    row = w.classes[kind]
    rate = row["rate"]
    if row["scope"] == Scope.GPU:
        rate *= w.nodes[entity]["gpus"]
    if row["frail"] and row["scope"] in (Scope.GPU, Scope.NODE):
        rate *= w.nodes[entity]["frailty"]
    return _DAY_S / rate / math.gamma(1.0 + 1.0 / row["shape"]) if rate > 0 else math.inf


@compiled
def window_end_s(w: Tables) -> float:
    """Return until when faults are on the heap."""
    core = w.core[0]
    passed = math.floor((core["now_s"] - core["start_s"]) / WINDOW_S)
    return float(core["start_s"] + (max(passed, 0.0) + 1.0) * WINDOW_S)


@compiled
def open_window(w: Tables, index: int, first: int) -> None:
    """Put the faults of the next 30 days on the heap, from an entity on.

    As many as surely find room; the rest in another event of the same instant.
    """
    core, before = w.core[0], w.core[0]["heap_n"]
    end_s = core["start_s"] + (index + 1.0) * WINDOW_S
    if core["now_s"] >= w.site[0]["horizon_s"]:
        return
    for entity in range(first, len(w.arrivals)):
        if core["heap_n"] - before > len(w.nodes):
            push(w, core["now_s"], Kind.WINDOW, index, entity, 0)
            return
        for kind in range(len(w.classes)):
            if w.arrivals[entity, kind] < end_s:
                put(w, kind, entity)
    push(w, end_s, Kind.WINDOW, index + 1, 0, 0)


@compiled
def put(w: Tables, kind: int, entity: int) -> None:
    """Put a process' next fault on the heap, and what shows of it before; a false warning too."""
    at_s, now_s = w.arrivals[entity, kind], w.core[0]["now_s"]
    push(w, at_s, Kind.ARRIVAL, entity, kind, FAULT)
    row = w.classes[kind]
    if not row["warns"] > 0 or row["warn_effect"] == NONE:
        return
    ahead_s = lead_s(w, kind, entity)
    if luck_of(w, kind, entity, _WARNED) < row["warns"]:
        push(w, max(at_s - ahead_s, now_s), Kind.ARRIVAL, entity, kind, WARNING)
    if luck_of(w, kind, entity, _FALSE) < row["warns"] * _FALSE_WARNINGS:
        early_s = luck_of(w, kind, entity, _FALSE_AT) * _FALSE_DAYS * _DAY_S
        if at_s - 2 * ahead_s - early_s > now_s:
            push(w, at_s - 2 * ahead_s - early_s, Kind.ARRIVAL, entity, kind, FALSE_WARNING)


@compiled
def lead_s(w: Tables, kind: int, entity: int) -> float:
    """Return how long before a process' next fault something shows, if it does."""
    row = w.classes[kind]
    first, second = (
        luck_of(w, kind, entity, _LEAD),
        luck_of(w, kind, entity, _LEAD + 1),
    )
    normal = math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)
    return math.exp(row["warn_mu"] + row["warn_sigma"] * normal)


@compiled
def luck_of(w: Tables, kind: int, entity: int, lane: int) -> float:
    """Return a number in (0, 1) of the fault that a process has next."""
    index = (int(w.drawn[entity, kind]) - 1) * _LANES + lane
    return uniform(w.core[0]["seed"], Purpose.FAULT, int(kind) * _CLASS + int(entity), index)


@compiled
def _draw_first(w: Tables, kind: int, entity: int) -> None:
    """Draw the rest of a time that is under way: a uniform share of one drawn by its length."""
    scale = scale_s(w, kind, entity)
    if math.isinf(scale):
        return
    seed, address, shape = (
        w.core[0]["seed"],
        int(kind) * _CLASS + int(entity),
        w.classes[kind]["shape"],
    )
    share = uniform(seed, Purpose.ARRIVAL, address, 0)
    if shape == 1.0:
        wait_s = -scale * math.log(share)
    else:
        under_way = gamma(seed, Purpose.AGE, address, 0, 1.0 + 1.0 / shape) ** (1.0 / shape)
        wait_s = share * scale * under_way
    w.drawn[entity, kind] = 1
    w.arrivals[entity, kind] = whole(w.core[0]["start_s"] + wait_s)
