"""Some hours of a simulated cluster as a series of decisions about incidents, for any policy.

What the detectors and the diagnosis would say is drawn, not computed (``sim.engine.surrogate``): a
delay, a blame that is sometimes wrong, a probability that is sometimes low. The draws depend on the
seed and the fault only, so every policy meets the same ones. Nothing of the truth reaches a policy
otherwise. A plan is carried out as the daemon does it, and other incidents wait for nothing of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.cluster import ClusterState
from core.errors import ActionFailed
from core.target import Target
from core.types import Action, Cause, Diagnosis, Incident, IncidentState, Severity
from remediation.catalogue import CATALOG, REBOOT_NODE
from sim.catalogue import CAUSES
from sim.engine import surrogate
from sim.scenario import (
    COOLING,
    FILLING,
    GPUS_PER_NODE,
    LEAK,
    XID_79,
    FaultSpec,
    JobSpec,
    Scenario,
    Site,
    node_name,
)
from sim.world import World

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class EpisodeSettings:
    """A small cluster and its bad luck.

    faults:  mean number of faults an episode
    blame:   share of diagnoses whose first cause is the true one
    """

    nodes: int = 8
    spares: int = 2
    hours: float = 6.0
    faults: float = 3.0
    blame: float = 0.9
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


@dataclass(frozen=True, slots=True)
class Ordered:
    """An action that was ordered, when, and whether its effect showed in time; epoch seconds."""

    action: Action
    started_s: float
    ended_s: float
    worked: bool


@dataclass(slots=True)
class _Plan:
    """A plan under way: its steps, which of them it is at, since when it is ordered (or None)."""

    actions: tuple[Action, ...]
    at: int = 0
    ordered_s: float | None = None


@dataclass(slots=True)
class _Returning:
    """A node that reboots, and what is to be done when it is back."""

    reboot: Action
    started_s: float
    look_s: float
    then: tuple[Action, ...] = field(default=())


class Episode:
    """One run of a cluster from its start to its end, stopping wherever a decision is due.

    Its world must be built from a scenario with surrogate telemetry. ``ordered`` holds what was
    done so far, ``incidents`` how many troubles wanted a decision, ``helped`` when each plan that
    went through to its last step had, epoch seconds.
    """

    def __init__(self, world: World, *, end_s: float) -> None:
        self.world = world
        self.end_s = end_s
        self.ordered: list[Ordered] = []
        self.helped: list[float] = []
        self._met: set[int] = set()
        jobs = world.scenario.jobs
        self._asked = sum(job.gpus or job.nodes * GPUS_PER_NODE for job in jobs)
        self._plans: dict[int, _Plan] = {}
        self._returning: list[_Returning] = []
        self._current: int | None = None

    @classmethod
    def drawn(cls, settings: EpisodeSettings, *, seed: int) -> "Episode":
        """Return an episode of a cluster whose faults are drawn by the settings."""
        world = World.build(scenario_of(settings, seed=seed), seed=seed)
        return cls(world, end_s=world.now_s + settings.hours * _HOUR_S)

    @property
    def lost_hours(self) -> float:
        """Return what has been lost so far, in hours of all GPUs that jobs asked for."""
        return self.world.lost_gpu_s / (self._asked * _HOUR_S)

    @property
    def incidents(self) -> int:
        """Return how many troubles have wanted a decision so far."""
        return len(self._met)

    def next_decision(self, *, until_s: float = math.inf) -> Decision | None:
        """Let time pass to the next decision; None at ``until_s`` or when the episode is over.

        A decision upon which nobody acted is one to wait.
        """
        self.act(())
        until_s = min(until_s, self.end_s)
        while self.world.now_s < until_s:
            soon_s = min((item.look_s for item in self._returning), default=math.inf)
            if not self.world.advance(min(soon_s, until_s)):
                self._look_for_returning()
                continue
            trouble = int(self.world.inner.core[0]["decision"])
            if trouble in self._plans:
                self._go_on(trouble)
            else:
                self._current = trouble
                return self._decision(trouble)
        return None

    def act(self, actions: Sequence[Action]) -> None:
        """Begin to carry out the steps, one after the other; none at all is waiting."""
        trouble, self._current = self._current, None
        if trouble is None:
            return
        if not actions:
            surrogate.rest(self.world.inner, trouble, surrogate.WAIT_S)
            return
        self._plans[trouble] = _Plan(tuple(actions))
        self.world.inner.troubles[trouble]["busy"] = True
        self._go_on(trouble)

    def _go_on(self, trouble: int) -> None:
        """Go through a plan's steps until one takes time, fails or is the last."""
        plan, world = self._plans[trouble], self.world
        while plan.at < len(plan.actions):
            action = plan.actions[plan.at]
            kind = CATALOG[action.kind]
            if plan.ordered_s is None and not self._order(action, plan):
                if not kind.optional:
                    break
                plan.at += 1
                continue
            started_s = world.now_s if plan.ordered_s is None else plan.ordered_s
            if action.kind == REBOOT_NODE:
                self._await_return(action, plan.actions[plan.at + 1 :])
                plan.at = len(plan.actions)
                continue
            done = kind.done(action, world.state(), started_s)
            until_s = started_s + action.deadline_s
            if not done and world.now_s < until_s:
                wait_s = min(surrogate.LOOK_S, until_s - world.now_s)
                surrogate.look_later(world.inner, trouble, wait_s)
                return
            self.ordered.append(Ordered(action, started_s, world.now_s, done))
            if not done and not kind.optional:
                break
            plan.at, plan.ordered_s = plan.at + 1, None
        else:
            self.helped.append(world.now_s)
        del self._plans[trouble]
        surrogate.rest(world.inner, trouble, surrogate.LOOK_S)

    def _order(self, action: Action, plan: _Plan) -> bool:
        """Give an order; say whether the scheduler took it."""
        now_s = self.world.now_s
        try:
            self.world.perform(action)
        except ActionFailed:
            self.ordered.append(Ordered(action, now_s, now_s, worked=False))
            return False
        plan.ordered_s = now_s
        return True

    def _await_return(self, reboot: Action, then: tuple[Action, ...]) -> None:
        now_s = self.world.now_s
        self._returning.append(_Returning(reboot, now_s, now_s + surrogate.LOOK_S, then))

    def _look_for_returning(self) -> None:
        """Do what is to be done with the nodes that have come up again."""
        now_s = self.world.now_s
        due = [item for item in self._returning if item.look_s <= now_s]
        state = self.world.state() if due else None
        for item in due:
            item.look_s += surrogate.LOOK_S
            if state is None or not CATALOG[REBOOT_NODE].done(item.reboot, state, item.started_s):
                continue
            self._returning.remove(item)
            self.ordered.append(Ordered(item.reboot, item.started_s, now_s, worked=True))
            for action in item.then:
                worked = self._order(action, _Plan(item.then))
                if worked:
                    self.ordered.append(Ordered(action, now_s, now_s, worked))

    def _decision(self, trouble: int) -> Decision:
        row, state = self.world.inner.troubles[trouble], self.world.state()
        self._met.add(trouble)
        causes, name = self._causes(trouble), f"t{trouble}"
        unknown = max(0.0, 1.0 - sum(cause.probability for cause in causes))
        incident = Incident(
            id=name,
            state=IncidentState.OPEN,
            severity=Severity.CRITICAL,
            opened_s=float(row["opened_s"]),
            updated_s=state.observed_s,
            resolved_s=None,
            title=f"trouble on {causes[0].target}",
            targets=(causes[0].target,),
            jobs=(self.world.names.job(int(row["number"])),),
        )
        diagnosis = Diagnosis(name, state.observed_s, causes, unknown, "drawn")
        return Decision(incident, diagnosis, state, state.observed_s, f"{name}-{row['looks']}")

    def _causes(self, trouble: int) -> tuple[Cause, ...]:
        """Return what the diagnosis says, likeliest first."""
        row, names = self.world.inner.troubles[trouble], self.world.names
        where = names.target(int(row["node"]), int(row["gpu"]))
        found = [Cause(where, CAUSES[row["cause"]], float(row["probability"]))]
        if row["other_probability"] > 0:
            where = names.target(int(row["other_node"]))
            other = float(row["other_probability"])
            found.append(Cause(where, CAUSES[row["other_cause"]], other))
        return tuple(found)


def scenario_of(settings: EpisodeSettings, *, seed: int) -> Scenario:
    """Draw a scenario: two jobs on all nodes but the spares, and faults at random times."""
    busy = settings.nodes - settings.spares
    large = max(1, 2 * busy // 3)
    jobs = [JobSpec("large", nodes=large, priority=10)]
    if busy > large:
        jobs.append(JobSpec("small", nodes=busy - large, compute_s=2.4, collective_s=0.3))
    return Scenario(
        name="episode",
        nodes=settings.nodes,
        racks=max(1, settings.nodes // 4),
        spares=settings.spares,
        jobs=tuple(jobs),
        faults=faults_of(settings, seed=seed),
        history_s=0.0,
        telemetry="surrogate",
        site=Site(blame=settings.blame),
    )


def faults_of(settings: EpisodeSettings, *, seed: int) -> tuple[FaultSpec, ...]:
    """Draw an episode's faults."""
    random = np.random.default_rng([seed, 104729])
    count = 1 + int(random.poisson(max(0.0, settings.faults - 1)))
    names, weights = zip(*settings.mix, strict=True)
    edges = np.cumsum(weights) / sum(weights)
    kinds = np.searchsorted(edges, random.random(count), side="right")
    nodes = random.integers(settings.nodes - settings.spares, size=count)
    onsets = random.uniform(60.0, 0.85 * settings.hours * _HOUR_S, count)
    severities = random.uniform(0.7, 1.3, count)
    return tuple(
        FaultSpec(
            names[min(int(kind), len(names) - 1)],
            Target(node=node_name(int(node), settings.nodes)),
            onset_s=float(onset_s),
            severity=float(severity),
        )
        for kind, node, onset_s, severity in zip(kinds, nodes, onsets, severities, strict=True)
    )
