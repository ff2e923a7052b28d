"""What many things have alike is one: of the node, switch, rack or cluster they share."""

from collections.abc import Iterator, Sequence

import numpy as np

from core.faults import FaultClass
from core.target import Target, TargetKind
from core.types import Ints
from rca.faults.catalogue import FAULTS, named_for
from rca.posterior.case import Case
from rca.posterior.common_cause import MIN_MEMBERS
from rca.posterior.hypothesis import Hypothesis, Kind, Note
from rca.posterior.standing import Bools
from rca.words import say_target

_PLAIN = 2.0  # nats of its own from which a member counts as affected
_GROUP_CAP = 3.0
_EACH_MEMBER = 0.5
_SHARED_NODES = 2
_MOST_OF = 0.5  # of a place's nodes
_SILENT = frozenset({"node_silent", "power_lost"})
_OWN = (Kind.EVENT, Kind.SILENCE, Kind.RESIDUAL, Kind.DETECTOR)


def add_company(case: Case, found: list[Hypothesis]) -> None:
    """Add the place whose nodes show the same fault, and hold that against its members."""
    for fault in sorted({item.fault for item in found if item.fault in FAULTS}):
        members = [item for item in found if item.fault == fault and _is_small(item.target)]
        plain = [item for item in members if item.value(*_OWN) >= _PLAIN]
        if len(plain) >= _SHARED_NODES:
            _gather(case, found, fault, plain)
    _place_loose(found)
    _hold_inside(case, found)


def _is_small(target: Target) -> bool:
    return bool(target.node) and not target.job


def _gather(case: Case, found: list[Hypothesis], fault: str, plain: list[Hypothesis]) -> None:
    nodes = np.array([_only(case.nodes_of(item.target)) for item in plain], dtype=np.int64)
    affected = np.zeros(len(case.graph.nodes), dtype=bool)
    affected[nodes[nodes >= 0]] = True
    taken = np.zeros(len(case.graph.nodes), dtype=bool)
    for place, inside in _places(case, affected, fault):
        mine = [item for item, node in zip(plain, nodes.tolist(), strict=True) if inside[node]]
        hit = affected & inside
        if taken[hit].all() or len(mine) < _SHARED_NODES:
            continue
        taken |= hit
        _join(found, named_for(fault, place.kind), place, mine, (int(hit.sum()), int(inside.sum())))


def _only(nodes: Ints) -> int:
    return int(nodes[0]) if len(nodes) == 1 else -1


def _places(case: Case, affected: Bools, fault: str) -> Iterator[tuple[Target, Bools]]:
    """Yield the places most of whose nodes are affected, the largest first."""
    graph = case.graph
    known = np.zeros(len(graph.nodes), dtype=bool)
    known[np.unique(graph.place.node[graph.place.node >= 0])] = True
    if affected.sum() >= max(MIN_MEMBERS, _MOST_OF * known.sum()):
        yield Target(), known
    levels = [(graph.rack, graph.racks, "rack"), (graph.switch, graph.switches, "switch")]
    if FAULTS[fault].kind is FaultClass.NETWORK:
        levels.reverse()
    for index, names, kind in levels:
        for number, name in enumerate(names):
            inside = known & (index == number)
            hit = int((affected & inside).sum())
            if hit >= _SHARED_NODES and hit > _MOST_OF * inside.sum():
                yield Target(**{kind: name}), inside


def _join(
    found: list[Hypothesis],
    fault: str,
    place: Target,
    members: Sequence[Hypothesis],
    count: tuple[int, int],
) -> None:
    text = f"{count[0]} of {count[1]} nodes of {say_target(place)} show the same"
    for item in members:
        item.add(Kind.GROUP, text, -_GROUP_CAP)
    shared = next((item for item in found if item.key == (place, fault)), None)
    if shared is None:
        shared = Hypothesis(place, fault)
        found.append(shared)
    by_value = sorted(members, key=lambda item: item.value(*_OWN))
    middle = by_value[len(by_value) // 2]
    shared.variables = np.unique(
        np.concatenate([shared.variables, *(item.variables for item in members)])
    )
    read = shared.value(Kind.RESIDUAL) > 0
    for note in _plainest(middle):
        if not (read and note.kind is Kind.RESIDUAL):
            shared.add(note.kind, f"{note.text} (as on the others)", note.value, stays=note.stays)
    shared.add(Kind.GROUP, text, min(_GROUP_CAP, _EACH_MEMBER * len(members)))
    for item in members:
        shared.seen(item.began_s)


def _hold_inside(case: Case, found: list[Hypothesis]) -> None:
    """Hold against what lies within a place that has the same, and was counted by none."""
    groups = [item for item in found if item.value(Kind.GROUP) > 0 and item.fault in FAULTS]
    for item in found:
        if not _is_small(item.target) or any(note.kind is Kind.GROUP for note in item.notes):
            continue
        group = next((each for each in groups if _is_inside(case, item, each)), None)
        if group is not None:
            _hand_up(item, group)


def _is_inside(case: Case, item: Hypothesis, group: Hypothesis) -> bool:
    same = group.fault == named_for(item.fault, group.target.kind)
    if not same or group.target.kind is item.target.kind:
        return False
    inside = case.nodes_of(item.target), case.nodes_of(group.target)
    return bool(np.isin(*inside).all())


def _hand_up(item: Hypothesis, group: Hypothesis) -> None:
    """Hold the group against the member, and give the group what only the member has."""
    item.add(Kind.GROUP, f"{say_target(group.target)} shows the same", -_GROUP_CAP)
    for note in _plainest(item):
        if group.value(note.kind) <= 0:
            group.add(note.kind, f"{note.text} there", note.value, stays=note.stays)


def _plainest(item: Hypothesis) -> list[Note]:
    """Return the strongest observation of each kind that says of itself that something broke."""
    best: dict[Kind, Note] = {}
    for note in item.notes:
        if note.kind in _OWN and note.value > max(
            0.0, best[note.kind].value if note.kind in best else 0.0
        ):
            best[note.kind] = note
    return list(best.values())


def _place_loose(found: list[Hypothesis]) -> None:
    """Put what was said of all, and strikes nodes, on the one place whose nodes fell silent."""
    silent = [
        item.target
        for item in found
        if item.value(Kind.GROUP) > 0 and item.fault in _SILENT and item.target != Target()
    ]
    for item in found:
        loose = item.target == Target() and item.fault in FAULTS
        loose = loose and len(silent) == 1 and FAULTS[item.fault].scope is TargetKind.NODE
        if loose and not any(other.key == (silent[0], item.fault) for other in found):
            item.target = silent[0]
