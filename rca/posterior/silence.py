"""Nodes and GPUs whose readings stopped: they are away, or only their exporter is."""

from collections.abc import Iterable, Sequence

import numpy as np

from core.cluster import JobPhase, NodeCondition
from core.target import Target
from core.types import Ints
from rca.posterior.case import Case
from rca.posterior.common_cause import MIN_MEMBERS, MIN_SHARE
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.readings import subject
from rca.posterior.standing import Bools
from rca.words import say_target

TELEMETRY = "telemetry_trouble"
_STOPPED = 4.0  # nats for series that stop all at once
_STEPS_ON, _SAID_DOWN = 5.0, 5.0
_AWAY = frozenset({"node_silent", "kernel_panic", "host_machine_check", "power_lost"})
_NEWEST_S = 45.0  # three readings of 15 s: long enough for a job's counter to have moved


def from_silence(case: Case) -> Iterable[Hypothesis]:
    """Yield nodes and GPUs whose readings were there before the onset and are gone."""
    silent, place = case.standing.silent, case.graph.place
    quiet = silent_nodes(case)
    if source_is_down(case, quiet):
        return
    for node in quiet.tolist():
        variables = np.flatnonzero((place.node == node) & silent)
        target = Target(node=case.graph.nodes[node])
        for fault in ("node_silent", TELEMETRY):
            found = Hypothesis(target, fault, variables)
            text = f"all {len(variables)} series of {say_target(target)} stopped"
            found.add(Kind.SILENCE, text, _STOPPED)
            yield found
    on_gpu = np.where(np.isin(place.node, quiet) | (place.job >= 0), -1, place.gpu)
    for gpu in _all_silent(on_gpu, silent, _expected(case)).tolist():
        variables = np.flatnonzero((on_gpu == gpu) & silent)
        target = subject(case, int(variables[0]))
        found = Hypothesis(target, "gpu_fallen_off_bus", variables)
        text = f"all {len(variables)} series of {say_target(target)} stopped"
        found.add(Kind.SILENCE, text, _STOPPED)
        yield found


def silent_nodes(case: Case) -> Ints:
    """Return the nodes all of whose series were there before the onset and are gone."""
    return _all_silent(case.graph.place.node, case.standing.silent, _expected(case))


def source_is_down(case: Case, quiet: Ints) -> bool:
    """Say whether so many nodes fell silent at once that the source is likelier to be down."""
    everyone = np.unique(case.graph.place.node[case.graph.place.node >= 0])
    return len(quiet) >= max(MIN_MEMBERS, MIN_SHARE * len(everyone))


def _expected(case: Case) -> Bools:
    return case.standing.silent | np.isfinite(case.standing.level)


def _all_silent(place: Ints, silent: Bools, expected: Bools) -> Ints:
    """Return the places where every series that should be there is gone."""
    inside = place >= 0
    gone = np.bincount(place[inside], weights=silent[inside])
    total = np.bincount(place[inside], weights=expected[inside])
    return np.flatnonzero((gone > 0) & (gone == total))


def mark_absent(case: Case, found: Sequence[Hypothesis]) -> None:
    """Add whether what fell silent still works: its job steps on, or the scheduler misses it."""
    for item in found:
        if item.fault != TELEMETRY and item.fault not in _AWAY:
            continue
        sign = 1.0 if item.fault == TELEMETRY else -1.0
        for text, value in _signs_of_life(case, item.target):
            item.add(Kind.CONTEXT, text, sign * value)


def _signs_of_life(case: Case, target: Target) -> Iterable[tuple[str, float]]:
    """Yield what says that the target works (above 0) or is away (below)."""
    steps = {job: _steps(case, case.graph.jobs[job]) for job in case.jobs_on(target).tolist()}
    if any(moved for moved in steps.values() if moved is not None):
        yield f"a job on {say_target(target)} steps on", _STEPS_ON
    elif any(moved is False for moved in steps.values()):
        yield f"the job on {say_target(target)} has stopped to step", -_STEPS_ON
    node = case.state.node(target.node) if case.state and target.node else None
    if node is not None and node.condition is NodeCondition.DOWN:
        yield "the scheduler has it as down", -_SAID_DOWN


def _steps(case: Case, job: str) -> bool | None:
    """Say whether a job still makes steps; None where nobody counts them."""
    state = case.state.job(job) if case.state else None
    if state is not None and state.phase is not JobPhase.RUNNING:
        return False
    window = case.windows.get("job_steps_total")
    row = Target(job=job)
    if window is None or row not in window.targets:
        return None
    newest = (window.time_s > case.spans.now_s - 2 * _NEWEST_S) & (
        window.time_s <= case.spans.now_s
    )
    value = window.value[window.targets.index(row), newest]
    value = value[np.isfinite(value)]
    return bool(value[-1] > value[len(value) // 2 - 1]) if len(value) > 1 else False
