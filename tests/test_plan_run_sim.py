"""The runner heals the simulated cluster's faults: the job runs on a spare or starts afresh."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import JobPhase
from core.target import Target
from core.types import Autonomy, Cause, Diagnosis, Incident, IncidentState, PlanState, Severity
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.policy import Past
from remediation.policies.rulebook import Runbook
from remediation.running.run import Runner, RunSettings
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import COOLING, LEAK, XID_79, FaultSpec
from sim.world import World
from tests.fakes import MemoryStore, RecordingAnnouncer
from tests.healing import anomaly, breach, guards

NODE = "node-03"
BROKEN_S = 1800.0
FOUND_S = BROKEN_S + 120


@pytest.mark.parametrize(
    ("fault", "cause", "actions"),
    [
        (XID_79, "gpu_fallen_off_bus", ["cordon", "swap_node"]),
        (COOLING, "cooling_degraded", ["cordon", "checkpoint_now", "swap_node"]),
        (LEAK, "memory_leak", ["checkpoint_now", "restart_in_place"]),
    ],
)
async def test_a_simulated_fault_is_healed(fault: str, cause: str, actions: list[str]) -> None:
    spec = FaultSpec(fault, Target(node=NODE), onset_s=BROKEN_S)
    script = replace(scenario("quiet"), history_s=7200.0, faults=(spec,))
    world, clock = World.build(script, seed=3), ManualClock(script.start_s)
    cluster, store = SimulatedCluster(world, clock=clock), MemoryStore()
    settings = RunSettings(guards=guards())
    runner = Runner(store, cluster, clock=clock, settings=settings, announce=RecordingAnnouncer())
    await clock.advance(FOUND_S)
    now_s = clock.now_s()
    incident = Incident(
        id="i1",
        state=IncidentState.OPEN,
        severity=Severity.CRITICAL,
        opened_s=now_s,
        updated_s=now_s,
        resolved_s=None,
        title="job llm-70b is in trouble",
        targets=(Target(node=NODE),),
        jobs=("llm-70b",),
        anomalies=(anomaly(Target(job="llm-70b"), now_s=now_s),),
        events=tuple(event for event in await cluster.events() if event.code == "79"),
        breaches=(breach(now_s=now_s - 900),) if fault == LEAK else (),
    )
    await store.put(incident)
    causes = (Cause(Target(node=NODE), cause, 0.9),)
    state = await cluster.state()
    plan = (
        ChoosingPolicy(Runbook())
        .decide(
            incident,
            Diagnosis("i1", now_s, causes, 0.1, "test"),
            state,
            now_s=now_s,
            plan_id="p1",
            past=Past(),
        )
        .plan
    )
    assert plan is not None

    record = await runner.propose(plan, incident, Autonomy.AUTO, state=state)
    for _ in range(200):
        await clock.advance(15)
        state = await cluster.state()
        record = await runner.step(record, incident, state, paused=False)

    assert (record.state, record.refusals) == (PlanState.DONE, ())
    done = [outcome.action.kind for outcome in record.outcomes if outcome.status == "succeeded"]
    assert done == actions
    job = state.job("llm-70b")
    assert job is not None
    assert job.phase is JobPhase.RUNNING
    assert (NODE in job.nodes) == (fault == LEAK)
