"""An incident's readings as plain arrays, and what a ranked variable names as a cause."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.rca.cases import Case
from agent.evaluations.rca.truths import kind_of
from core.counters import growth
from core.target import Target
from core.types import Cause, Floats, Ints, Window
from rca.faults.catalogue import FAULT_OF_METRIC
from rca.graph.causal_graph import build_graph

_COUNTER = "_total"
_ENOUGH = 10


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """What a published method is given of an incident: near it, as one would choose by hand.

    names: V (metric, target); normal: (V, N), abnormal: (V, A), counters as growth a reading
    links: (L, 2) variables (cause, effect) of the same graph that our diagnosis goes by
    target: the variable whose trouble was noticed
    """

    names: tuple[tuple[str, Target], ...]
    normal: Floats
    abnormal: Floats
    links: Ints
    target: int


def arrays_of(case: Case) -> Arrays | None:
    """Return the incident's variables; None where nothing that was noticed has readings."""
    near = _near(case)
    windows = {name: _within(window, near) for name, window in case.windows.items()}
    windows = {name: window for name, window in windows.items() if window.targets}
    series = {name: window.targets for name, window in windows.items()}
    graph = build_graph(series, case.state.topology)
    value = np.concatenate([_gauge(windows[name]) for name in graph.metrics])
    names = tuple(
        (name, target)
        for name, targets in zip(graph.metrics, graph.targets, strict=True)
        for target in targets
    )
    time_s = next(iter(windows.values())).time_s
    late = time_s >= _onset_s(case)
    late[-1] = True
    target = _noticed(case, names, np.isfinite(value[:, late]).any(axis=1))
    if target is None:
        return None
    links = np.stack([graph.cause, graph.effect], axis=1)
    return Arrays(names, value[:, ~late], value[:, late], links, target)


def named(arrays: Arrays, score: Floats) -> tuple[Cause, ...]:
    """Return the causes that the ranked variables name, each place and class once, best first.

    A variable names its target, and the fault that its metric is first a sign of; a metric of no
    fault in particular names a place only. Scores are no probabilities: all have 0.
    """
    found: dict[tuple[object, ...], Cause] = {}
    for variable in np.argsort(-score, kind="stable").tolist():
        metric, target = arrays.names[variable]
        fault = FAULT_OF_METRIC.get(metric, "")
        if score[variable] <= 0 or len(found) >= _ENOUGH:
            break
        key = (target.node or target.job or target.volume, kind_of(fault))
        found.setdefault(key, Cause(target, fault, 0.0, kind=kind_of(fault)))
    return tuple(found.values())


def _near(case: Case) -> frozenset[str]:
    """Return the nodes that the incident or one of its jobs touches."""
    topology = case.state.topology
    nodes = {node for target in case.incident.targets for node in topology.nodes_in(target)}
    for job in case.incident.jobs:
        nodes.update(topology.nodes_of_job(job))
    return frozenset(nodes or topology.nodes)


def _within(window: Window, near: Iterable[str]) -> Window:
    rows = [
        row for row, target in enumerate(window.targets) if not target.node or target.node in near
    ]
    kept = tuple(window.targets[row] for row in rows)
    return Window(window.metric, kept, window.time_s, window.value[rows])


def _gauge(window: Window) -> Floats:
    return growth(window.value) if window.metric.endswith(_COUNTER) else window.value


def _noticed(
    case: Case, names: tuple[tuple[str, Target], ...], read: NDArray[np.bool_]
) -> int | None:
    """Return the variable of the job's own symptom, or of the first anomaly there is.

    read: (V,) whether it has a reading since; one that has is preferred
    """
    where = {name: number for number, name in enumerate(names)}
    own = [("job_step_time_s", Target(job=job)) for job in case.incident.jobs]
    own += [("job_latency_p99_s", Target(job=job)) for job in case.incident.jobs]
    told = [(anomaly.metric, anomaly.target) for anomaly in case.incident.anomalies]
    found = [where[name] for name in (*own, *told) if name in where]
    return min(found, key=lambda number: not read[number], default=None)


def _onset_s(case: Case) -> float:
    began = [each.start_s for each in case.incident.anomalies]
    began += [event.time_s for event in case.incident.events]
    return min([case.incident.opened_s, *began])
