"""Labelled incidents to diagnose, found by the real detectors in simulated clusters.

A healthy cluster is watched for hours, so that all who learn have learned. Then something breaks
there: every class of the catalogue in turn, each time beginning anew from the same watch. Of all
series 5 % are not there, a fifth of the faults has company elsewhere, and a diagnosis is made a
minute late. Beside them there are windows in which nothing broke.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.evaluations.play import CYCLE_S, Play
from agent.evaluations.rca.families import FAMILIES, Family
from agent.evaluations.rca.pointing import pointed_at
from agent.evaluations.rca.showing import ALLOWANCE_S, Key, keys, shown
from agent.evaluations.rca.striking import QUIET, company, struck, without
from agent.evaluations.rca.truths import Truth, is_fault, truths_of
from core.cluster import ClusterState
from core.topology import Topology
from core.types import Event, Incident, Window
from detectors.detect import DetectSettings
from sim.catalogue import CLASSES
from sim.scenario import FaultSpec, Scenario
from sim.telemetry import METRICS, readings
from sim.world import World

STEP_S = 15.0
NORMAL_S = 4200.0
LATE_S = 60.0
MISSING_SHARE, COMPANY_SHARE, COMPANY_S = 0.05, 0.2, 120.0
# All that learn have learned after four hours; looks far apart let them see every reading too.
_LEARN_S, _LEARN_CYCLE_S, _SETTLE_S = 5 * 3600.0, 300.0, 900.0
# What a service's operator asks for: ``ServiceSpec.objective_s`` as its limit.
_DETECT = DetectSettings(limits={"job_latency_p99_s": 2.0})
_ONSET_S = (30.0, 180.0)
# Half an hour; looked at less often when nothing showed in ten minutes.
_NOTICED_WITHIN_S, _SELDOM_AFTER_S, _SELDOM_CYCLE_S = 1800.0, 600.0, 30.0
_QUIET_S = (60.0, 240.0)
# They need an hour and more until anything shows.
_SLOW = frozenset(
    {
        "gpu_ecc_growth",
        "gpu_thermal_interface",
        "loader_memory_leak",
        "silent_data_corruption",
        "silent_hang",
        "volume_filling",
    }
)
_SLOW_WITHIN_S, _SLOW_CYCLE_S = 7200.0, 60.0
FAULTS = tuple(name for name in CLASSES if is_fault(name))


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An incident as the daemon has it when it is diagnosed, and what is true of it.

    windows: metric -> readings from 70 minutes before the first symptom until ``now_s``
    told:    what was said in that time, symptoms and what is none: planned work, a new driver
    truths:  what broke and shows in it; empty where nothing did
    about:   what was made to happen: a class of the simulator, or a kind of quiet window
    """

    incident: Incident
    windows: Mapping[str, Window]
    told: tuple[Event, ...]
    state: ClusterState
    now_s: float
    truths: tuple[Truth, ...]
    split: str
    family: str
    seed: int
    about: str


@dataclass(frozen=True, slots=True)
class Unnoticed:
    """A fault that no incident was opened for in time."""

    split: str
    family: str
    seed: int
    about: str


@dataclass(frozen=True, slots=True)
class Block:
    """What is made from one watched cluster: so many of a family, by seed."""

    split: str
    family: int
    seed: int
    about: tuple[str, ...]


def blocks(split: str, seeds: Sequence[int], about: Sequence[str] | None = None) -> list[Block]:
    """Return what to make: every family of the split with every seed, all faults in each."""
    wanted = tuple((*FAULTS, *QUIET) if about is None else about)
    families = range(len(FAMILIES[split]))
    return [Block(split, family, seed, wanted) for seed in seeds for family in families]


def cases(
    split: str, seeds: Sequence[int], about: Sequence[str] | None = None
) -> Iterator[Case | Unnoticed]:
    """Yield the cases of a split, the same for the same seeds."""
    for block in blocks(split, seeds, about):
        yield from made(block)


def made(block: Block) -> Iterator[Case | Unnoticed]:
    """Yield the cases of one block; what its cluster has no place for is left out."""
    family = FAMILIES[block.split][block.family]
    ground = _ground(block, family)
    for about in block.about:
        random = _random(block, about)
        scenario = _script(ground, about, random)
        if scenario is None:
            continue
        play = ground.played(scenario)
        find = _found if about in FAULTS else _quiet
        case = find(play, ground, random, about)
        if case is None:
            yield Unnoticed(block.split, family.name, block.seed, about)
            continue
        incident, truths = case
        yield Case(
            incident=_late(incident),
            windows=_history(play, incident),
            told=_told(play, incident),
            state=play.world.state(),
            now_s=play.world.now_s,
            truths=truths,
            split=block.split,
            family=family.name,
            seed=block.seed,
            about=about,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """A healthy cluster that was watched until now; ``seed`` is its world's."""

    scenario: Scenario
    seed: int
    play: Play
    topology: Topology
    severity: tuple[float, float]

    def played(self, scenario: Scenario) -> Play:
        """Return the watch until now, going on where that is what happens."""
        world = World.build(scenario, seed=self.seed)
        world.advance(self.play.world.now_s)
        return self.play.continued(world)


def _ground(block: Block, family: Family) -> _Ground:
    random = _random(block, family.name)
    scenario = family.make(random)
    seed = int(random.integers(2**31))
    world = World.build(scenario, seed=seed)
    time_s = np.array([world.now_s])
    series = [(w.metric, t) for w in readings(world, METRICS, time_s) for t in w.targets]
    gone = random.random(len(series)) < MISSING_SHARE
    missing = frozenset(each for each, is_gone in zip(series, gone, strict=True) if is_gone)
    play = Play(world, detect=_DETECT, missing=missing, swap_after_s=np.inf)
    play.run(_LEARN_S, cycle_s=_LEARN_CYCLE_S)
    play.run(_SETTLE_S)
    play.seen.clear()
    return _Ground(scenario, seed, play, world.topology(), family.severity)


def _random(block: Block, what: str) -> np.random.Generator:
    name = zlib.crc32(f"{block.split}/{block.family}/{what}".encode())
    return np.random.default_rng([name, block.seed])


def _script(ground: _Ground, about: str, random: np.random.Generator) -> Scenario | None:
    """Return the cluster with what is to happen in it; None where it has no place for that."""
    scenario, begun_s = ground.scenario, ground.play.world.now_s - ground.scenario.start_s
    onset_s = begun_s + float(random.uniform(*_ONSET_S))
    if about not in CLASSES:
        return without(scenario, about, onset_s, ground.play.world.state(), random)
    place = struck(about, scenario, ground.topology, random)
    if place is None:
        return None
    faults = [FaultSpec(about, place, onset_s, severity=float(random.uniform(*ground.severity)))]
    if about in FAULTS and random.random() < COMPANY_SHARE:
        also_s = max(onset_s + float(random.uniform(-COMPANY_S, COMPANY_S)), begun_s + CYCLE_S)
        faults += company(faults[0], scenario, ground.topology, random, onset_s=also_s)
    return replace(scenario, faults=tuple(faults))


def _found(
    play: Play, ground: _Ground, random: np.random.Generator, about: str
) -> tuple[Incident, tuple[Truth, ...]] | None:
    """Watch until a minute after the fault's incident opened; None where none does in time."""
    del random
    slow = about in _SLOW
    begun_s = play.world.now_s
    end_s = begun_s + _ONSET_S[1] + (_SLOW_WITHIN_S if slow else _NOTICED_WITHIN_S)
    twins = _twins(play.world.scenario, ground)
    known: dict[str, frozenset[Key]] = {}
    while play.world.now_s < end_s:
        seldom = play.world.now_s > begun_s + _SELDOM_AFTER_S
        cycle_s = _SLOW_CYCLE_S if slow else _SELDOM_CYCLE_S if seldom else CYCLE_S
        play.run(cycle_s, cycle_s=cycle_s)
        for incident in play.seen.values():
            ripe = play.world.now_s >= incident.opened_s + LATE_S
            if not ripe or known.get(incident.id) == keys([incident]):
                continue
            known[incident.id] = keys([incident])
            truths = truths_of(play.world.truth, play.world.scenario, ground.topology)
            for twin in twins.values():
                twin.run(play.world.now_s + ALLOWANCE_S - twin.world.now_s)
            without = {fault: keys(twin.seen.values()) for fault, twin in twins.items()}
            mine = shown(incident, truths, without)
            if any(truth.sim == about for truth in mine):
                return incident, mine
    return None


def _twins(scenario: Scenario, ground: _Ground) -> Mapping[str, Play]:
    """Return, for each of several faults, the watch of the same world where it does not happen."""
    if len(scenario.faults) < 2:
        return {}
    apart = [
        (spec.fault, tuple(f for f in scenario.faults if f is not spec)) for spec in scenario.faults
    ]
    return {fault: ground.played(replace(scenario, faults=rest)) for fault, rest in apart}


def _quiet(
    play: Play, ground: _Ground, random: np.random.Generator, about: str
) -> tuple[Incident, tuple[Truth, ...]] | None:
    """Watch for a while; where no incident opens, somebody points at a series."""
    end_s = play.world.now_s + _ONSET_S[1] + float(random.uniform(*_QUIET_S))
    while play.world.now_s < end_s:
        play.run(CYCLE_S)
        for incident in play.seen.values():
            if play.world.now_s >= incident.opened_s + LATE_S:
                return incident, ()
    asked = pointed_at(play, ground.topology, random)
    return None if asked is None else (asked, ())


def _late(incident: Incident) -> Incident:
    """Return the incident as one sees it who detects a minute late; events have their own time."""
    late_s = incident.opened_s + LATE_S
    return replace(
        incident,
        opened_s=late_s,
        anomalies=tuple(
            replace(each, start_s=min(each.start_s + LATE_S, max(each.end_s, late_s)))
            for each in incident.anomalies
        ),
    )


def _told(play: Play, incident: Incident) -> tuple[Event, ...]:
    """Return what was said from 70 minutes before the incident opened until now."""
    since_s = incident.opened_s - NORMAL_S
    return tuple(event for event in play.world.events if event.time_s >= since_s)


def _history(play: Play, incident: Incident) -> Mapping[str, Window]:
    """Return the readings from 70 minutes before the first symptom on, at the daemon's pace."""
    began = [each.start_s for each in incident.anomalies] + [e.time_s for e in incident.events]
    start_s = min([incident.opened_s, *began]) - NORMAL_S
    first, last = np.ceil(start_s / STEP_S), np.floor(play.world.now_s / STEP_S)
    return play.read(np.arange(first, last + 1) * STEP_S)
