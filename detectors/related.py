"""Which symptoms belong together: by node, by job, by a switch, rack or storage that nodes share.

Three roles. Trouble of its *own* is what a node, a place or a volume shows itself. What a *job*
shows follows from trouble on a node of it, where there is any. A *rank*'s own time lies in between:
its node's trouble explains it, and where the node has none it is the job's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

from core.target import Target
from core.types import Anomaly, Breach, Event
from detectors.places import Places

Symptom = Anomaly | Event | Breach
Tie = tuple[str, ...]
Key = tuple[Target, str, str, str]  # target, metric or kind, code, detector

# So many nodes with the same kind of symptom in one place are no coincidence, nor so many places.
SHARED_NODES = 3
SHARED_PLACES = 3
SHARED_JOBS = 2
# Nodes of one job are many: so large a share of them at least must show the same (assumed).
JOB_SHARE = 0.25
FORECAST = "forecast"

LOSS, LINK, STORAGE, HEAT = "loss", "link", "storage", "heat"
# What is one kind of trouble by several names. Other kinds and metrics are a family each.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    LOSS: ("silent", "node_up", "node_down", "node_silent", "power_lost"),
    LINK: ("link_down", "port_up", "port_errors_total", "switch_down"),
    STORAGE: (
        "storage_slow",
        "rank_data_wait_s",
        "volume_read_latency_s",
        "volume_write_latency_s",
        "node_pressure_io_ratio",
    ),
    HEAT: (
        "gpu_temperature_celsius",
        "gpu_memory_temperature_celsius",
        "node_inlet_temperature_celsius",
        "gpu_throttle_ratio",
        "thermal",
    ),
}
_FAMILY_OF = {what: family for family, names in _FAMILIES.items() for what in names}
# How long ranks compute, also where it is told of all ranks of a node at once.
SLOW = "rank_step_time_s"
# Nodes behind a switch that is down cannot be reached.
_REACH: Mapping[str, tuple[str, ...]] = MappingProxyType({LINK: (LINK, LOSS)})
# What falls on every node of a job that stalls, whatever stalls it.
_ECHOES = frozenset(
    {
        "gpu_utilization_ratio",
        "gpu_power_watts",
        "node_cpu_used_ratio",
        "port_receive_bytes_total",
        "port_transmit_bytes_total",
        "rank_collective_time_s",
        "volume_read_bytes_total",
        "volume_written_bytes_total",
    }
)


class Role(StrEnum):
    """What a symptom says about where its cause lies."""

    OWN = "own"
    RANK = "rank"
    JOB = "job"


def key_of(symptom: Symptom) -> Key:
    """Return what makes a symptom the same as another: target, metric or kind, code, detector."""
    match symptom:
        case Anomaly():
            return (symptom.target, symptom.metric, "", symptom.detector)
        case Event():
            return (symptom.target, symptom.kind, symptom.code, "event")
        case Breach():
            return (symptom.target, symptom.metric, "", FORECAST)


def role_of(symptom: Symptom, places: Places) -> Role:
    """Return whether a symptom is its target's own, a rank's, or its job's."""
    target, what = symptom.target, _what(symptom)
    echo, node = what in _ECHOES, places.node_of(target)
    if target.job or what == SLOW:
        return Role.RANK if node and not echo else Role.JOB
    return Role.JOB if echo and places.jobs_of(node) else Role.OWN


def jobs_of(symptom: Symptom, places: Places) -> tuple[str, ...]:
    """Return the job a symptom is of, or those on its node."""
    target = symptom.target
    return (target.job,) if target.job else places.jobs_of(places.node_of(target))


def family_of(symptom: Symptom) -> str:
    """Return the kind of trouble that a symptom is of."""
    what = _what(symptom)
    code = f" {symptom.code}" if isinstance(symptom, Event) and what == "xid" else ""
    return _FAMILY_OF.get(what, what) + code


def clusters(ties: Sequence[Sequence[Tie]]) -> tuple[tuple[int, ...], ...]:
    """Split symptoms into groups that belong together, as indices; ``ties`` are those of each."""
    owner: dict[Tie, int] = {}
    parent = list(range(len(ties)))

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
    for index in range(len(ties)):
        groups.setdefault(root(index), []).append(index)
    return tuple(tuple(group) for group in groups.values())


def ties(symptom: Symptom, places: Places, shared: frozenset[Tie]) -> tuple[Tie, ...]:
    """Return what a symptom is tied to; two symptoms with a tie in common belong together.

    shared: the places of ``shared_places``
    Two nodes of one job, each with trouble of its own, are not tied by the job.
    """
    target, node = symptom.target, places.node_of(symptom.target)
    found = [tie for tie in _shareable(symptom, places) if tie in shared]
    # Slow storage is not the trouble of the node that waits for it.
    if node and ("cluster", STORAGE) not in found:
        found.append(("node", node))
    elif target.switch or target.rack:
        found.append(("switch", target.switch) if target.switch else ("rack", target.rack))
    return tuple(found) or (("target", str(target)),)


def shared_places(symptoms: Iterable[Symptom], places: Places) -> frozenset[Tie]:
    """Return switches, racks, jobs and the cluster, each with a family of trouble that is theirs.

    It is a place's where several of its nodes show it, or the place itself does. It is the
    cluster's where it is that of several places, and slow storage where several jobs wait for it.
    """
    nodes_at: dict[Tie, set[str]] = {}
    waiting: set[str] = set()
    found: set[Tie] = set()
    for symptom in symptoms:
        node, family = places.node_of(symptom.target), family_of(symptom)
        if not node:
            found.update(_shareable(symptom, places))
        for tie in _shareable(symptom, places) if node else ():
            nodes_at.setdefault(tie, set()).add(node)
        if family == STORAGE and symptom.target.job:
            waiting.add(symptom.target.job)
    some = {
        tie
        for tie, nodes in nodes_at.items()
        if len(nodes) >= _enough(tie, places) and not _of_one_job(tie, nodes, places)
    }
    found |= {tie for tie in some if tie[0] != "cluster"}
    if len(waiting) >= SHARED_JOBS and ("cluster", STORAGE) in some:
        found.add(("cluster", STORAGE))
    return frozenset(found | set(_everywhere(found)))


def _everywhere(found: Iterable[Tie]) -> Iterator[Tie]:
    """Yield the cluster with each family that several racks or several switches share."""
    count: dict[tuple[str, str], int] = {}
    for tie in found:
        if tie[0] in {"switch", "rack"}:
            count[tie[0], tie[-1]] = count.get((tie[0], tie[-1]), 0) + 1
    yield from (("cluster", family) for (_, family), n in count.items() if n >= SHARED_PLACES)


def _enough(tie: Tie, places: Places) -> float:
    """Return how many nodes make a family the place's."""
    share = JOB_SHARE * len(places.nodes_of(tie[1])) if tie[0] == "job" else 0.0
    return max(SHARED_NODES, share)


def _of_one_job(tie: Tie, nodes: set[str], places: Places) -> bool:
    """Say whether a place's slow nodes are those of one job, which is where it then lies."""
    if tie[-1] != SLOW or tie[0] == "job":
        return False
    return len({job for node in nodes for job in places.jobs_of(node)}) == 1


def _shareable(symptom: Symptom, places: Places) -> Iterator[Tie]:
    """Yield the places, each with the symptom's family, that may be what shows it."""
    target, family = symptom.target, family_of(symptom)
    if node := places.node_of(target):
        yield from (("job", job, family) for job in jobs_of(symptom, places))
        if not target.job:
            found = (("switch", places.switch_of(node)), ("rack", places.rack_of(node)))
            yield from ((*place, family) for place in found if place[1])
        yield ("cluster", family)
    elif target.switch or target.rack:
        place = ("switch", target.switch) if target.switch else ("rack", target.rack)
        yield from ((*place, reached) for reached in _REACH.get(family, (family,)))
    elif not target.job and family in {STORAGE, LOSS}:
        yield ("cluster", family)


def _what(symptom: Symptom) -> str:
    return symptom.kind if isinstance(symptom, Event) else symptom.metric
