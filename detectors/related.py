"""Which symptoms belong together: by node, by job, by a switch or rack with several nodes in it."""

from collections.abc import Sequence

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Breach, Event

Symptom = Anomaly | Event | Breach
Tie = tuple[str, ...]

# So many nodes with the same symptom under one switch or in one rack are no coincidence.
SHARED_NODES = 3
FORECAST = "forecast"


def key_of(symptom: Symptom) -> tuple[object, ...]:
    """Return what makes a symptom the same as another: target, metric or kind, code, detector."""
    match symptom:
        case Anomaly():
            return (symptom.target, symptom.metric, "", symptom.detector)
        case Event():
            return (symptom.target, symptom.kind, symptom.code, "event")
        case Breach():
            return (symptom.target, symptom.metric, "", FORECAST)


def clusters(
    symptoms: Sequence[Symptom], ties: Sequence[Sequence[Tie]]
) -> tuple[tuple[int, ...], ...]:
    """Split symptoms into groups that belong together, as indices; ``ties`` are those of each."""
    owner: dict[Tie, int] = {}
    parent = list(range(len(symptoms)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, held in enumerate(ties):
        for tie in held:
            first, second = sorted((root(index), root(owner.setdefault(tie, index))))
            parent[second] = first
    groups: dict[int, list[int]] = {}
    for index in range(len(symptoms)):
        groups.setdefault(root(index), []).append(index)
    return tuple(tuple(group) for group in groups.values())


def ties(symptom: Symptom, topology: Topology | None, shared: frozenset[Tie]) -> tuple[Tie, ...]:
    """Return what a symptom is tied to; two symptoms with a tie in common belong together.

    shared: the places of ``shared_places``
    A job's or rank's own symptom ties it to the nodes the job runs on: what slows the job is likely
    to be there. Two nodes of one job, each with trouble of its own, are not tied by the job alone.
    """
    target = symptom.target
    nodes = _nodes(target, topology)
    found: list[Tie] = [("node", node) for node in nodes]
    if target.job:
        found.append(("job", target.job))
        running = topology.nodes_of_job(target.job) if topology is not None else ()
        found += [("node", node) for node in running]
    if target.switch:
        found.append(("switch", target.switch))
    if target.rack:
        found.append(("rack", target.rack))
    places = ((*place, _what(symptom)) for place in _places(nodes, topology))
    found += [place for place in places if place in shared]
    # A shared volume or the cluster itself: only its own symptoms belong to it.
    return tuple(found) or (("target", str(target)),)


def shared_places(symptoms: Sequence[Symptom], topology: Topology | None) -> frozenset[Tie]:
    """Return the switches and racks, with a kind of symptom that several of their nodes show."""
    nodes_at: dict[Tie, set[str]] = {}
    for symptom in symptoms:
        nodes = _nodes(symptom.target, topology)
        for place in _places(nodes, topology):
            nodes_at.setdefault((*place, _what(symptom)), set()).update(nodes)
    return frozenset(place for place, nodes in nodes_at.items() if len(nodes) >= SHARED_NODES)


def _nodes(target: Target, topology: Topology | None) -> tuple[str, ...]:
    """Return the one node the target lies on, or those of its switch or rack."""
    if target.node:
        return (target.node,)
    if topology is None or target.job:
        return ()
    return topology.nodes_in(target)


def _places(nodes: Sequence[str], topology: Topology | None) -> tuple[tuple[str, str], ...]:
    """Return the switch and rack of a single node."""
    if topology is None or len(nodes) != 1:
        return ()
    found = (("switch", topology.switch_of(nodes[0])), ("rack", topology.rack_of(nodes[0])))
    return tuple(place for place in found if place[1])


def _what(symptom: Symptom) -> str:
    return symptom.kind if isinstance(symptom, Event) else symptom.metric
