"""A cycle says one sentence, survives what breaks in it, and loses nothing over a bad hour."""

import json
import math
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import Assembly
from core.clock import ManualClock
from core.cluster import ClusterState
from core.errors import InputError, SourceUnavailable, StoreError
from core.ports import Store
from core.target import Target
from core.types import Diagnosis, Incident, IncidentState, OutcomeStatus, PlanRecord, PlanState
from tests.fakes import FakeCluster
from tests.loop import CYCLE_S, ScriptedEvents, ScriptedSource, cycles, loop, xid
from tests.receivers import Receiver, receiving, response

NODE, GPU = "node-1", "GPU-8"
MEMORY = "node_memory_used_ratio"
AUTO = [{"mode": "auto"}]
HEALED_WITHIN = (
    90  # cycles: a swap and its proof take 3 min, then the reboot, the checks and proof 17
)
# What is done about a GPU that is gone, and about its node once the job is away from it.
SWAPPED = ("cordon", "checkpoint_now", "swap_node")
PUT_BACK = ("reboot_node", "validate_node", "uncordon")


class FullStore:
    """A store on a full disk: reads go on, writes are refused while ``full``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = True

    async def put(self, *records: Any) -> None:
        if self.full:
            raise StoreError("Using the store: the disk is full. Make room on that volume.")
        await self._store.put(*records)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class SilentCluster(FakeCluster):
    """A cluster whose scheduler does not answer."""

    name = "silent"

    async def state(self) -> ClusterState:
        raise SourceUnavailable("asking the scheduler: no answer. Let it be back.")


def memory(level: float) -> ScriptedSource:
    return ScriptedSource({(MEMORY, Target(node=NODE)): lambda at: level})


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    """Whoever is told."""
    async with receiving(lambda sent: response("200 OK")) as receiver:
        yield receiver


def telling(sink: Receiver) -> dict[str, Any]:
    return {"webhooks": [{"name": "sink", "url": f"http://127.0.0.1:{sink.port}/"}]}


def told(sink: Receiver, announcement: str) -> list[str]:
    """Return the incidents an announcement was made about, in order."""
    bodies = [json.loads(sent.body)["gpumedic"] for sent in sink.got]
    return [body["incident"]["id"] for body in bodies if body["event"] == announcement]


async def test_a_quiet_cluster_is_said_to_be_quiet(tmp_path: Path, clock: ManualClock) -> None:
    app = await loop(tmp_path, clock, sources=[memory(0.4)], cluster=FakeCluster(clock))

    said = await cycles(app, clock, 2)

    assert said == ["all quiet."] * 2
    assert app.controller.ready() == ()
    await app.close()


async def test_a_part_that_explodes_costs_one_cycle(tmp_path: Path, clock: ManualClock) -> None:
    """Nobody foresaw the error: the sentence has it, the next cycle runs as if nothing was."""
    app = await loop(tmp_path, clock, sources=[memory(0.4)], cluster=FakeCluster(clock))
    alerts = app.controller.alerts
    app.controller.alerts = None  # type: ignore[assignment]

    said = await cycles(app, clock, 1)
    app.controller.alerts = alerts
    said += await cycles(app, clock, 1)

    assert said[0].startswith("The cycle failed and runs again: 'NoneType'")
    assert said[1] == "all quiet."
    assert app.controller.healthy()
    await app.close()


async def test_a_part_that_explodes_in_a_back_fill_costs_no_cycle(
    tmp_path: Path, clock: ManualClock
) -> None:
    source = memory(0.4)
    source.broken = [ZeroDivisionError("division by zero in a plug-in")]
    app = await loop(tmp_path, clock, sources=[source], cluster=FakeCluster(clock))

    await app.controller.refit()

    assert await cycles(app, clock, 1) == ["all quiet."]
    await app.close()


async def test_a_source_that_is_away_is_named(tmp_path: Path, clock: ManualClock) -> None:
    away, there = ScriptedSource(name="prometheus", away=True), memory(0.4)
    app = await loop(tmp_path, clock, sources=[away, there], cluster=FakeCluster(clock))

    (sentence,) = await cycles(app, clock, 1)

    assert sentence == "all quiet; no answer from prometheus."
    assert app.controller.ready() == ()
    assert math.isnan(app.controller.view().sources["prometheus"])
    assert "it is away" in app.controller.view().problems[0].text
    await app.close()


async def test_readiness_names_what_is_missing(tmp_path: Path, clock: ManualClock) -> None:
    source = ScriptedSource(away=True)
    app = await loop(tmp_path, clock, sources=[source], cluster=FakeCluster(clock))

    before = app.controller.ready()
    await cycles(app, clock, 1)
    without = app.controller.ready()
    source.away, source.values = False, memory(0.4).values
    await cycles(app, clock, 1)

    assert before == ("no cycle has run yet",)
    assert without == ("no source of readings answers",)
    assert app.controller.ready() == ()
    await app.close()


async def test_a_scheduler_that_is_away_stops_no_watching(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Incidents open, nothing is planned, and the sentence says who does not answer."""
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    cluster = SilentCluster(clock)
    app = await loop(
        tmp_path, clock, sources=[memory(0.4)], events=[events], cluster=cluster, autonomy=AUTO
    )

    (sentence,) = await cycles(app, clock, 1)

    assert sentence.startswith("1 open incident (")
    assert sentence.endswith("); no answer from silent.")
    assert cluster.orders == []
    await app.close()


def in_turn(app: Assembly) -> list[PlanRecord]:
    """Return the plans there were, the first one first."""
    return sorted(app.controller.heal.recent(), key=lambda record: record.plan.made_at_s)


async def test_a_gpu_off_the_bus_is_healed_and_proven(tmp_path: Path, clock: ManualClock) -> None:
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    cluster = FakeCluster(clock)
    app = await loop(tmp_path, clock, events=[events], cluster=cluster, autonomy=AUTO)

    said = await cycles(app, clock, HEALED_WITHIN)

    record, repair = in_turn(app)
    assert (record.state, repair.state) == (PlanState.DONE, PlanState.DONE)
    assert [order.kind for order in cluster.orders] == [*SWAPPED, *PUT_BACK]
    assert "gpu fallen off bus on node-1/GPU-8: cordon approved (auto)" in said[0]
    assert said[-1] == "all quiet."
    assert [i.state for i in app.controller.watch.recent()] == [IncidentState.RESOLVED]
    await app.close()


async def test_observe_mode_says_what_it_would_do(tmp_path: Path, clock: ManualClock) -> None:
    """The default: the whole loop runs, and no hand is laid on anything."""
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    cluster = FakeCluster(clock)
    app = await loop(tmp_path, clock, events=[events], cluster=cluster)

    await cycles(app, clock, 6)

    (record,) = app.controller.heal.recent()
    assert {outcome.status for outcome in record.outcomes} == {OutcomeStatus.WOULD_DO}
    assert cluster.orders == []
    assert app.controller.view().nodes_out == 0
    await app.close()


async def test_a_pause_stops_acting_and_nothing_else(tmp_path: Path, clock: ManualClock) -> None:
    events, cluster = ScriptedEvents(), FakeCluster(clock)
    app = await loop(tmp_path, clock, events=[events], cluster=cluster, autonomy=AUTO)
    with pytest.raises(InputError, match="no reason"):
        await app.controller.pause(by="ada", because=" ", for_s=None)

    await app.controller.pause(by="ada", because="moving racks", for_s=600.0)
    events.next = [xid(NODE, GPU, time_s=clock.now_s())]
    paused = await cycles(app, clock, 4)
    while_paused = list(cluster.orders)
    await app.controller.resume(by="ada")
    await cycles(app, clock, HEALED_WITHIN)

    assert all(each.startswith("PAUSE (moving racks): 1 open incident") for each in paused)
    assert while_paused == []
    assert [order.kind for order in cluster.orders][:1] == ["cordon"]
    await app.close()


@pytest.mark.parametrize("after", [1, 2, 3, 5, 8, 12])
async def test_a_kill_in_the_middle_of_a_plan_repeats_nothing(
    after: int, tmp_path: Path, clock: ManualClock
) -> None:
    """The state folder as a kill leaves it, taken up by a new process: same plan, same end."""
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    cluster = FakeCluster(clock)
    chosen: dict[str, Any] = {"events": [events], "cluster": cluster, "autonomy": AUTO}
    first = await loop(tmp_path / "before", clock, **chosen)
    await cycles(first, clock, after)
    (before,) = first.controller.heal.recent()
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    await first.close()

    second = await loop(tmp_path / "after", clock, **chosen)
    await cycles(second, clock, HEALED_WITHIN)

    record, repair = in_turn(second)
    assert record.plan.id == before.plan.id
    # Beside what was before each, which is kept as it is ordered, the actions are the same.
    assert [action.key for action in record.plan.actions] == [
        action.key for action in before.plan.actions
    ]
    assert (record.state, repair.state) == (PlanState.DONE, PlanState.DONE)
    keys = [order.key for order in cluster.orders]
    assert len(cluster.effects) == len(set(cluster.effects)) == len({*SWAPPED, *PUT_BACK})
    assert len(set(keys)) == len({*SWAPPED, *PUT_BACK})
    assert [i.id for i in second.controller.watch.recent()] == [record.plan.incident_id]
    await second.close()


async def test_a_full_store_forgets_and_repeats_nothing(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """What was found while nothing could be written is one incident, kept and told once."""
    events = ScriptedEvents()
    app = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock), **telling(sink))
    kept = app.controller.watch.store
    full = FullStore(kept)
    app.controller.watch.store = full
    events.next = [xid(NODE, GPU, time_s=clock.now_s())]
    said = await cycles(app, clock, 3)
    missing = app.controller.ready()
    full.full = False
    after = await cycles(app, clock, 1)
    await app.outbox.pump()

    assert all("the disk is full" in each for each in said)
    assert "the disk is full" in " ".join(missing)
    assert app.controller.ready() == ()
    assert after[0].startswith("1 open incident")
    (stored,) = await kept.find(Incident)
    assert await kept.get(Diagnosis, stored.id) is not None
    assert told(sink, "incident.opened") == [stored.id]
    assert told(sink, "incident.diagnosed") == [stored.id]
    assert metric(app, "gpumedic_store_errors_total") == 3
    await app.close()


async def test_a_clock_set_back_an_hour_loses_nothing(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """Readings, incidents, events and messages of before and after the step are all there."""
    events, source = ScriptedEvents(), memory(0.4)
    app = await loop(
        tmp_path, clock, sources=[source], events=[events], cluster=FakeCluster(clock),
        **telling(sink),
    )  # fmt: skip
    first_s = clock.now_s()
    events.next = [xid(NODE, GPU, time_s=first_s)]
    await cycles(app, clock, 3)
    (before,) = app.controller.watch.live()
    clock.step(-3600.0)
    second_s = clock.now_s()
    events.next = [xid("node-9", "GPU-72", time_s=second_s)]
    said = await cycles(app, clock, 3)
    await app.outbox.pump()

    assert not any("failed" in each for each in said)
    ids = {incident.id for incident in app.controller.watch.live()}
    assert before.id in ids
    assert len(ids) == 2
    assert set(told(sink, "incident.opened")) == ids
    for at_s in (first_s, second_s):
        window = app.history.window(MEMORY, start_s=at_s, end_s=at_s + 2 * CYCLE_S)
        assert (abs(window.value - 0.4) < 1e-6).all()
        assert window.value.size
    assert metric(app, "gpumedic_clock_steps_total") == 1
    await app.close()


async def test_an_alert_outlives_a_failed_cycle_and_stands_until_it_ends(
    tmp_path: Path, clock: ManualClock
) -> None:
    """It is on disk when taken; its incident stays open while it fires, and no longer."""
    app = await loop(tmp_path, clock, cluster=FakeCluster(clock))
    alert = xid(NODE, GPU, time_s=clock.now_s())
    await app.controller.take_alerts({"f1": alert}, [])
    full = FullStore(app.controller.watch.store)
    app.controller.watch.store = full
    await cycles(app, clock, 2)
    full.full = False
    await cycles(app, clock, 1)
    (opened,) = app.controller.watch.live()
    await cycles(app, clock, int(360 / CYCLE_S))
    still = app.controller.watch.live()
    await app.controller.take_alerts({}, ["f1"])
    await cycles(app, clock, int(360 / CYCLE_S))

    assert [incident.id for incident in still] == [opened.id]
    assert app.controller.watch.live() == ()
    await app.close()


async def test_an_alert_nobody_repeats_for_a_day_is_forgotten(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await loop(tmp_path, clock, cluster=FakeCluster(clock))
    await app.controller.take_alerts({"f1": xid(NODE, GPU, time_s=clock.now_s())}, [])
    await clock.advance(23 * 3600.0)
    before = await app.controller.alerts.standing(clock.now_s())
    await app.controller.take_alerts({"f1": xid(NODE, GPU, time_s=clock.now_s())}, [])
    await clock.advance(23 * 3600.0)
    repeated = await app.controller.alerts.standing(clock.now_s())
    await clock.advance(2 * 3600.0)

    assert [event.time_s for event in repeated.values()] == [clock.now_s() - 2 * 3600.0]
    assert (set(before), set(repeated)) == ({"f1"}, {"f1"})
    assert await app.controller.alerts.standing(clock.now_s()) == {}
    await app.close()


async def test_a_loop_that_is_stuck_is_not_healthy(tmp_path: Path, clock: ManualClock) -> None:
    """The watchdog is fed while cycles end, so that systemd restarts what hangs."""
    app = await loop(tmp_path, clock, cluster=FakeCluster(clock))
    fresh = app.controller.healthy()
    await cycles(app, clock, 1)
    running = app.controller.healthy()
    await clock.advance(20 * CYCLE_S)

    assert (fresh, running, app.controller.healthy()) == (True, True, False)
    await app.close()


async def test_a_first_cycle_that_never_ends_is_not_healthy(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await loop(tmp_path, clock, cluster=FakeCluster(clock))
    await clock.advance(20 * CYCLE_S)

    assert not app.controller.healthy()
    await app.close()


def metric(app: Assembly, name: str) -> float:
    page = app.metrics.exposition("")[0].decode()
    (line,) = [line for line in page.splitlines() if line.startswith(f"{name} ")]
    return float(line.split(" ")[1])


async def test_the_page_has_the_history_of_what_is_open(tmp_path: Path, clock: ManualClock) -> None:
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    app = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock), autonomy=AUTO)

    await cycles(app, clock, 2)

    (incident,) = app.controller.watch.live()
    shown = app.controller.view().timelines[incident.id]
    assert shown == await app.controller.timeline(incident.id)
    assert any("cordon" in entry.text for entry in shown)
    await app.close()
