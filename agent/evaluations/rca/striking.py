"""Where a fault strikes a simulated cluster, what strikes beside it, and what is no fault."""

from dataclasses import replace

import numpy as np

from agent.evaluations.rca.truths import is_fault
from core.cluster import ClusterState
from core.target import Target
from core.topology import Topology
from sim.catalogue import CLASSES
from sim.engine.words import Effect, Scope
from sim.scenario import FaultSpec, JobSpec, Scenario

POINTED, LOAD_CHANGE, JOB_STARTS, JOB_ENDS = "pointed", "load_change", "job_starts", "job_ends"
# Windows in which nothing is broken: what the catalogue has of them, and more.
QUIET = (
    *(name for name in CLASSES if not is_fault(name)),
    *(f"{POINTED}_{number}" for number in range(6)),
    LOAD_CHANGE,
    JOB_STARTS,
    JOB_ENDS,
)
# Of a surge to 1.8 to 3 times the requests: services here stand at 75 % of what they can answer at
# most, and stay below it.
_MORE_LOAD = (0.03, 0.1)
_BUSY_SHARE = 0.85
_TRIES = 20
_SERVING = (Effect.BAD_CANARY, Effect.SURGE)


def struck(
    sim: str, scenario: Scenario, topology: Topology, random: np.random.Generator
) -> Target | None:
    """Return what a fault of that class strikes here; None where there is no such thing."""
    known = CLASSES[sim]
    if known.effect in _SERVING and not any(job.service for job in scenario.jobs):
        return None
    if known.scope in (Scope.FLEET, Scope.STORAGE):
        return Target()
    if known.scope is Scope.JOB:
        names = _jobs_for(known.effect, scenario)
        return Target(job=str(random.choice(names))) if names else None
    node = _node(topology, scenario, random)
    if known.scope is Scope.GPU:
        gpus = scenario.machines.gpus_per_node
        return Target(node=node, gpu=str(int(random.integers(gpus))))
    places = {
        Scope.LEAF: Target(switch=topology.switch_of(node)),
        Scope.RACK: Target(rack=topology.rack_of(node)),
    }
    return places.get(known.scope, Target(node=node))


def company(
    first: FaultSpec,
    scenario: Scenario,
    topology: Topology,
    random: np.random.Generator,
    *,
    onset_s: float,
) -> list[FaultSpec]:
    """Return another fault of another class on another node, or none where no place is left."""
    names = [
        name
        for name in CLASSES
        if is_fault(name) and name != first.fault and CLASSES[name].scope in (Scope.GPU, Scope.NODE)
    ]
    taken = topology.nodes_in(first.target)
    for _ in range(_TRIES):
        name = str(random.choice(names))
        place = struck(name, scenario, topology, random)
        if place is not None and place.node not in taken:
            return [FaultSpec(name, place, onset_s)]
    return []


def without(
    scenario: Scenario, about: str, onset_s: float, state: ClusterState, random: np.random.Generator
) -> Scenario | None:
    """Return the cluster with something in it that is no fault; None where it cannot be."""
    if about == LOAD_CHANGE:
        if not any(job.service for job in scenario.jobs):
            return None
        severity = float(random.uniform(*_MORE_LOAD))
        more = FaultSpec("request_surge", Target(), onset_s, severity=severity)
        return replace(scenario, faults=(more,))
    if about == JOB_STARTS:
        return replace(
            scenario, jobs=(*scenario.jobs, JobSpec(id="evening", nodes=1, submit_s=onset_s))
        )
    if about == JOB_ENDS:
        left_s = scenario.start_s + onset_s - state.observed_s
        first, known = scenario.jobs[0], state.job(scenario.jobs[0].id)
        done = known.step or 0.0 if known else 0.0
        ending = replace(first, work_steps=done + left_s / first.ideal_step_s)
        return replace(scenario, jobs=(ending, *scenario.jobs[1:]))
    return scenario


def _node(topology: Topology, scenario: Scenario, random: np.random.Generator) -> str:
    """Return a node, mostly one of a training."""
    training = [job.id for job in scenario.jobs if job.service is None]
    busy = {node for job in training for node in topology.nodes_of_job(job)}
    among = sorted(busy if random.random() < _BUSY_SHARE else topology.nodes)
    return str(random.choice(among))


def _jobs_for(effect: Effect, scenario: Scenario) -> list[str]:
    """Return the jobs that an effect can strike."""
    if effect == Effect.BAD_CANARY:
        return [job.id for job in scenario.jobs if job.service]
    if effect == Effect.LOADER_STARVED:
        return [job.id for job in scenario.jobs if job.cache]
    return [job.id for job in scenario.jobs if job.kind == "training"]
