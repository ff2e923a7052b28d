"""One broken part of the loop stops no other: a plan, a diagnosis, an event, a hanging source."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import Assembly
from agent.controller import MAX_FAILED_LOOKS
from agent.heal import MAX_PROPOSALS
from agent.pause import PauseSwitch
from core.clock import ManualClock
from core.ports import Collected, Query
from core.types import Action, IncidentState, PlanState
from rca import diagnose as diagnosing
from tests.fakes import Answer, FakeCluster
from tests.loop import CYCLE_S, ScriptedEvents, ScriptedSource, cycles, loop, xid

AUTO = [{"mode": "auto"}]
ROOMY = {"max_nodes_out": 4, "max_ratio_out": 0.5, "max_nodes_out_per_rack": 4}
# Idle nodes far from each other: two incidents, each with a plan of its own.
FIRST, SECOND = ("node-5", "GPU-40"), ("node-9", "GPU-72")


class Hanging(ScriptedSource):
    """Answers when told to."""

    def __init__(self) -> None:
        super().__init__(name="hanging")
        self.go = asyncio.Event()
        self.asked = asyncio.Event()

    async def read(self, query: Query) -> Collected:
        self.asked.set()
        await self.go.wait()
        return Collected(())


class PausedByFirstOrder(FakeCluster):
    """A person pauses gpumedic while its first order is on its way."""

    app: Assembly | None = None

    async def perform(self, action: Action) -> None:
        await super().perform(action)
        if self.app is not None and len(self.orders) == 1:
            await self.app.controller.pause(by="ada", because="stop", for_s=None)


async def two_troubles(folder: Path, clock: ManualClock, cluster: FakeCluster) -> Assembly:
    now_s = clock.now_s()
    events = ScriptedEvents([xid(*FIRST, time_s=now_s), xid(*SECOND, time_s=now_s)])
    return await loop(folder, clock, events=[events], cluster=cluster, autonomy=AUTO, guards=ROOMY)


async def test_a_pause_holds_for_the_next_plan_of_the_same_cycle(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = PausedByFirstOrder(clock)
    app = await two_troubles(tmp_path, clock, cluster)
    cluster.app = app

    said = await cycles(app, clock, 4)

    assert len(app.controller.heal.live()) >= 1
    assert len(cluster.orders) == 1
    assert said[-1].startswith("PAUSE (stop)")
    await app.close()


async def test_a_plan_that_breaks_keeps_no_other_from_its_step(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app = await two_troubles(tmp_path, clock, cluster)
    await cycles(app, clock, 1)
    assert len(app.controller.heal.live()) == 2
    cluster.answers = {"cordon": Answer.BREAK}

    (sentence,) = await cycles(app, clock, 1)

    assert sentence.count("broke with ZeroDivisionError") == 2
    assert {order.target.node for order in cluster.orders} == {FIRST[0], SECOND[0]}
    await app.close()


async def test_a_diagnosis_that_breaks_costs_its_incident_only(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = diagnosing.diagnose

    def breaks(incident: Any, *rest: Any, **named: Any) -> Any:
        if incident.targets[0].node == FIRST[0]:
            raise ZeroDivisionError
        return whole(incident, *rest, **named)

    monkeypatch.setattr("agent.watch.diagnose", breaks)
    app = await two_troubles(tmp_path, clock, FakeCluster(clock))

    await cycles(app, clock, 1)

    (record,) = app.controller.heal.live()
    assert record.plan.cause.target.node == SECOND[0]
    assert len(app.controller.watch.live()) == 2
    await app.close()


async def test_a_look_that_breaks_stops_no_plan_and_ends(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that nothing can be made of is given up; until then what was begun goes on."""
    events, cluster = ScriptedEvents([xid(*FIRST, time_s=clock.now_s())]), FakeCluster(clock)
    app = await loop(tmp_path, clock, events=[events], cluster=cluster, autonomy=AUTO)
    await cycles(app, clock, 1)
    poison = replace(xid(*SECOND, time_s=clock.now_s()), time_s="soon")  # type: ignore[arg-type]
    await app.controller.take_alerts({"f1": xid(*SECOND, time_s=clock.now_s())}, [])
    events.next = [poison]

    said = await cycles(app, clock, MAX_FAILED_LOOKS)
    after = await cycles(app, clock, 1)

    assert all("failed and runs again" in each for each in said)
    assert [order.kind for order in cluster.orders][:1] == ["cordon"]
    assert "failed" not in after[0]
    assert await app.controller.alerts.standing(clock.now_s()) == {}
    await app.close()


async def test_an_approval_does_not_wait_for_a_source(tmp_path: Path, clock: ManualClock) -> None:
    events = ScriptedEvents([xid(*FIRST, time_s=clock.now_s())])
    source = Hanging()
    source.go.set()
    app = await loop(
        tmp_path, clock, events=[events], sources=[source], cluster=FakeCluster(clock),
        autonomy=[{"mode": "approve"}],
    )  # fmt: skip
    await cycles(app, clock, 1)
    source.go.clear()
    source.asked.clear()
    running = asyncio.create_task(app.controller.cycle())
    await source.asked.wait()

    (waiting,) = app.controller.heal.live()
    record = await asyncio.wait_for(app.controller.approve(waiting.plan.id, by="ada"), 5.0)

    assert record.state is PlanState.APPROVED
    assert not running.done()
    source.go.set()
    await running
    (moved,) = app.controller.heal.recent()
    assert moved.state is PlanState.ACTING
    await app.close()


async def test_a_restart_diagnoses_nothing_anew(tmp_path: Path, clock: ManualClock) -> None:
    """What the symptoms looked like before is gone from a fresh history; the diagnosis is kept."""
    events = ScriptedEvents([xid(*FIRST, time_s=clock.now_s())])
    first = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock))
    await cycles(first, clock, 1)
    (before,) = first.controller.watch.diagnoses.values()
    await first.close()

    second = await loop(tmp_path, clock, cluster=FakeCluster(clock))
    await cycles(second, clock, 2)

    assert second.controller.watch.diagnoses == {before.incident_id: before}
    await second.close()


async def test_an_incident_ends_in_time_though_the_clock_was_set_back(
    tmp_path: Path, clock: ManualClock
) -> None:
    events = ScriptedEvents([xid(*FIRST, time_s=clock.now_s())])
    app = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock))
    await cycles(app, clock, 2)
    clock.step(-3600.0)

    await cycles(app, clock, int(420 / CYCLE_S))

    (incident,) = app.controller.watch.recent()
    assert incident.state is IncidentState.RESOLVED
    await app.close()


async def test_what_is_kept_at_hand_goes_with_its_incident(
    tmp_path: Path, clock: ManualClock
) -> None:
    events = ScriptedEvents([xid(*FIRST, time_s=clock.now_s())])
    app = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock))
    await cycles(app, clock, int(3600 / CYCLE_S))

    watch = app.controller.watch
    assert (watch.incidents, watch.diagnoses, watch._seen) == ({}, {}, {})
    await app.close()


def test_a_stop_file_that_cannot_be_looked_for_stops_nothing(tmp_path: Path) -> None:
    """Its folder may be another user's; that must not break every cycle."""
    switch = PauseSwitch(None, stop_file=tmp_path / ("x" * 300))  # type: ignore[arg-type]

    assert switch.current(0.0) is None


async def test_trouble_everywhere_at_once_is_planned_for_bit_by_bit(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A cycle weighs so many plans and no more; the rest has its turn in those that follow."""
    cluster = FakeCluster(clock, nodes=200, spares=2)
    now_s = clock.now_s()
    troubles = [xid(f"node-{n}", f"GPU-{8 * n}", time_s=now_s) for n in range(5, 190, 8)]
    app = await loop(tmp_path, clock, events=[ScriptedEvents(troubles)], cluster=cluster)
    counts = []
    for _ in range(4):
        await cycles(app, clock, 1)
        counts.append(len(app.controller.heal.plans))

    incidents = len(app.controller.watch.live())
    assert counts == [min(incidents, MAX_PROPOSALS * (turn + 1)) for turn in range(4)]
    assert incidents > MAX_PROPOSALS
    await app.close()
