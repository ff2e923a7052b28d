"""Which simulated faults are a cause of their own, and which incidents belong to which of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.target import Target, TargetKind
from core.topology import Topology
from core.types import Incident
from sim.truth import FaultRecord

# A symptom may show this long before its fault is marked and after it is mended: what was broken by
# it starts again, counters are read over ten minutes, and an incident may stay open for five more.
BEFORE_S, AFTER_S = 60.0, 1200.0


@dataclass(frozen=True, slots=True)
class Cause:
    """What broke, and what followed from it, as one.

    nodes: those it lies on; empty for a job's program and for what all share
    jobs:  that were on them at the start, or its own
    """

    fault: str
    target: Target
    nodes: frozenset[str]
    jobs: frozenset[str]
    began_s: float
    ended_s: float


def causes_of(truth: Sequence[FaultRecord], topology: Topology) -> tuple[Cause, ...]:
    """Return the causes: a fault that followed from another counts as that one."""
    root = list(range(len(truth)))
    for number, record in enumerate(truth):
        if record.parent is not None:
            root[number] = root[record.parent]
    found = []
    for first in sorted(set(root)):
        whole = [record for record, of in zip(truth, root, strict=True) if of == first]
        nodes = {node for record in whole for node in _nodes(record.target, topology)}
        jobs = {job for record in whole for job in topology.jobs_on(record.target)}
        ends = [float("inf") if r.repaired_s is None else r.repaired_s for r in whole]
        found.append(
            Cause(
                fault=truth[first].fault,
                target=truth[first].target,
                nodes=frozenset(nodes),
                jobs=frozenset(jobs) or (frozenset(topology.jobs) if not nodes else frozenset()),
                began_s=truth[first].onset_s,
                ended_s=max(ends),
            )
        )
    return tuple(found)


def score(causes: Sequence[Cause], incidents: Sequence[Incident]) -> Mapping[str, int]:
    """Count causes with an incident, their incidents, incidents of several causes, and of none."""
    of_cause: dict[int, int] = {}
    merged = without = 0
    for incident in incidents:
        mine = belongs(incident, causes)
        merged += len(mine) > 1
        without += not mine
        for number in mine:
            of_cause[number] = of_cause.get(number, 0) + 1
    return {
        "seen": len(of_cause),
        "incidents": sum(of_cause.values()),
        "merged": merged,
        "without": without,
        "reopened": sum(incident.reopened for incident in incidents),
    }


def belongs(incident: Incident, causes: Sequence[Cause]) -> tuple[int, ...]:
    """Return the numbers of the causes that an incident shows.

    All whose place has a symptom of its own; where there is none, the newest whose job has one.
    """
    timely = [
        number
        for number, cause in enumerate(causes)
        if cause.began_s - BEFORE_S <= incident.updated_s
        and incident.opened_s <= cause.ended_s + AFTER_S
    ]
    local = [number for number in timely if _shows(incident, causes[number])]
    if local:
        return tuple(local)
    jobs = {target.job for target in incident.targets if target.job}
    wide = {TargetKind.VOLUME, TargetKind.CLUSTER}
    shared = any(target.kind in wide and not target.node for target in incident.targets)
    loose = [
        number
        for number in timely
        if (jobs | set(incident.jobs)) & causes[number].jobs
        or (shared and not causes[number].nodes)
    ]
    return (max(loose, key=lambda number: causes[number].began_s),) if loose else ()


def _shows(incident: Incident, cause: Cause) -> bool:
    """Say whether an incident has a symptom of the cause's place, and not of a job that is there.

    A volume that fills is shown by the volume.
    """
    own = {target for target in incident.targets if target.node in cause.nodes and not target.job}
    if cause.target.volume:
        return any(target.volume == cause.target.volume for target in own)
    return bool(own)


def _nodes(target: Target, topology: Topology) -> tuple[str, ...]:
    return () if target.kind is TargetKind.JOB else topology.nodes_in(target)
