"""Lives and moments for tests of looking ahead."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.choice import Choice
from core.cluster import ClusterState
from core.situation import Fact, Situation
from core.target import Target
from core.types import Cause, Diagnosis, Incident
from remediation.deciding.remedies import of_cause, table
from sim.catalogue import CAUSES
from sim.deciding import Moment
from sim.lanes import Lane
from sim.scenario import XID_79, FaultSpec, JobSpec, Scenario, Site
from sim.terms import Terms

DAY_S = 86_400.0
TERMS = Terms(table(CAUSES))
BUSY = Scenario(
    name="busy",
    nodes=12,
    racks=3,
    spares=2,
    jobs=(
        JobSpec("large", nodes=5, priority=10, least_nodes=3),
        JobSpec("small", nodes=3, checkpoint_interval_s=1200.0),
        JobSpec("part", nodes=1, gpus=4),
    ),
    history_s=0.0,
    telemetry="surrogate",
    site=Site(blame=0.8, false_alarms=1.0),
    profile="rsc1",
    rate_scale=300.0,
)


def lives(seeds: range, *, days: float = 1.0) -> Iterator[Lane]:
    """Yield a lane at each decision of some lives in which anything open is chosen by luck."""
    lane = Lane(BUSY, TERMS)
    for seed in seeds:
        random = np.random.default_rng(seed)
        alive = lane.reset(seed, duration_s=days * DAY_S)
        while alive:
            yield lane
            choices = np.flatnonzero(lane.open)
            alive = lane.step(int(choices[random.integers(len(choices))]))


def struck(*, spares: int) -> Moment:
    """Return the decision about a GPU that fell off the bus: its job has stopped."""
    return struck_lane(spares=spares).moment()


def struck_lane(*, spares: int) -> Lane:
    """Return the life in which that decision is due."""
    script = Scenario(
        name="struck",
        nodes=8 + spares,
        racks=2,
        spares=spares,
        jobs=(JobSpec("large", nodes=8, checkpoint_stall_s=0.0),),
        faults=(FaultSpec(XID_79, Target(node="node-03"), onset_s=5000.0),),
        history_s=0.0,
        telemetry="surrogate",
        site=Site(blame=1.0),
    )
    lane = Lane(script, TERMS)
    alive = lane.reset(1, duration_s=DAY_S)
    while alive and not lane.facts[Fact.JOB_STOPPED]:
        alive = lane.step(Choice.WAIT)
    return lane


@dataclass(frozen=True, slots=True)
class Told:
    """A moment with another diagnosis than it had."""

    situation: Situation
    incident: Incident
    diagnosis: Diagnosis
    state: ClusterState
    now_s: float


def told(moment: Moment, fault: str, *, stays: float, shut: tuple[Choice, ...] = ()) -> Told:
    """Return a moment in which one fault of the blamed node is all but sure.

    stays: how likely it is said to stay; shut: choices that are not open
    """
    where = moment.diagnosis.causes[0].target
    cause = Cause(where, fault, 0.98, persistent=stays)
    facts, opened = moment.situation.facts.copy(), moment.situation.open.copy()
    facts[:7] = 0.98 * of_cause(cause)
    facts[Fact.UNKNOWN], facts[Fact.NO_FAULT] = 0.01, 0.01
    facts[Fact.NODE_BLAMED], facts[Fact.OTHER_BLAMED] = 0.98, 0.0
    facts[Fact.FAULTS_A_DAY] = 0.5
    opened[list(shut)] = False
    diagnosis = Diagnosis(moment.incident.id, moment.now_s, (cause,), 0.01, "told", no_fault=0.01)
    return Told(Situation(facts, opened), moment.incident, diagnosis, moment.state, moment.now_s)
