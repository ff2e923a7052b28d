"""Nodes and GPUs whose readings stopped: they are away, or only their exporter is."""

from collections.abc import Iterable, Sequence

import numpy as np

from core.cluster import JobPhase, NodeCondition
from core.target import Target, TargetKind
from core.types import Floats, Ints
from core.units import CATALOG
from rca.posterior.case import Case
from rca.posterior.common_cause import MIN_MEMBERS, MIN_SHARE
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.readings import subject
from rca.posterior.standing import Bools
from rca.words import say_target

TELEMETRY = "telemetry_trouble"
_STOPPED = 4.0  # nats for series that stop all at once
_STEPS_ON, _SAID_DOWN = 5.0, 5.0
_AWAY = "node_silent"
_NEWEST_S = 75.0  # five readings of 15 s: longer than a step of most jobs
_STILL = 4.0
_COUNT = "job_steps_total"
_ENDS, _BEGINS = ("job_failed", "job_stopped", "job_completed", "job_preempted"), "job_started"


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
    """(V,) what should report; whether a node is up is what others say of it."""
    there = case.standing.silent | np.isfinite(case.standing.level)
    there[case.graph.span("node_up")] = False
    return there


def _all_silent(place: Ints, silent: Bools, expected: Bools) -> Ints:
    """Return the places where every series that should be there is gone."""
    inside = place >= 0
    gone = np.bincount(place[inside], weights=silent[inside])
    total = np.bincount(place[inside], weights=expected[inside])
    return np.flatnonzero((gone > 0) & (gone == total))


def mark_absent(case: Case, found: Sequence[Hypothesis]) -> None:
    """Add whether what fell silent still works: its job steps on, or the scheduler misses it."""
    for item in found:
        if item.fault not in (TELEMETRY, _AWAY):
            continue
        sign = 1.0 if item.fault == TELEMETRY else -1.0
        for text, value in _signs_of_life(case, item.target):
            item.add(Kind.CONTEXT, text, sign * value)


def _signs_of_life(case: Case, target: Target) -> Iterable[tuple[str, float]]:
    """Yield what says that the target works (above 0) or is away (below)."""
    moves = {job: steps(case, case.graph.jobs[job]) for job in case.jobs_on(target).tolist()}
    if any(moved for moved in moves.values() if moved is not None):
        yield f"a job on {say_target(target)} steps on", _STEPS_ON
    elif any(moved is False for moved in moves.values()):
        yield f"the job on {say_target(target)} has stopped to step", -_STEPS_ON
    node = case.state.node(target.node) if case.state and target.node else None
    if node is not None and node.condition is NodeCondition.DOWN:
        yield "the scheduler has it as down", -_SAID_DOWN


def steps(case: Case, job: str) -> bool | None:
    """Say whether a job still makes steps; None where nothing tells.

    Its own count says so; where nobody counts, that its ranks still time their steps does.
    """
    state = case.state.job(job) if case.state else None
    if _ended(case, job) or (state is not None and state.phase is not JobPhase.RUNNING):
        return False
    counted = _newest(case, _COUNT, job, since_s=_stands_since_s(case, job))
    if counted.size:
        known = counted[np.isfinite(counted)]
        return bool(len(known) > 1 and known[-1] > known[0])
    timed = [_newest(case, name, job) for name in ("rank_step_time_s", "rank_collective_time_s")]
    timed = [value for value in timed if value.size]
    return bool(np.isfinite(np.concatenate(timed)).any()) if timed else None


def _stands_since_s(case: Case, job: str) -> float:
    """Return since when a detector that knows the job's steps and pauses has its count standing."""
    found = case.incident.anomalies
    stands = (a.start_s for a in found if a.metric == _COUNT and a.target.job == job)
    return max(stands, default=-np.inf)


def _ended(case: Case, job: str) -> bool:
    """Say whether the last that was said of a job's course is that it ended."""
    said = (*case.incident.events, *case.told)
    course = [
        (event.time_s, event.kind in _ENDS)
        for event in said
        if event.target == Target(job=job) and event.kind in (*_ENDS, _BEGINS)
    ]
    return max(course)[1] if course else False


def _newest(case: Case, metric: str, job: str, *, since_s: float = -np.inf) -> Floats:
    """Return (series, columns) the newest readings of a job or of its ranks, none before since."""
    window, part = case.windows.get(metric), case.graph.span(metric)
    if window is None or job not in case.graph.jobs:
        return np.zeros((0, 0))
    now_s = case.spans.now_s
    columns = (window.time_s >= max(since_s, now_s - _NEWEST_S)) & (window.time_s <= now_s)
    rows = case.graph.place.job[part] == case.graph.jobs.index(job)
    value: Floats = window.value[rows][:, columns]
    return value if CATALOG[metric].scope is not TargetKind.JOB else value[:1].ravel()


def from_stillness(case: Case) -> Iterable[Hypothesis]:
    """Yield the incident's jobs that are said to run and make no step any more."""
    for job in case.incident.jobs:
        state = case.state.job(job) if case.state else None
        running = state is None or state.phase is JobPhase.RUNNING
        if running and _stepped(case, job) and steps(case, job) is False:
            found = Hypothesis(Target(job=job), "job_hang")
            found.add(Kind.DETECTOR, f"job {job} is said to run and makes no step", _STILL)
            yield found


def _stepped(case: Case, job: str) -> bool:
    """Say whether the job made steps before: a count that stands has moved."""
    if np.isfinite(_stands_since_s(case, job)):
        return True
    place, centre = case.graph.place, case.standing.centre
    names = (_COUNT, "rank_step_time_s")
    parts = [case.graph.span(name) for name in names]
    number = case.graph.jobs.index(job) if job in case.graph.jobs else -2
    return any(np.isfinite(centre[part][place.job[part] == number]).any() for part in parts)
