"""Hypotheses from what was said: events, how jobs ended, and what detectors made of readings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.durations import lasting
from core.target import Target, TargetKind
from core.types import Anomaly, Event, Severity
from core.units import CATALOG, Bad
from rca.faults.catalogue import (
    FAULT_OF_METRIC,
    FAULTS,
    NO_FAULTS,
    Fault,
    Sign,
    signs_of,
    signs_of_anomaly,
)
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.readings import weight_of
from rca.posterior.standing import ODD_Z
from rca.words import say_target, say_value

_REPEAT_CAP = 1.0
_OF_PLACE = frozenset({TargetKind.CLUSTER, TargetKind.JOB})
_LEAST_ALONE = 2.0  # nats; what says less of a machine that it does not name says nothing by itself
_SEEN_ONLY = 0.5
_NO_MACHINE = -1.5
_BEYOND = 5.0  # nats of a level beyond the limit that its maker or its size sets


@dataclass(frozen=True, slots=True)
class Said:
    """One observation in words with what it speaks for.

    kind: EVENT for a symptom, CONTEXT for what is none, DETECTOR for a detector's word
    """

    target: Target
    at_s: float
    text: str
    kind: Kind
    signs: tuple[Sign, ...]


def said_of(case: Case) -> Iterator[Said]:
    """Yield all that was said, in the order in which it happened."""
    events = [event for event in case.incident.events if _timely(case, event)]
    known = set(events)
    context = [event for event in case.told if event not in known and _around(case, event)]
    loud = {event for event in context if event.severity is not Severity.INFO}
    first_s = min((event.time_s for event in events), default=case.spans.now_s)
    for event in sorted({*events, *context}, key=_in_time):
        later_s = event.time_s - first_s
        order = f", {lasting(later_s)} after the first event" if later_s > 1 else ""
        code = f" {event.code}" if event.code else ""
        text = f"event {event.kind}{code} on {say_target(event.target)}{order}"
        kind = Kind.EVENT if event in known or event in loud else Kind.CONTEXT
        yield Said(event.target, event.time_s, text, kind, signs_of(event))
    for anomaly in case.incident.anomalies:
        if signs := signs_of_anomaly(anomaly):
            text = f"{anomaly.detector} seen on {say_target(anomaly.target)}"
            yield Said(anomaly.target, anomaly.start_s, text, Kind.DETECTOR, signs)


def _in_time(event: Event) -> tuple[float, str, str, Target, str]:
    return (event.time_s, event.kind, event.code, event.target, event.text)


def _timely(case: Case, event: Event) -> bool:
    return bool(np.isfinite(event.time_s)) and event.time_s <= case.spans.now_s


def _around(case: Case, event: Event) -> bool:
    """Say whether something that is no symptom was said lately, of what the incident touches."""
    of_job = bool(event.target.job)
    since_s = case.spans.onset_s - case.spans.guard_s if of_job else case.spans.normal_start_s
    if not since_s <= event.time_s <= case.spans.now_s:
        return False
    if event.target.job in case.incident.jobs:
        return True
    nodes = case.nodes_of(event.target)
    return bool(len(nodes)) and bool(case.near[nodes].any())


def from_said(case: Case, said: Sequence[Said]) -> Iterable[Hypothesis]:
    """Yield a hypothesis for everything said that names a place."""
    for item in said:
        for sign in item.signs:
            target = _placed(case, item.target, sign.fault)
            if target is None:
                continue
            found = Hypothesis(target, sign.fault, case.graph.variables_of(target))
            found.add(item.kind, item.text, sign.weight, stays=sign.stays, of=item.text)
            found.seen(item.at_s)
            yield found


def _placed(case: Case, target: Target, name: str) -> Target | None:
    """Return what a fault said of the target sits on; None where that is not said."""
    fault = FAULTS.get(name)
    if fault is None:
        return target
    if fault.scope is TargetKind.JOB:
        return Target(job=target.job) if target.job else _job_of(case, target)
    if fault.scope is TargetKind.RANK:
        return target
    if target.kind in _OF_PLACE:
        return _shared_volume(case, fault) if target.kind is TargetKind.CLUSTER else None
    return _machine(case, target, fault)


def _machine(case: Case, target: Target, fault: Fault) -> Target | None:
    """Return the machine, or part of one, that a fault said of another part sits on."""
    if fault.scope is TargetKind.SWITCH and target.kind is not TargetKind.SWITCH:
        return None  # one port alone says little of its switch; that many are down is a group's
    known = _node_of(case, target)
    if fault.scope is TargetKind.NODE and (target.gpu or target.port) and known.node:
        return Target(node=known.node)
    return known


def _shared_volume(case: Case, fault: Fault) -> Target | None:
    if fault.scope is not TargetKind.VOLUME:
        return None
    shared = {name for name in case.graph.volumes if name.startswith(":")}
    return Target(volume=min(shared)[1:]) if len(shared) == 1 else None


def _job_of(case: Case, target: Target) -> Target | None:
    """Return the job on a machine: the incident's own one first."""
    jobs = [case.graph.jobs[job] for job in case.jobs_on(target).tolist()]
    mine = [job for job in case.incident.jobs if job in jobs] or jobs
    return Target(job=mine[0]) if mine else None


def _node_of(case: Case, target: Target) -> Target:
    """Return the target with its node filled in, and a rank's GPU alone."""
    graph = case.graph
    if target.rank:
        return Target(node=target.node, gpu=target.gpu)
    if target.gpu and not target.node and target.gpu in graph.gpus:
        at = graph.place.node[graph.place.gpu == graph.gpus.index(target.gpu)]
        return replace(target, node=graph.nodes[int(at[0])]) if (at >= 0).any() else target
    return target


def add_unplaced(case: Case, found: list[Hypothesis], said: Sequence[Said]) -> None:
    """Add what was said of a job or of all, and is about a machine that it does not name.

    It speaks for every such fault that something else places there; where nothing does, a new
    hypothesis stays on the job.
    """
    for item in said:
        if item.target.kind not in _OF_PLACE:
            continue
        for sign in item.signs:
            if sign.fault in NO_FAULTS or _placed(case, item.target, sign.fault) is not None:
                continue
            _support(case, found, item, sign)


def _support(case: Case, found: list[Hypothesis], item: Said, sign: Sign) -> None:
    there = case.nodes_of(item.target)
    same = [
        other
        for other in found
        if other.fault == sign.fault and np.isin(case.nodes_of(other.target), there).any()
    ]
    for other in same:
        other.add(
            item.kind, f"{item.text}, where it lies", sign.weight, stays=sign.stays, of=item.text
        )
    if same or sign.weight < _LEAST_ALONE:
        return
    alone = Hypothesis(item.target, sign.fault)
    alone.add(
        item.kind,
        f"{item.text}, which names no machine",
        sign.weight,
        stays=sign.stays,
        of=item.text,
    )
    if FAULTS[sign.fault].scope is not TargetKind.VOLUME:  # it may lie outside the cluster
        alone.add(Kind.EXPECTED, "no machine of its shows anything of it", _NO_MACHINE)
    alone.seen(item.at_s)
    found.append(alone)


def settle(found: Sequence[Hypothesis]) -> None:
    """Let the strongest thing said of each kind count in full, and what repeats it little."""
    for item in found:
        for kind in _SAID:
            mine = [note for note in item.notes if note.kind is kind and note.value > 0]
            mine.sort(key=lambda note: (-note.value, note.text))
            for number, note in enumerate(mine[1:], start=1):
                less = replace(note, value=min(note.value, _REPEAT_CAP) / 2**number)
                item.notes[item.notes.index(note)] = less


_SAID = (Kind.EVENT, Kind.CONTEXT, Kind.DETECTOR)


def from_unseen(case: Case, found: Sequence[Hypothesis]) -> Iterable[Hypothesis]:
    """Yield what the detectors saw and the windows do not show: a series that is not here."""
    have = {item.key: item for item in found}
    for anomaly in case.incident.anomalies:
        fault = FAULT_OF_METRIC.get(anomaly.metric, "")
        if not fault:
            continue
        value = say_value(anomaly.metric, anomaly.value)
        known = have.get((anomaly.target, fault))
        if _is_here(case, anomaly):
            if not beyond(anomaly):
                continue
            text = f"{anomaly.metric} {value} is beyond its limit"
            kind, weight = Kind.DETECTOR, _BEYOND
        else:
            text = f"{anomaly.metric} {value}, seen by {anomaly.detector}; its series is not here"
            kind, weight = Kind.RESIDUAL, weight_of(ODD_Z * (_SEEN_ONLY + anomaly.score))
        if known is None:
            known = Hypothesis(anomaly.target, fault, case.graph.variables_of(anomaly.target))
            have[known.key] = known
            known.seen(anomaly.start_s)
            yield known
        if not known.value(kind) > 0:
            known.add(kind, text, weight, of=anomaly.metric)


def beyond(anomaly: Anomaly) -> bool:
    """Say whether a reading is beyond the limit that the catalogue has for its metric."""
    metric = CATALOG.get(anomaly.metric)
    if metric is None or not np.isfinite(metric.limit):
        return False
    over = anomaly.value > metric.limit
    return over if metric.bad is Bad.HIGH else anomaly.value < metric.limit


def _is_here(case: Case, anomaly: Anomaly) -> bool:
    window = case.windows.get(anomaly.metric)
    return window is not None and anomaly.target in window.targets
