"""Hypotheses from readings out of order: on one thing, or on what many of them share."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from core.durations import lasting
from core.target import Target, TargetKind
from core.units import CATALOG, Bad
from rca.faults.catalogue import FAULTS, FAULTS_OF_METRIC, Fault, named_for
from rca.posterior.case import Case
from rca.posterior.common_cause import Group, groups_of
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.standing import ODD_Z
from rca.words import say_target, say_value

_MOST_PER_METRIC = 12
_WEIGHT_CAP = 4.0
_PEER_CAP = 2.0
_GROUP_CAP = 3.0
_EACH_MEMBER = 0.5
_SCRAPE_S = 60.0  # a cause seen this much after its effect may still have come before it
_LATE_CAP, _LATE_S = 2.0, 300.0
_EARLY = 0.5
_NEVER_BEFORE = 2.0  # errors that are counted say what is broken; a level says how much


def weight_of(z: float) -> float:
    """Return the nats a robust z is worth: 0 at ODD_Z, bounded by the cap on both sides."""
    return _WEIGHT_CAP * math.tanh((z - ODD_Z) / ODD_Z)


def from_readings(case: Case) -> Iterable[Hypothesis]:
    """Yield a hypothesis for every fault of every reading out of order beyond its causes."""
    for name in case.graph.metrics:
        faults = [FAULTS[fault] for fault in FAULTS_OF_METRIC.get(name, ())]
        if not faults:
            continue
        part = case.graph.span(name)
        groups = groups_of(case, name, case.left[part])
        left = np.nan_to_num(case.left[part])
        worst = np.argsort(-left, kind="stable")[:_MOST_PER_METRIC]
        accused = (worst[left[worst] > ODD_Z] + part.start).tolist()
        for fault in faults:
            for group in groups:
                yield _of_group(case, fault, group, name)
            for variable in accused:
                yield _of_variable(case, fault, variable, groups)


def _of_variable(case: Case, fault: Fault, variable: int, groups: Sequence[Group]) -> Hypothesis:
    name = case.graph.metrics[int(case.graph.metric[variable])]
    found = Hypothesis(subject(case, variable, fault), fault.name, np.array([variable]))
    standing = case.standing
    level, centre = standing.level[variable], standing.centre[variable]
    usual = f", normally {say_value(name, centre)}" if math.isfinite(centre) else ""
    z = float(case.left[variable])
    found.add(
        Kind.RESIDUAL,
        f"{name} {say_value(name, level)}{usual}: {z:.1f} sigma beyond what its causes explain",
        weight_of(z),
        of=name,
    )
    if centre == 0 and CATALOG[name].counter:
        found.add(Kind.RESIDUAL, f"{name} counted nothing before", _NEVER_BEFORE, of=name)
    _add_peers(found, name, float(standing.peer[variable]))
    if CATALOG[name].scope is TargetKind.JOB and math.isfinite(standing.own[variable]):
        text = f"{name} is like in no hour before, and has no peers to be held against"
        found.add(Kind.PEERS, text, _PEER_CAP * math.tanh((z - ODD_Z) / ODD_Z), of=name)
    for group in groups:
        if variable in group.members:
            found.add(
                Kind.GROUP,
                f"{group.affected} of {group.measured} series of {name} on "
                f"{say_target(group.target)} show the same",
                -_GROUP_CAP,
                of=name,
            )
    _add_onset(case, found, float(standing.onset_s[variable]), name)
    return found


def _add_peers(found: Hypothesis, name: str, peer: float) -> None:
    """Add how far it stands from its peers, in the direction that is bad."""
    if not math.isfinite(peer):
        return
    bad = CATALOG[name].bad
    away = abs(peer) if bad is Bad.NEITHER else peer if bad is Bad.HIGH else -peer
    text = "stands out against" if away > ODD_Z else "does not stand out against"
    found.add(
        Kind.PEERS,
        f"{name} {text} its peers ({away:+.1f} sigma)",
        _PEER_CAP * math.tanh((away - ODD_Z) / ODD_Z),
        of=name,
    )


def _add_onset(case: Case, found: Hypothesis, onset_s: float, name: str) -> None:
    """Add the order in time; weak evidence, because a scrape is coarse and detection late."""
    if not math.isfinite(onset_s):
        return
    found.seen(onset_s)
    late_s = onset_s - case.spans.onset_s
    if late_s > _SCRAPE_S:
        found.add(
            Kind.ONSET,
            f"began {lasting(late_s)} after the first symptom",
            -min(_LATE_CAP, late_s / _LATE_S),
            of=name,
        )
    elif late_s < 0:
        found.add(Kind.ONSET, f"began {lasting(-late_s)} before the first symptom", _EARLY, of=name)


def _of_group(case: Case, fault: Fault, group: Group, name: str) -> Hypothesis:
    """Return the hypothesis that what all members share is to blame."""
    named = named_for(fault.name, group.target.kind)
    found = Hypothesis(group.target, named, group.members)
    z = float(np.median(case.left[group.members]))
    found.add(
        Kind.RESIDUAL,
        f"{group.affected} of {group.measured} series of {name} on {say_target(group.target)} "
        f"are out of order, {z:.1f} sigma in the middle",
        weight_of(z),
        of=name,
    )
    if CATALOG[name].counter and (case.standing.centre[group.members] == 0).all():
        found.add(Kind.RESIDUAL, f"{name} counted nothing before", _NEVER_BEFORE, of=name)
    found.add(
        Kind.GROUP,
        f"{group.affected} series of {name} on {say_target(group.target)} agree",
        min(_GROUP_CAP, _EACH_MEMBER * group.affected),
        of=name,
    )
    onset = case.standing.onset_s[group.members]
    if np.isfinite(onset).any():
        _add_onset(case, found, float(np.nanmedian(onset)), name)
    return found


def subject(case: Case, variable: int, fault: Fault | None = None) -> Target:
    """Return what a fault seen in this variable sits on: a rank's is its GPU's where known."""
    target, place = case.graph.target(variable), case.graph.place
    gpu, node = int(place.gpu[variable]), int(place.node[variable])
    known = case.graph.nodes[node] if node >= 0 else ""
    if fault is not None and fault.scope is TargetKind.NODE and known:
        return Target(node=known)
    about_gpu = target.kind is TargetKind.GPU
    about_gpu |= fault is not None and fault.scope is TargetKind.GPU
    if about_gpu and gpu >= 0:
        return Target(node=known, gpu=case.graph.gpus[gpu])
    if not target.node and node >= 0:
        return replace(target, node=known)
    return target
