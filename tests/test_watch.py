"""From symptoms to incidents that are kept, told once each, and still known after a restart."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.answer import class_of
from agent.assembly import LEARNED, OUTCOMES, Assembly
from agent.gather import World
from agent.memory import write_memory
from core.clock import ManualClock
from core.target import Target
from core.types import (
    Breach,
    Diagnosis,
    Event,
    Incident,
    IncidentState,
    OutcomeStatus,
    PlanRecord,
    PlanState,
    Severity,
)
from tests.fakes import FakeCluster
from tests.healing import breach, cordon, ended, plan_of, record_of
from tests.loop import CYCLE_S, loop, xid
from tests.receivers import Receiver, receiving, response

NODE, GPU = "node-1", "GPU-8"
Make = Callable[[], AsyncIterator[Assembly]]


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    """Whoever is told."""
    async with receiving(lambda sent: response("200 OK")) as receiver:
        yield receiver


async def watching(folder: Path, clock: ManualClock, sink: Receiver) -> Assembly:
    webhooks = [{"name": "sink", "url": f"http://127.0.0.1:{sink.port}/"}]
    return await loop(folder, clock, cluster=FakeCluster(clock), webhooks=webhooks)


async def look(
    app: Assembly,
    clock: ManualClock,
    *events: Event,
    breaches: tuple[Breach, ...] = (),
    acting: bool = False,
) -> None:
    """Show the watch one cycle's symptoms and let a cycle's time pass."""
    cluster = app.controller.gatherer.cluster
    assert cluster is not None
    world = World(clock.now_s(), await cluster.state(), events, (), {})
    watch = app.controller.watch
    settled = frozenset(incident.id for incident in watch.live()) if acting else frozenset[str]()
    await watch.look(world, breaches=breaches, settled=settled)
    await clock.advance(CYCLE_S)


async def told(app: Assembly, sink: Receiver) -> list[str]:
    """Return what the sink was told so far, in order."""
    await app.outbox.pump()
    return [json.loads(sent.body)["gpumedic"]["event"] for sent in sink.got]


async def test_an_event_is_told_diagnosed_and_resolved_once(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    app = await watching(tmp_path, clock, sink)

    await look(app, clock, xid(NODE, GPU, time_s=clock.now_s()))
    for _ in range(30):
        await look(app, clock)

    assert await told(app, sink) == [
        "incident.opened",
        "incident.diagnosed",
        "incident.resolved",
    ]
    (incident,) = app.controller.watch.recent()
    assert incident.state is IncidentState.RESOLVED
    await app.close()


async def test_a_breach_that_joins_an_incident_is_told_too(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """The early warning is not lost because its node was in trouble already."""
    app = await watching(tmp_path, clock, sink)
    ahead = breach(now_s=clock.now_s())

    await look(app, clock, xid(NODE, GPU, time_s=clock.now_s()))
    await look(app, clock, breaches=(ahead,))
    await look(app, clock, breaches=(ahead,))
    await look(app, clock, breaches=(replace(ahead, expected_s=ahead.expected_s + 60),))

    assert len(app.controller.watch.live()) == 1
    assert (await told(app, sink)).count("forecast.breach_expected") == 1
    await app.close()


async def test_a_breach_alone_opens_an_incident_and_warns(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    app = await watching(tmp_path, clock, sink)

    await look(app, clock, breaches=(breach(now_s=clock.now_s()),))

    assert (await told(app, sink))[:2] == ["incident.opened", "forecast.breach_expected"]
    forecast = json.loads(sink.got[1].body)["gpumedic"]["forecast"]
    assert forecast["target"]["labels"] == {"node": NODE}
    await app.close()


@pytest.mark.parametrize("gone_s", [60.0, 600.0])
async def test_a_restart_knows_the_incidents_of_before(
    gone_s: float, tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """Open or resolved a moment ago: the symptom that returns is the same incident's."""
    first = await watching(tmp_path, clock, sink)
    await look(first, clock, xid(NODE, GPU, time_s=clock.now_s()))
    (before,) = first.controller.watch.live()
    await clock.advance(gone_s)
    await look(first, clock)
    await first.close()

    second = await watching(tmp_path, clock, sink)
    await look(second, clock, xid(NODE, GPU, time_s=clock.now_s()))

    (after,) = second.controller.watch.recent()
    assert after.id == before.id
    assert after.state is IncidentState.OPEN
    assert after.reopened == (gone_s > 300)
    assert after.id in second.controller.watch.diagnoses
    await second.close()


async def test_incidents_far_apart_stay_apart(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    app = await watching(tmp_path, clock, sink)
    now_s = clock.now_s()

    await look(app, clock, xid(NODE, GPU, time_s=now_s), xid("node-9", "GPU-72", time_s=now_s))

    targets = [incident.targets for incident in app.controller.watch.live()]
    assert sorted(targets) == [
        (Target(node=NODE, gpu=GPU),),
        (Target(node="node-9", gpu="GPU-72"),),
    ]
    stored = await app.controller.store.find(Incident)
    assert {each.id for each in stored} == {each.id for each in app.controller.watch.live()}
    await app.close()


async def test_what_shows_while_a_plan_acts_is_its_own_trace(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """A swap makes its own noise; only what comes after it asks for a new diagnosis."""
    app = await watching(tmp_path, clock, sink)
    watch = app.controller.watch
    first = xid(NODE, GPU, time_s=clock.now_s())
    noise = replace(first, kind="link_down", code="", target=Target(node=NODE, port="eth0"))
    later = replace(first, kind="oom_kill", code="", target=Target(node=NODE))
    await look(app, clock, first)
    (incident,) = watch.live()
    made = [watch.diagnoses[incident.id].made_at_s]

    await look(app, clock, replace(noise, time_s=clock.now_s()), acting=True)
    await look(app, clock)
    made.append(watch.diagnoses[incident.id].made_at_s)
    await look(app, clock, replace(later, time_s=clock.now_s()))
    made.append(watch.diagnoses[incident.id].made_at_s)

    assert len(watch.live()) == 1
    assert made[0] == made[1] < made[2]
    await app.close()


async def test_a_diagnosis_knows_its_time_and_is_counted_by_its_class(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    app = await watching(tmp_path, clock, sink)
    watch = app.controller.watch

    await look(app, clock, xid(NODE, GPU, time_s=clock.now_s()))
    (incident,) = watch.live()
    found = watch.diagnoses[incident.id]

    assert found.run_s is not None
    assert 0 < found.run_s < 10
    count = app.metrics.registry.get_sample_value
    assert count("gpumedic_diagnoses_total", {"class": class_of(found)}) == 1
    assert count("gpumedic_diagnoses_total", {"class": "no_fault"}) == 0
    assert count("gpumedic_diagnosis_duration_seconds_count", {"method": found.method}) == 1
    await app.close()


async def test_what_is_no_symptom_is_kept_and_explains_one(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    app = await watching(tmp_path, clock, sink)
    node, now_s = Target(NODE), clock.now_s()
    work = Event(node, now_s, "maintenance", "", "planned work", Severity.INFO)
    down = Event(node, now_s + CYCLE_S, "node_down", "", "does not answer", Severity.CRITICAL)

    await look(app, clock, work)
    await look(app, clock, down)

    (incident,) = app.controller.watch.live()
    assert incident.events == (down,)
    diagnosis = app.controller.watch.diagnoses[incident.id]
    assert "node_taken_down" in {cause.fault for cause in diagnosis.causes}
    await app.close()


async def test_what_plans_came_to_shifts_the_next_diagnosis_and_outlives_a_restart(
    tmp_path: Path, clock: ManualClock, sink: Receiver
) -> None:
    """Twenty plans for the same fault that did not help: it is held to be less likely."""
    first = await watching(tmp_path, clock, sink)
    await look(first, clock, xid(NODE, GPU, time_s=clock.now_s()))
    (before,) = first.controller.watch.diagnoses.values()
    first.controller.watch.learn(refuted(before, times=20, at_s=clock.now_s()), clock.now_s())
    kept = {OUTCOMES: first.controller.watch.outcomes.state()}
    assert write_memory(first.settings.state_dir / LEARNED, kept)
    await first.close()

    second = await watching(tmp_path, clock, sink)
    await clock.advance(86_400.0)
    await look(second, clock, xid("node-9", "GPU-72", time_s=clock.now_s()))

    (after,) = (d for d in second.controller.watch.diagnoses.values() if d != before)
    fault = before.causes[0].fault
    assert fault == after.causes[0].fault
    assert after.causes[0].probability < before.causes[0].probability
    await second.close()


def refuted(diagnosis: Diagnosis, *, times: int, at_s: float) -> list[PlanRecord]:
    """Return plans for a diagnosis' likeliest cause, of as many incidents, that did not help."""
    made = replace(plan_of(cordon(NODE)), cause=diagnosis.causes[0])
    failed = replace(ended(made.actions[0], OutcomeStatus.SUCCEEDED), verified=False)
    return [
        record_of(replace(made, incident_id=f"i{n}"), PlanState.ROLLED_BACK, failed, since_s=at_s)
        for n in range(times)
    ]
