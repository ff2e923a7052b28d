"""What could be to blame: candidates from readings, events, silence and the detectors' word."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from core.target import Target, TargetKind
from core.types import Event, Ints
from core.units import CATALOG, Bad
from rca.faults.catalogue import FAULT_OF_METRIC, FAULTS, Fault, sign_of
from rca.posterior.case import Candidate, Case
from rca.posterior.common_cause import MIN_MEMBERS, MIN_SHARE, Group, groups_of
from rca.posterior.standing import ODD_Z, Bools
from rca.words import say_duration, say_target, say_value

_MOST_PER_METRIC = 12
_WEIGHT_CAP = 4.0
_PEER_CAP = 2.0
_GROUP_CAP = 3.0
_SCRAPE_S = 60.0  # a cause seen this much after its effect may still have come before it
_REPEAT_CAP = 1.0
_STOPPED = 4.0  # nats for series that stop all at once


def weight_of(z: float) -> float:
    """Return the nats a robust z is worth: 0 at ODD_Z, bounded by the cap on both sides."""
    return _WEIGHT_CAP * math.tanh((z - ODD_Z) / ODD_Z)


def from_readings(case: Case) -> Iterable[Candidate]:
    """Yield a candidate for every reading out of order beyond what its causes explain."""
    for name in case.graph.metrics:
        fault = FAULTS.get(FAULT_OF_METRIC.get(name, ""))
        if fault is None:
            continue
        part = case.graph.span(name)
        groups = groups_of(case, name, case.left[part])
        for group in groups:
            yield _of_group(case, fault, group, name)
        left = np.nan_to_num(case.left[part])
        worst = np.argsort(-left, kind="stable")[:_MOST_PER_METRIC]
        for variable in (worst[left[worst] > ODD_Z] + part.start).tolist():
            yield _of_variable(case, fault, variable, groups)


def _of_variable(case: Case, fault: Fault, variable: int, groups: Sequence[Group]) -> Candidate:
    name = case.graph.metrics[int(case.graph.metric[variable])]
    target = subject(case, variable)
    candidate = Candidate(target, fault.name, np.array([variable]))
    standing = case.standing
    level, centre = standing.level[variable], standing.centre[variable]
    usual = f", normally {say_value(name, centre)}" if math.isfinite(centre) else ""
    z = float(case.left[variable])
    candidate.add(
        f"{name} {say_value(name, level)}{usual}: {z:.1f} sigma beyond what its causes explain",
        weight_of(z),
    )
    _add_peers(candidate, name, float(standing.peer[variable]))
    for group in groups:
        if variable in group.members:
            candidate.add(
                f"{group.affected} of {group.measured} series of {name} on "
                f"{say_target(group.target)} show the same",
                -_GROUP_CAP,
            )
    _add_onset(case, candidate, float(standing.onset_s[variable]))
    return candidate


def _add_peers(candidate: Candidate, name: str, peer: float) -> None:
    """Add how far it stands from its peers, in the direction that is bad."""
    if not math.isfinite(peer):
        return
    bad = CATALOG[name].bad
    away = abs(peer) if bad is Bad.NEITHER else peer if bad is Bad.HIGH else -peer
    text = "stands out against" if away > ODD_Z else "does not stand out against"
    candidate.add(
        f"{name} {text} its peers ({away:+.1f} sigma)",
        _PEER_CAP * math.tanh((away - ODD_Z) / ODD_Z),
    )


def _add_onset(case: Case, candidate: Candidate, onset_s: float) -> None:
    """Add the order in time; weak evidence, because a scrape is coarse and detection late."""
    if not math.isfinite(onset_s):
        return
    late_s = onset_s - case.spans.onset_s
    if late_s > _SCRAPE_S:
        candidate.add(
            f"began {say_duration(late_s)} after the first symptom",
            -min(2.0, late_s / 300.0),
        )
    elif late_s < 0:
        candidate.add(f"began {say_duration(late_s)} before the first symptom", 0.5)


def _of_group(case: Case, fault: Fault, group: Group, name: str) -> Candidate:
    """Return the candidate that what all members share is to blame."""
    candidate = Candidate(group.target, fault.name, group.members)
    z = float(np.median(case.left[group.members]))
    candidate.add(
        f"{group.affected} of {group.measured} series of {name} on {say_target(group.target)} "
        f"are out of order, {z:.1f} sigma in the middle",
        weight_of(z) + min(_GROUP_CAP, 0.5 * group.affected),
    )
    onset = case.standing.onset_s[group.members]
    if np.isfinite(onset).any():
        _add_onset(case, candidate, float(np.nanmin(onset)))
    return candidate


def subject(case: Case, variable: int) -> Target:
    """Return what a fault seen in this variable sits on: a rank's is its GPU's where known."""
    target, place = case.graph.target(variable), case.graph.place
    name = case.graph.metrics[int(case.graph.metric[variable])]
    gpu, node = int(place.gpu[variable]), int(place.node[variable])
    fault = FAULTS.get(FAULT_OF_METRIC.get(name, ""))
    about_gpu = target.kind is TargetKind.GPU
    about_gpu |= fault is not None and fault.scope is TargetKind.GPU
    if about_gpu and gpu >= 0:
        known = case.graph.nodes[node] if node >= 0 else ""
        return Target(node=known, gpu=case.graph.gpus[gpu])
    if not target.node and node >= 0:
        return replace(target, node=case.graph.nodes[node])
    return target


def from_events(case: Case) -> Iterable[Candidate]:
    """Yield a candidate for every event that speaks for a fault; a repeat adds little."""
    seen: dict[tuple[Target, str], int] = {}
    first_s = min((event.time_s for event in case.incident.events), default=0.0)
    for event in sorted(case.incident.events, key=lambda item: (item.time_s, item.kind)):
        sign = sign_of(event.kind, event.code, event.target.kind)
        if sign is None:
            continue
        target = _event_target(case, event, FAULTS[sign.fault])
        number = seen.setdefault((target, sign.fault), 0)
        seen[target, sign.fault] = number + 1
        weight = sign.weight if number == 0 else _REPEAT_CAP / 2**number
        later_s = event.time_s - first_s
        order = f", {say_duration(later_s)} after the first event" if later_s > 1 else ""
        code = f" {event.code}" if event.code else ""
        candidate = Candidate(target, sign.fault, case.graph.variables_of(target))
        candidate.add(f"event {event.kind}{code} on {say_target(event.target)}{order}", weight)
        yield candidate


def _event_target(case: Case, event: Event, fault: Fault) -> Target:
    """Return what the event's fault sits on: a program's fault is its job's."""
    target = event.target
    if fault.scope is TargetKind.JOB and not target.job and case.incident.jobs:
        return Target(job=case.incident.jobs[0])
    if target.gpu and not target.node and target.gpu in case.graph.gpus:
        at = case.graph.place.node[case.graph.place.gpu == case.graph.gpus.index(target.gpu)]
        return replace(target, node=case.graph.nodes[int(at[0])]) if (at >= 0).any() else target
    return target


def from_silence(case: Case) -> Iterable[Candidate]:
    """Yield nodes and GPUs whose readings were there before the onset and are gone."""
    silent, place = case.standing.silent, case.graph.place
    quiet = silent_nodes(case)
    if source_is_down(case, quiet):
        return
    for node in quiet.tolist():
        variables = np.flatnonzero((place.node == node) & silent)
        target = Target(node=case.graph.nodes[node])
        candidate = Candidate(target, "node_silent", variables)
        candidate.add(f"all {len(variables)} series of {say_target(target)} stopped", _STOPPED)
        yield candidate
    on_gpu = np.where(np.isin(place.node, quiet) | (place.job >= 0), -1, place.gpu)
    for gpu in _all_silent(on_gpu, silent, _expected(case)).tolist():
        variables = np.flatnonzero((on_gpu == gpu) & silent)
        target = subject(case, int(variables[0]))
        candidate = Candidate(target, "gpu_fallen_off_bus", variables)
        candidate.add(f"all {len(variables)} series of {say_target(target)} stopped", _STOPPED)
        yield candidate


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


def from_anomalies(case: Case, found: Sequence[Candidate]) -> Iterable[Candidate]:
    """Yield what the detectors saw and the windows do not show: a series that is not here."""
    have = {(item.target, item.fault) for item in found}
    for anomaly in case.incident.anomalies:
        fault = FAULT_OF_METRIC.get(anomaly.metric, "")
        if not fault or (anomaly.target, fault) in have:
            continue
        window = case.windows.get(anomaly.metric)
        if window is not None and anomaly.target in window.targets:
            continue
        have.add((anomaly.target, fault))
        candidate = Candidate(anomaly.target, fault, np.zeros(0, dtype=np.int64))
        value = say_value(anomaly.metric, anomaly.value)
        candidate.add(
            f"{anomaly.metric} {value}, seen by {anomaly.detector}; its series is not here",
            weight_of(ODD_Z * (0.5 + anomaly.score)),
        )
        yield candidate
