"""What the tests of healing share: an incident, its diagnosis, and a bench that runs the cycles."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace

from core.clock import ManualClock
from core.cluster import ClusterState
from core.ports import Store
from core.target import Target
from core.types import (
    Action,
    Anomaly,
    Autonomy,
    Breach,
    Cause,
    Diagnosis,
    Event,
    Incident,
    IncidentState,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Scalar,
    Severity,
)
from remediation.catalogue import make
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.policy import Past
from remediation.guards import GuardSettings
from remediation.policies.rulebook import Runbook
from remediation.running.run import Runner, RunSettings
from tests.fakes import FakeCluster, RecordingAnnouncer

NOW_S = 1_700_000_000.0
CYCLE_S = 15.0
HOT = "cooling_degraded"
GONE = "gpu_fallen_off_bus"
LEAK = "memory_leak"


def incident(node: str = "node-1", *, id: str = "i1", now_s: float = NOW_S) -> Incident:
    """Return an open incident: the job is slow and the node's first GPU is hot."""
    return Incident(
        id=id,
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=now_s - 60,
        updated_s=now_s,
        resolved_s=None,
        title="job train is slow",
        targets=(Target(node=node), Target(job="train")),
        jobs=("train",),
        anomalies=(
            anomaly(Target(node=node, gpu="GPU-8"), now_s=now_s),
            anomaly(Target(job="train"), now_s=now_s),
        ),
    )


def anomaly(target: Target, *, now_s: float, severity: Severity = Severity.WARNING) -> Anomaly:
    """Return a reading out of the ordinary, last seen now."""
    return Anomaly(
        target=target,
        metric="job_step_time_s",
        start_s=now_s - 60,
        end_s=now_s,
        value=9.0,
        lower=4.0,
        upper=6.0,
        score=0.9,
        detector="test",
        severity=severity,
        text="the step takes 9 s",
    )


def xid(node: str, *, now_s: float) -> Event:
    """Return the kernel's word that a GPU is gone."""
    return Event(
        Target(node=node, gpu="GPU-8"),
        now_s,
        "xid",
        "79",
        "GPU has fallen off the bus",
        Severity.CRITICAL,
    )


def breach(*, now_s: float) -> Breach:
    """Return a forecast made now: node-1's memory is full in half an hour."""
    return Breach(
        target=Target(node="node-1"),
        metric="node_memory_used_ratio",
        limit=0.95,
        made_at_s=now_s,
        horizon_s=7200,
        probability=0.9,
        expected_s=now_s + 1800,
        earliest_s=now_s + 1500,
        latest_s=now_s + 2400,
        value=0.8,
        model="test",
        skill=0.5,
    )


def diagnosis(
    fault: str = HOT, *, node: str = "node-1", probability: float = 0.9, incident_id: str = "i1"
) -> Diagnosis:
    """Return one likely cause and the rest unknown."""
    cause = Cause(Target(node=node), fault, probability)
    return Diagnosis(incident_id, NOW_S, (cause,), 1 - probability, "test")


def plan_of(
    *steps: tuple[str, Target, dict[str, Scalar]],
    id: str = "p1",
    incident_id: str = "i1",
    probability: float = 0.9,
) -> Plan:
    """Return a plan of these steps."""
    actions = tuple(
        make(kind, target, params, plan_id=id, step=number)
        for number, (kind, target, params) in enumerate(steps)
    )
    cause = Cause(Target(node="node-1"), HOT, probability)
    return Plan(
        id=id,
        incident_id=incident_id,
        made_at_s=NOW_S,
        expires_s=NOW_S + 3600,
        cause=cause,
        actions=actions,
        rationale="for the test",
        lost_gpu_s_with=1.0,
        lost_gpu_s_without=2.0,
        policy="test",
        policy_version="1",
    )


def cordon(node: str) -> tuple[str, Target, dict[str, Scalar]]:
    """Return the step that takes a node out."""
    return ("cordon", Target(node=node), {})


def swap(
    node: str, spare: str = "node-10", *, job: str = "train"
) -> tuple[str, Target, dict[str, Scalar]]:
    """Return the step that puts a spare in."""
    return ("swap_node", Target(node=node), {"job": job, "spare": spare})


def ended(action: Action, status: OutcomeStatus, *, at_s: float = NOW_S) -> Outcome:
    """Return what came of an action."""
    return Outcome(action, status, at_s, at_s, "for the test")


def record_of(
    plan: Plan,
    state: PlanState,
    *outcomes: Outcome,
    step: int | None = None,
    since_s: float = NOW_S,
) -> PlanRecord:
    """Return a plan that has come so far; without ``step`` nothing is in flight."""
    return PlanRecord(
        plan,
        state,
        Autonomy.AUTO,
        since_s=since_s,
        step=len(outcomes) if step is None else step,
        outcomes=outcomes,
    )


def fresh_until_swapped(incident: Incident, state: ClusterState) -> Incident:
    """Show the symptoms on and on until the hot node no longer has the job."""
    job = state.job("train")
    if job is None or "node-1" not in job.nodes:
        return incident
    return seen_now(incident, state.observed_s)


def seen_now(incident: Incident, now_s: float) -> Incident:
    """Return the incident with every anomaly seen again now."""
    anomalies = tuple(replace(anomaly, end_s=now_s) for anomaly in incident.anomalies)
    return replace(incident, updated_s=now_s, anomalies=anomalies)


def never_better(incident: Incident, state: ClusterState) -> Incident:
    """Show the symptoms whatever is done."""
    return seen_now(incident, state.observed_s)


def not_seen_again(incident: Incident, _: ClusterState) -> Incident:
    """Show the symptoms no more from now on."""
    return incident


@dataclass
class Bench:
    """A runner over a fake cluster and a real store, cycle by cycle.

    heal: what the incident looks like at a cycle, from the incident and the cluster's state
    """

    clock: ManualClock
    cluster: FakeCluster
    store: Store
    settings: RunSettings = field(default_factory=RunSettings)
    announcer: RecordingAnnouncer = field(default_factory=RecordingAnnouncer)
    incident: Incident = field(default_factory=incident)
    paused: bool = False
    heal: Callable[[Incident, ClusterState], Incident] = fresh_until_swapped

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, store: Store | None = None) -> None:
        """Begin again as a new process that knows only the store."""
        self.runner = Runner(
            store or self.store,
            self.cluster,
            clock=self.clock,
            settings=self.settings,
            announce=self.announcer,
        )

    async def propose(
        self, plan: Plan | None = None, *, mode: Autonomy = Autonomy.AUTO
    ) -> PlanRecord:
        """Propose a plan; without one the runbook's for a hot node."""
        await self.store.put(self.incident)
        state = await self.cluster.state()
        made = (
            plan
            or ChoosingPolicy(Runbook())
            .decide(
                self.incident,
                diagnosis(),
                state,
                now_s=self.clock.now_s(),
                plan_id="p1",
                past=Past(guards=self.settings.guards),
            )
            .plan
        )
        assert made is not None
        return await self.runner.propose(made, self.incident, mode, state=state)

    async def cycle(self, record: PlanRecord) -> PlanRecord:
        """Let a cycle's time pass and take one step."""
        await self.clock.advance(CYCLE_S)
        state = await self.cluster.state()
        self.incident = self.heal(self.incident, state)
        step = self.runner.step(record, self.incident, state, paused=self.paused)
        return await self.within(step)

    async def within(self, step: Coroutine[None, None, PlanRecord]) -> PlanRecord:
        """Wait for a step, letting the clock run where it waits for the cluster."""
        task = asyncio.ensure_future(step)
        while not task.done():
            for _ in range(50):
                await asyncio.sleep(0)
            if not task.done():
                await asyncio.wait({task}, timeout=0.005)
            if not task.done():
                await self.clock.advance(self.settings.perform_timeout_s)
        return task.result()

    async def until_final(self, record: PlanRecord, *, cycles: int = 400) -> PlanRecord:
        """Run cycles until the plan is final."""
        for _ in range(cycles):
            if record.state.final:
                return record
            record = await self.cycle(record)
        raise AssertionError(f"plan is still {record.state} after {cycles} cycles")


def guards(**changes: object) -> GuardSettings:
    """Return guard settings wide enough for the fake cluster, but for the changes."""
    return replace(GuardSettings(max_ratio_out=0.5), **changes)  # type: ignore[arg-type]
