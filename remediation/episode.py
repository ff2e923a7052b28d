"""Some hours of a simulated cluster as a series of decisions about incidents, for any policy.

What the detectors and the diagnosis would say is drawn, not computed: a delay, a blame that is
sometimes wrong, a probability that is sometimes low. The draws depend on the seed and the fault
only, so every policy meets the same ones. Nothing of the truth reaches a policy otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.cluster import ClusterState, JobPhase
from core.errors import ActionFailed
from core.target import Target
from core.types import Action, Cause, Diagnosis, Incident, IncidentState, Severity
from remediation.catalog import CATALOG, REBOOT_NODE
from sim.scenario import (
    COOLING,
    FILLING,
    LEAK,
    XID_79,
    FaultSpec,
    JobSpec,
    Scenario,
    node_name,
)
from sim.world import World

_HOUR_S = 3600.0
_LOOK_S = 15.0  # how often an action's effect is looked for: the daemon's own cycle
# What the diagnosis calls the simulator's faults.
_SAID = {LEAK: "memory_leak"}
# Time from onset to incident: an Xid is read from the log at once and the job crashes within a
# minute; heat creeps for minutes; what fills is forecast when a third to two thirds are left.
_DETECT_S = {
    XID_79: (30.0, 90.0),
    COOLING: (240.0, 600.0),
    LEAK: (900.0, 2700.0),
    FILLING: (900.0, 2700.0),
}


@dataclass(frozen=True, slots=True)
class EpisodeSettings:
    """A small cluster and its bad luck.

    faults:  mean number of faults an episode
    blame:   share of diagnoses whose first cause is the true one
    wait_s:  how long until an open incident is looked at again after waiting
    """

    nodes: int = 8
    spares: int = 2
    hours: float = 6.0
    faults: float = 3.0
    blame: float = 0.9
    wait_s: float = 300.0
    mix: tuple[tuple[str, float], ...] = (
        (XID_79, 0.35),
        (COOLING, 0.25),
        (LEAK, 0.25),
        (FILLING, 0.15),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """A moment at which a policy is asked: an incident, its diagnosis, the cluster."""

    incident: Incident
    diagnosis: Diagnosis
    state: ClusterState
    now_s: float
    plan_id: str


@dataclass(slots=True)
class _Trouble:
    """One fault as it is seen from outside: noticed at ``seen_s``, looked at again at ``due_s``."""

    record: int
    job: str
    seen_s: float
    due_s: float
    looks: int = 0


@dataclass(slots=True)
class _Returning:
    """A node that reboots, and what is to be done when it is back."""

    reboot: Action
    started_s: float
    then: tuple[Action, ...] = field(default=())


class Episode:
    """One run of a cluster from its start to its end, stopping wherever a decision is due."""

    def __init__(self, settings: EpisodeSettings, *, seed: int) -> None:
        self.settings = settings
        self.world = World.build(scenario_of(settings, seed=seed), seed=seed)
        self.end_s = self.world.now_s + settings.hours * _HOUR_S
        self._seed = seed
        self._troubles: list[_Trouble] = []
        self._met = 0
        self._returning: list[_Returning] = []
        self._current: _Trouble | None = None

    @property
    def lost_hours(self) -> float:
        """Return what has been lost so far, in hours of all GPUs that jobs asked for."""
        asked = sum(job.nodes for job in self.world.scenario.jobs) * 8
        return self.world.lost_gpu_s / (asked * _HOUR_S)

    def next_decision(self) -> Decision | None:
        """Let time pass to the next decision; None when the episode is over."""
        while self.world.now_s < self.end_s:
            self._meet()
            due = [item for item in self._troubles if item.due_s <= self.world.now_s]
            for trouble in sorted(due, key=lambda item: (item.due_s, item.record)):
                state = self.world.state()
                if self._is_over(trouble, state):
                    self._troubles.remove(trouble)
                else:
                    self._current = trouble
                    return self._decision(trouble, state)
            soon = min((item.due_s for item in self._troubles), default=math.inf)
            self._pass(min(max(soon, self.world.now_s), self.world.now_s + 60.0, self.end_s))
        return None

    def act(self, actions: Sequence[Action]) -> bool:
        """Carry out the steps and return whether all of them worked; none at all is waiting."""
        trouble = self._current
        if trouble is None:
            return True
        self._current = None
        worked = self._carry_out(tuple(actions))
        trouble.due_s = self.world.now_s + (_LOOK_S if actions else self.settings.wait_s)
        # A failed or endless try must not be asked again at once for ever.
        trouble.due_s += _LOOK_S * min(trouble.looks, 20)
        trouble.looks += 1
        return worked

    def _pass(self, to_s: float) -> None:
        self.world.advance(max(to_s, self.world.now_s + 1.0))
        for item in list(self._returning):
            if CATALOG[REBOOT_NODE].done(item.reboot, self.world.state(), item.started_s):
                self._returning.remove(item)
                self._carry_out(item.then)

    def _carry_out(self, actions: tuple[Action, ...]) -> bool:
        for number, action in enumerate(actions):
            kind, started_s = CATALOG[action.kind], self.world.now_s
            try:
                self.world.perform(action)
            except ActionFailed:
                if kind.optional:
                    continue
                return False
            if action.kind == REBOOT_NODE:
                rest = actions[number + 1 :]
                self._returning.append(_Returning(action, started_s, rest))
                return True
            if not self._wait_for(action, started_s) and not kind.optional:
                return False
        return True

    def _wait_for(self, action: Action, started_s: float) -> bool:
        """Let time pass until the action's effect shows; say whether it did before its deadline."""
        kind = CATALOG[action.kind]
        until_s = min(started_s + action.deadline_s, self.end_s)
        while not kind.done(action, self.world.state(), started_s):
            if self.world.now_s >= until_s:
                return False
            self.world.advance(min(self.world.now_s + _LOOK_S, until_s))
        return True

    def _meet(self) -> None:
        """Note the faults that have struck since the last look, with when they will be noticed."""
        for record in range(self._met, len(self.world.truth)):
            truth = self.world.truth[record]
            random = self._random(record)
            seen_s = truth.onset_s + float(random.uniform(*_DETECT_S[truth.fault]))
            jobs = self.world.state().jobs_touched(truth.target)
            if jobs:
                self._troubles.append(_Trouble(record, jobs[0].id, seen_s, seen_s))
        self._met = len(self.world.truth)

    def _is_over(self, trouble: _Trouble, state: ClusterState) -> bool:
        """Say whether the job runs and nothing broken is under it any more."""
        job = state.job(trouble.job)
        if job is None or job.phase is not JobPhase.RUNNING:
            return job is None
        truth = self.world.truth[trouble.record]
        return truth.repaired_s is not None or truth.target.node not in job.nodes

    def _decision(self, trouble: _Trouble, state: ClusterState) -> Decision:
        truth = self.world.truth[trouble.record]
        name = f"t{trouble.record}"
        incident = Incident(
            id=name,
            state=IncidentState.OPEN,
            severity=Severity.CRITICAL,
            opened_s=trouble.seen_s,
            updated_s=state.observed_s,
            resolved_s=None,
            title=f"trouble on {truth.target.node}",
            targets=(truth.target,),
            jobs=(trouble.job,),
        )
        causes = self._blame(trouble)
        unknown = max(0.0, 1.0 - sum(cause.probability for cause in causes))
        diagnosis = Diagnosis(name, state.observed_s, causes, unknown, "drawn")
        plan_id = f"{name}-{trouble.looks}"
        return Decision(incident, diagnosis, state, state.observed_s, plan_id)

    def _blame(self, trouble: _Trouble) -> tuple[Cause, ...]:
        """Draw what the diagnosis says: mostly the truth, sometimes another node, never sure."""
        truth = self.world.truth[trouble.record]
        random = self._random(trouble.record)
        random.random()  # the first draw was the delay
        right, sure = random.random() < self.settings.blame, random.uniform(0.6, 0.97)
        other = node_name(int(random.integers(self.settings.nodes)))
        said = _SAID.get(truth.fault, truth.fault)
        wrong = Cause(Target(node=other), said, float(0.7 * (1 - sure)))
        if right or other == truth.target.node:
            return (Cause(truth.target, said, float(sure)), wrong)
        # A wrong blame is less sure: that is what calibration means.
        return (
            Cause(Target(node=other), said, float(0.8 * sure)),
            Cause(truth.target, said, float(0.5 * (1 - 0.8 * sure))),
        )

    def _random(self, record: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 7919, record])


def scenario_of(settings: EpisodeSettings, *, seed: int) -> Scenario:
    """Draw a scenario: two jobs on all nodes but the spares, and faults at random times."""
    random = np.random.default_rng([seed, 104729])
    busy = settings.nodes - settings.spares
    large = max(1, 2 * busy // 3)
    jobs = [JobSpec("large", nodes=large, priority=10)]
    if busy > large:
        jobs.append(JobSpec("small", nodes=busy - large, compute_s=2.4, collective_s=0.3))
    names, weights = zip(*settings.mix, strict=True)
    share = np.array(weights) / sum(weights)
    faults = tuple(
        FaultSpec(
            str(random.choice(names, p=share)),
            Target(node=node_name(int(random.integers(busy)))),
            onset_s=float(random.uniform(60.0, 0.85 * settings.hours * _HOUR_S)),
            severity=float(random.uniform(0.7, 1.3)),
        )
        for _ in range(1 + int(random.poisson(max(0.0, settings.faults - 1))))
    )
    return Scenario(
        name="episode",
        nodes=settings.nodes,
        racks=max(1, settings.nodes // 4),
        spares=settings.spares,
        jobs=tuple(jobs),
        faults=faults,
        history_s=_HOUR_S,
    )
