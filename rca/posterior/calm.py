"""Whether anything is broken at all: how loud the symptom is, and what else would explain it."""

import numpy as np

from core.cluster import JobPhase, JobState, NodeCondition
from core.target import Target, TargetKind
from core.types import Anomaly, Floats, Severity
from core.units import CATALOG
from rca.faults.catalogue import NO_FAULTS
from rca.posterior.case import Case
from rca.posterior.events import beyond
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.readings import weight_of
from rca.posterior.silence import from_stillness
from rca.posterior.standing import ODD_Z
from rca.posterior.turns import FOLLOW_LOAD, STRAGGLER
from rca.words import say_target

NOTHING = "nothing_broken"
QUIET = (NOTHING, *NO_FAULTS)
_PLANNED, _PASSED = "planned_work", "passed_check"
_STANDS = 4.0
_WORK = ("maint", "upgrade", "planned")  # words of the reason that a scheduler gives for a drain
_WORKED_ON = 6.0
_CRITICAL, _WARNING = 4.0, 2.0
_EACH_MORE, _MOST_MORE = 0.3, 2.0
_JOBS_FINE = 1.5
_BEYOND_Z = 10.0
_LOADED = 6.0
_ORDERLY = frozenset({"job_started", "job_completed"})


def from_calm(case: Case, turned: Floats) -> list[Hypothesis]:
    """Return the ways in which nothing is broken, each with what speaks for it."""
    return [_nothing(case), *_planned(case), *_loaded(case, turned)]


def _nothing(case: Case) -> Hypothesis:
    """Weigh that all is well: a lone reading a little off, and jobs that go on as they did."""
    found = Hypothesis(Target(), NOTHING)
    text, loud = _loudest(case)
    found.add(Kind.CALM, text, -loud)
    count = len(case.incident.anomalies) + len(case.incident.events)
    if count > 1:
        more = min(_MOST_MORE, _EACH_MORE * (count - 1))
        found.add(Kind.CALM, f"{count} symptoms came together", -more)
    hurt = _hurt(case)
    if hurt:
        found.add(Kind.CALM, f"{hurt} is out of order", -_JOBS_FINE)
    else:
        found.add(Kind.CALM, "no job is slower or stands still", _JOBS_FINE)
    return found


def _loudest(case: Case) -> tuple[str, float]:
    """Return the symptom that is hardest to pass over, and the nats it is worth."""
    said = [("no symptom stands out", -_STANDS)]
    for event in case.incident.events:
        worth = {Severity.CRITICAL: _CRITICAL, Severity.WARNING: _WARNING}.get(event.severity, 0.0)
        said.append((f"event {event.kind} on {say_target(event.target)}", worth))
    for anomaly in case.incident.anomalies:
        at = case.graph.variables_of(anomaly.target)
        span = case.graph.span(anomaly.metric)
        at = at[(at >= span.start) & (at < span.stop)]
        z = float(np.abs(case.standing.own[at[0]])) if len(at) else float("nan")
        z = z if not beyond(anomaly) else float(np.fmax(z, _BEYOND_Z))
        now = weight_of(z) if np.isfinite(z) else weight_of(ODD_Z * (0.5 + anomaly.score))
        far = f"{z:.1f} sigma off" if np.isfinite(z) else "out of order"
        said.append((f"{anomaly.metric} of {say_target(anomaly.target)} is {far}", now))
    said += [
        (f"{breach.metric} is expected to cross its limit", _CRITICAL * breach.probability)
        for breach in case.incident.breaches
    ]
    return max(said, key=lambda item: (item[1], item[0]))


def _hurt(case: Case) -> str:
    """Return a reading of the incident's jobs that is out of order; "" where none is."""
    place, odd = case.graph.place, case.standing.odd
    jobs = [n for n, name in enumerate(case.graph.jobs) if name in case.incident.jobs]
    for name in case.graph.metrics:
        if CATALOG[name].scope is not TargetKind.JOB:
            continue
        part = case.graph.span(name)
        mine = np.isin(place.job[part], jobs)
        if (np.nan_to_num(odd[part][mine]) > ODD_Z).any():
            return name
    return ""


def _planned(case: Case) -> list[Hypothesis]:
    """Return what the scheduler knows to be worked on."""
    found = []
    for node in case.state.nodes if case.state else ():
        if node.condition is NodeCondition.READY or not any(
            w in node.reason.lower() for w in _WORK
        ):
            continue
        if len(at := case.nodes_of(Target(node=node.name))) and case.near[at].any():
            planned = Hypothesis(Target(node=node.name), _PLANNED)
            planned.add(Kind.CONTEXT, f"{node.name} is out of service: {node.reason}", _WORKED_ON)
            found.append(planned)
    return found


def _loaded(case: Case, turned: Floats) -> list[Hypothesis]:
    """Return that a job has begun or come to its end where every symptom is, and nothing failed."""
    failed = any(event.severity is not Severity.INFO for event in case.incident.events)
    if failed or any(True for _ in from_stillness(case)):
        return []
    begun = {job.id for job in case.state.jobs if _orderly(case, job)} if case.state else set()
    begun |= {e.target.job for e in case.told if e.kind in _ORDERLY and e.target.job}
    nodes = {n for job in begun for n in case.nodes_of(Target(job=job)).tolist()}
    follows = [_follows(case, each, nodes, turned) for each in case.incident.anomalies]
    if not follows or not all(follows):
        return []
    found = Hypothesis(Target(), "load_change")
    found.add(Kind.CONTEXT, "a job began or was done there, and what moved follows it", _LOADED)
    return [found]


def _orderly(case: Case, job: JobState) -> bool:
    lately = case.spans.onset_s - case.spans.guard_s <= job.since_s <= case.spans.now_s
    return lately and job.phase in (JobPhase.RUNNING, JobPhase.STARTING, JobPhase.COMPLETED)


def _follows(case: Case, anomaly: Anomaly, nodes: set[int], turned: Floats) -> bool:
    """Say whether a reading moves with what the jobs of these nodes do."""
    moves = anomaly.metric in FOLLOW_LOAD and anomaly.detector != STRAGGLER
    return moves and _is_on(case, anomaly.target, nodes, turned)


def _is_on(case: Case, target: Target, nodes: set[int], turned: Floats) -> bool:
    mine = case.nodes_of(target)
    known = bool(len(mine)) and set(mine.tolist()) <= nodes
    return known and bool(np.isfinite(turned[mine]).all())
