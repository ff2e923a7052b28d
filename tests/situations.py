"""Situations made for tests: a typical one with changes, and random ones of every kind."""

from collections.abc import Collection

import numpy as np

from core.choice import Choice
from core.situation import LONG_S, Bools, Fact, Remedy, Situation
from core.types import Floats

# A job of 16 nodes runs well beside two spares, half an hour from its newest checkpoint.
_TYPICAL = {
    Fact.NODE_BLAMED: 0.9,
    Fact.AGE_S: 60.0,
    Fact.SINCE_TRIED_S: LONG_S,
    Fact.JOB_RUNS: 1.0,
    Fact.PACE: 1.0,
    Fact.UNSAVED_S: 900.0,
    Fact.INTERVAL_S: 1800.0,
    Fact.STALL_S: 10.0,
    Fact.RESTART_S: 120.0,
    Fact.JOB_GPUS: 128.0,
    Fact.JOB_NODES: 16.0,
    Fact.PHASE_S: 7200.0,
    Fact.ABOVE: 0.2,
    Fact.CAN_SHRINK: 0.25,
    Fact.GPUS: 192.0,
    Fact.SPARES: 2.0,
    Fact.OUT_ROOM: 3.0,
    Fact.REPAIR_S: 86_400.0,
    Fact.REBOOT_S: 720.0,
    Fact.PEOPLE_S: 3600.0,
    Fact.PAGE_GPU_S: 57_600.0,
    Fact.FAULTS_A_DAY: 1.0,
    Fact.FALSE_SHARE: 0.05,
}
CRASHED = {Fact.JOB_RUNS: 0.0, Fact.JOB_STOPPED: 1.0, Fact.PACE: 0.0}


def facts_of(changed: dict[Fact, float]) -> Floats:
    """Return the facts of the typical situation with changes."""
    facts = np.zeros(len(Fact))
    for fact, value in {**_TYPICAL, **changed}.items():
        facts[fact] = value
    return facts


def open_but(*closed: Choice) -> Bools:
    """Return (len(Choice),) true but for those."""
    return np.array([choice not in closed for choice in Choice])


def situation_of(changed: dict[Fact, float], closed: Collection[Choice] = ()) -> Situation:
    """Return the typical situation with changes, everything open but those choices."""
    return Situation(facts_of(changed), open_but(*closed))


def random_situations(count: int, *, seed: int) -> list[Situation]:
    """Draw situations: beliefs that sum to 1, one phase of the job, times over many scales."""
    random = np.random.default_rng(seed)
    return [_random(random) for _ in range(count)]


def _random(random: np.random.Generator) -> Situation:
    facts = facts_of({})
    belief = random.dirichlet(np.full(len(Remedy) + 2, 0.3))
    facts[: len(belief)] = belief
    facts[Fact.NODE_BLAMED], facts[Fact.OTHER_BLAMED] = random.dirichlet((1, 1, 1))[:2]
    for fact in Fact:
        if fact.name.endswith("_S"):
            facts[fact] = 10.0 ** random.uniform(0, 6)
    for fact in (Fact.RESTARTS_TRIED, Fact.MOVES_TRIED, Fact.SPARES, Fact.NODE_INCIDENTS):
        facts[fact] = random.poisson(1.0)
    for fact in (Fact.PACE, Fact.BREACH, Fact.ABOVE, Fact.CAN_SHRINK):
        facts[fact] = random.choice([0.0, 1.0, random.random()])
    for fact in (Fact.NODE_OUT, Fact.NODE_DOWN):
        facts[fact] = random.random() < 0.2
    facts[Fact.JOB_RUNS : Fact.JOB_STOPPED + 1] = np.eye(4, 3)[random.integers(4)]
    facts[Fact.JOB_NODES] = 2.0 ** random.integers(8)
    facts[Fact.JOB_GPUS] = 8 * facts[Fact.JOB_NODES]
    open = random.random(len(Choice)) < random.random()
    open[Choice.WAIT] = True
    return Situation(facts, open)
