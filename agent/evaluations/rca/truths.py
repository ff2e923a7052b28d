"""What really broke in a simulated world, in the words and at the places of a diagnosis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.evaluations.grouping_truth import Cause
from core.faults import FaultClass
from core.target import Target, TargetKind
from core.topology import Topology
from rca.faults.catalogue import FAULTS
from sim.catalogue import CLASSES
from sim.engine.words import Scope
from sim.scenario import Scenario
from sim.truth import FaultRecord

NO_FAULT = "none"
_LIKELY = 0.5
# What shows of them is what shows of a fault of their job: every reading and event is the same as
# of a hang in the job's own program.
ONLY_THE_JOB: Mapping[str, str] = {
    "gpu_hang": "job_hang",
    "driver_fault": "job_hang",
}
_DOMAINS = (Scope.POWER, Scope.COOLING)


@dataclass(frozen=True, slots=True)
class Truth:
    """One thing that broke.

    sim:    the simulator's name of it
    nodes:  all that it lies on; empty for a job's program and for what all share
    others: where it broke again by itself, in its wake
    jobs:   that were on it at the start, or its own
    """

    sim: str
    scope: Scope
    target: Target
    nodes: frozenset[str]
    jobs: frozenset[str]
    onset_s: float
    ended_s: float
    persistent: bool
    others: tuple[Target, ...] = ()

    @property
    def kind(self) -> FaultClass:
        """Return its class."""
        return kind_of(CLASSES[self.sim].cause)

    @property
    def cause(self) -> Cause:
        """Return what says which incidents are its own."""
        return Cause(self.sim, self.target, self.nodes, self.jobs, self.onset_s, self.ended_s)


def kind_of(fault: str) -> FaultClass:
    """Return the class of a fault by the name that a diagnosis gives it."""
    return FAULTS[fault].kind if fault in FAULTS else FaultClass.UNKNOWN


def is_fault(sim: str) -> bool:
    """Say whether something is broken that anybody would mend for a job's sake."""
    return CLASSES[sim].cause != NO_FAULT


def truths_of(
    records: Sequence[FaultRecord], scenario: Scenario, topology: Topology
) -> tuple[Truth, ...]:
    """Return what broke, in order of onset; what followed from another counts as that one.

    topology: from before any of it
    """
    wakes: dict[int, list[FaultRecord]] = {}
    roots: list[int] = []
    for number, record in enumerate(records):
        roots.append(number if record.parent is None else roots[record.parent])
        wakes.setdefault(roots[-1], []).append(record)
    return tuple(
        _truth(wake, scenario, topology) for wake in wakes.values() if is_fault(wake[0].fault)
    )


def _truth(wake: Sequence[FaultRecord], scenario: Scenario, topology: Topology) -> Truth:
    first = wake[0]
    known = CLASSES[first.fault]
    target = first.target
    if known.scope in _DOMAINS:  # a record does not name the domain; the script names a node of it
        target = next(spec.target for spec in scenario.faults if spec.fault == first.fault)
    places = [target, *(record.target for record in wake[1:])]
    nodes = frozenset(
        node for place in places for node in _nodes(place, known.scope, scenario, topology)
    )
    jobs = {job for node in nodes for job in topology.jobs_on(Target(node=node))}
    jobs |= {target.job} - {""}
    ends = [float("inf") if r.repaired_s is None else r.repaired_s for r in wake]
    return Truth(
        sim=first.fault,
        scope=known.scope,
        target=target,
        nodes=nodes,
        jobs=frozenset(jobs) or frozenset(topology.jobs),
        onset_s=first.onset_s,
        ended_s=max(ends),
        persistent=not _passes(first.fault),
        others=tuple(places[1:]),
    )


def _passes(sim: str) -> bool:
    """Say whether a fault ends by itself, or most likely with a restart of its job."""
    parameters = CLASSES[sim].parameters
    alone, mends = parameters["lasts_alone"].value, parameters["restart_mends"].value
    return bool(alone) or float(mends) >= _LIKELY


def _nodes(target: Target, scope: Scope, scenario: Scenario, topology: Topology) -> tuple[str, ...]:
    """Return the nodes that a fault lies on: those of the whole domain, where it strikes one."""
    if target.kind is TargetKind.JOB or scope in (Scope.FLEET, Scope.STORAGE):
        return ()
    if scope in _DOMAINS:
        machines = scenario.machines
        size = machines.power_nodes if scope is Scope.POWER else machines.cooling_nodes
        if size is None:
            return topology.nodes_in(Target(rack=topology.rack_of(target.node)))
        first = topology.node_index[target.node] // size * size
        return topology.nodes[first : first + size]
    return topology.nodes_in(target)
