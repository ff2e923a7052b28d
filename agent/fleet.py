"""The fleet as the page shows it: racks of nodes, each with its GPUs and what is wrong there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.view import View
from core.cluster import OWNER, ClusterState, NodeCondition, NodeState
from core.target import Target
from core.types import IncidentState, Severity

NO_RACK = "no rack known"
MAX_ROOMY_NODES = 96  # above this a node is a square with a sign, its name in the tool tip
MAX_PIPS = 16

# A shape beside the colour: the page is read in print and by people who tell no red from green.
SIGNS: Mapping[NodeCondition, str] = {
    NodeCondition.READY: "●",
    NodeCondition.CORDONED: "◐",
    NodeCondition.DRAINED: "▽",
    NodeCondition.DOWN: "✕",
}


@dataclass(frozen=True, slots=True)
class Pip:
    """One GPU: busy with a job or not, and the worst open incident that names it."""

    name: str
    busy: bool
    severity: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One node; ``severity`` of the worst open incident on it, "" for none."""

    name: str
    condition: str
    sign: str
    severity: str
    pips: tuple[Pip, ...]
    jobs: tuple[str, ...]
    spare: bool
    text: str


@dataclass(frozen=True, slots=True)
class Rack:
    """The nodes that stand together."""

    name: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything there is; ``out`` are the nodes on which no job may start, with whose hand."""

    racks: tuple[Rack, ...]
    roomy: bool
    counts: tuple[tuple[str, str, int], ...]
    out: tuple[NodeState, ...]


def fleet_of(view: View) -> Fleet:
    """Arrange a view's nodes; an empty fleet where no scheduler has answered."""
    if view.state is None:
        return Fleet((), True, (), ())
    state = view.state
    worst = _worst(view, state)
    jobs = _jobs_by_node(state)
    busy = _busy_gpus(state)
    racks: dict[str, list[Tile]] = {}
    for node in state.nodes:
        place = state.topology.rack_of(node.name) or NO_RACK
        tile = _tile(state, node, jobs=jobs.get(node.name, ()), worst=worst, busy=busy)
        racks.setdefault(place, []).append(tile)
    return Fleet(
        racks=tuple(Rack(name, tuple(tiles)) for name, tiles in racks.items()),
        roomy=len(state.nodes) <= MAX_ROOMY_NODES,
        counts=tuple(
            (condition.value, sign, sum(node.condition is condition for node in state.nodes))
            for condition, sign in SIGNS.items()
        ),
        out=tuple(node for node in state.nodes if node.condition is not NodeCondition.READY),
    )


def by_whom(node: NodeState) -> str:
    """Say whose hand took a node out."""
    if node.condition is NodeCondition.READY:
        return ""
    return "gpumedic" if node.owner == OWNER else node.owner or "nobody said"


def _tile(
    state: ClusterState,
    node: NodeState,
    *,
    jobs: tuple[str, ...],
    worst: Mapping[str, Severity],
    busy: frozenset[str],
) -> Tile:
    gpus = state.topology.gpus_of_node(node.name)
    severity = worst.get(node.name, "")
    parts = [
        f"{node.name}: {node.condition.value}",
        f"by {by_whom(node)}" if node.owner else "",
        node.reason,
        f"{severity} incident" if severity else "",
        f"{len(gpus)} GPUs" if gpus else "",
        f"job {', '.join(jobs)}" if jobs else "",
        "spare" if node.spare else "",
    ]
    return Tile(
        name=node.name,
        condition=node.condition.value,
        sign=SIGNS[node.condition],
        severity=severity,
        pips=tuple(Pip(g, g in busy, worst.get(g, "")) for g in gpus[:MAX_PIPS]),
        jobs=jobs,
        spare=node.spare,
        text="; ".join(part for part in parts if part),
    )


def _worst(view: View, state: ClusterState) -> dict[str, Severity]:
    """Map each node and GPU that an open incident names to the worst severity of those."""
    found: dict[str, Severity] = {}
    for incident in view.incidents:
        if incident.state is not IncidentState.OPEN:
            continue
        for name in _named(incident.targets, state):
            known = found.get(name)
            if known is None or incident.severity.rank > known.rank:
                found[name] = incident.severity
    return found


def _named(targets: Iterable[Target], state: ClusterState) -> set[str]:
    names: set[str] = set()
    for target in targets:
        if target.job and not target.node and not target.gpu:
            continue  # a job's trouble is not its every node's: it is shown with the job
        names.update(state.topology.nodes_in(target))
        if target.gpu:
            names.add(target.gpu)
    return names


def _jobs_by_node(state: ClusterState) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for job in state.jobs:
        for node in job.nodes:
            found.setdefault(node, []).append(job.id)
    return {node: tuple(jobs) for node, jobs in found.items()}


def _busy_gpus(state: ClusterState) -> frozenset[str]:
    topology = state.topology
    return frozenset(topology.gpus[index] for index in topology.rank_gpu.tolist())
