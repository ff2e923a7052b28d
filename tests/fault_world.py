"""A small cluster in which things break: the catalogue's classes, every domain, planned faults."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sim.catalogue import class_table
from sim.engine import faults, jobs, placement
from sim.engine.loop import advance
from sim.engine.room import with_room
from sim.engine.tables import SCHEMA, Table, Tables
from sim.engine.words import NONE, Scope
from tests.small_world import BEGAN_S, Size, add_job, small_world

DAY_S = 86400.0
_PARTS = (
    (Scope.LEAF, "leaf"),
    (Scope.RACK, "rack"),
    (Scope.POWER, "power"),
    (Scope.COOLING, "cooling"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned fault: class, what of its scope it strikes, when, how long and how badly."""

    name: str
    entity: int = 0
    gpu: int = NONE
    at_s: float = 60.0
    lasts_s: float = math.inf
    severity: float = 1.0


def fault_world(
    plans: Sequence[Plan] = (),
    *,
    size: Size | None = None,
    rates: Sequence[tuple[str, float]] = (),
    seed: int = 1,
) -> Tables:
    """Return idle nodes, a rack, power and cooling domain per leaf, and these faults to come.

    rates: (class, faults a day and node, of a domain a day and domain)
    """
    w = small_world(size or Size(), seed=seed)
    for _, part in _PARTS:
        w.nodes[part] = w.nodes["leaf"]
    w.nodes["frailty"] = 1.0
    names = tuple(dict.fromkeys([plan.name for plan in plans] + [name for name, _ in rates]))
    units = [0] * len(Scope)
    units[Scope.GPU], units[Scope.NODE] = int(w.nodes["gpus"].sum()), len(w.nodes)
    for scope, _ in _PARTS:
        units[scope] = int(w.nodes["leaf"].max()) + 1
    units[Scope.JOB] = units[Scope.STORAGE] = units[Scope.FLEET] = 1
    classes = class_table(names, units=units, rates=rates)
    w = w._replace(
        classes=classes,
        domains=_domains(w),
        planned=_planned(plans, names),
        arrivals=np.full((len(w.nodes), len(classes)), math.inf),
        drawn=np.zeros((len(w.nodes), len(classes)), dtype=SCHEMA["drawn"]),
    )
    w.site[0]["reboot_lo_s"], w.site[0]["reboot_hi_s"] = 480.0, 900.0
    w.site[0]["hang_timeout_s"] = 600.0
    placement.lay_out(w)
    return w


def begin(w: Tables) -> None:
    """Put the faults on the heap; change classes before, if a test needs others."""
    faults.prepare(w)


def runs(w: Tables, first: int, count: int) -> int:
    """Return a job that steps on so many nodes from one on."""
    job = add_job(w, 8 * count, work=math.inf)
    placement.append_run(w, job, first, count)
    jobs.run_at_once(w, job)
    return job


def advanced(w: Tables, passed_s: float) -> Tables:
    """Let time pass until so long after the beginning; return the tables, which may be longer."""
    while True:
        w = with_room(w)
        advance(w, BEGAN_S + passed_s)
        if not w.core[0]["short"]:
            return w


def known_faults(w: Tables) -> Table:
    """Return the faults so far."""
    return w.faults[: int(w.core[0]["faults_n"])]


def _domains(w: Tables) -> Table:
    rows = [
        (scope, index, first, count)
        for scope, part in _PARTS
        for index, first, count in zip(
            *np.unique(w.nodes[part], return_index=True, return_counts=True), strict=True
        )
    ]
    rows += [(Scope.STORAGE, 0, 0, len(w.nodes)), (Scope.FLEET, 0, 0, len(w.nodes))]
    domains = np.zeros(len(rows), dtype=SCHEMA["domains"])
    for row, (scope, index, first, count) in zip(domains, rows, strict=True):
        row["scope"], row["index"], row["first"], row["count"] = scope, index, first, count
    domains["up"], domains["factor"] = True, 1
    return domains


def _planned(plans: Sequence[Plan], names: tuple[str, ...]) -> Table:
    planned = np.zeros(len(plans), dtype=SCHEMA["planned"])
    for row, plan in zip(planned, plans, strict=True):
        row["class"], row["entity"], row["gpu"] = names.index(plan.name), plan.entity, plan.gpu
        row["onset_s"] = BEGAN_S + plan.at_s
        row["lasts_s"], row["severity"] = plan.lasts_s, plan.severity
    return planned
