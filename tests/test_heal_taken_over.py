"""A plan whose incident another takes over: judged by what shows there, never done twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.assembly import Assembly
from core.clock import ManualClock
from core.target import Target
from core.types import Event, Incident, IncidentState, PlanState, Severity
from tests.fakes import FakeCluster
from tests.loop import ScriptedEvents, cycles, loop, xid

NODE, GPU = "node-1", "GPU-8"


async def acting(
    folder: Path, clock: ManualClock, cluster: FakeCluster, *, until: PlanState, mode: str = "auto"
) -> tuple[Assembly, ScriptedEvents]:
    """Return a controller with a plan for a GPU off the bus that has come so far."""
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    app = await loop(folder, clock, events=[events], cluster=cluster, autonomy=[{"mode": mode}])
    for _ in range(30):
        await cycles(app, clock, 1)
        (record,) = app.controller.heal.recent()
        if record.state is until:
            return app, events
    raise AssertionError(f"no plan came to {until}")


def take_over(app: Assembly, clock: ManualClock) -> Incident:
    """Let an older incident, with trouble elsewhere too, have what the live one had."""
    (mine,) = app.controller.watch.live()
    elsewhere = Event(
        Target(node="node-7"), clock.now_s(), "silent", "", "node-7 is silent", Severity.CRITICAL
    )
    older = replace(
        mine,
        id="older",
        opened_s=mine.opened_s - 60,
        updated_s=clock.now_s(),
        events=(*mine.events, elsewhere),
        targets=(*mine.targets, elsewhere.target),
    )
    over = replace(mine, state=IncidentState.RESOLVED, resolved_s=clock.now_s(), part_of=older.id)
    app.controller.watch.incidents = {older.id: older, over.id: over}
    app.controller.watch.diagnoses[older.id] = replace(
        app.controller.watch.diagnoses[mine.id], incident_id=older.id
    )
    return older


@pytest.mark.parametrize("until", [PlanState.ACTING, PlanState.VERIFYING])
async def test_a_plan_that_acts_goes_on_and_is_done_once(
    until: PlanState, tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app, _ = await acting(tmp_path, clock, cluster, until=until)
    take_over(app, clock)

    await cycles(app, clock, 60)

    record = min(app.controller.heal.recent(), key=lambda each: each.plan.made_at_s)
    assert record.state is PlanState.DONE
    own = [key for key in cluster.effects if key.startswith(f"{record.plan.id}:")]
    assert len(own) == len(set(own)) == len(record.plan.actions)
    others = {key.rpartition(":")[2] for key in set(cluster.effects) - set(own)}
    assert others <= {"page_person", "reboot_node", "validate_node", "uncordon"}
    await app.close()


async def test_what_shows_in_the_other_incident_counts(tmp_path: Path, clock: ManualClock) -> None:
    """The job's trouble goes on, and is told of in the incident that took this one over."""
    cluster = FakeCluster(clock)
    app, events = await acting(tmp_path, clock, cluster, until=PlanState.VERIFYING)
    older = take_over(app, clock)
    job = Target(job="train")
    for known in app.controller.watch.incidents.values():
        app.controller.watch.incidents[known.id] = replace(known, targets=(*known.targets, job))
    failing = replace(xid(NODE, GPU, time_s=0), target=job, kind="job_failed", code="cuda_error")

    for _ in range(80):
        events.next = [replace(failing, time_s=clock.now_s())]
        await cycles(app, clock, 1)

    first = min(app.controller.heal.recent(), key=lambda record: record.plan.made_at_s)
    assert app.controller.watch.incidents[older.id].state is IncidentState.OPEN
    assert first.state not in {PlanState.DONE, PlanState.VERIFYING}
    assert first.state.final
    await app.close()


async def test_a_plan_that_has_not_begun_is_over_with_its_incident(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app, _ = await acting(tmp_path, clock, cluster, until=PlanState.PROPOSED, mode="approve")
    (waiting,) = app.controller.heal.recent()
    older = take_over(app, clock)

    await cycles(app, clock, 2)

    states = {r.plan.incident_id: r.state for r in app.controller.heal.recent()}
    assert states[waiting.plan.incident_id] is PlanState.EXPIRED
    assert states[older.id] is PlanState.PROPOSED
    assert cluster.orders == []
    await app.close()


async def test_the_older_incident_gets_no_plan_while_one_acts_on_its_part(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app, _ = await acting(tmp_path, clock, cluster, until=PlanState.VERIFYING)
    older = take_over(app, clock)

    await cycles(app, clock, 1)

    (record,) = app.controller.heal.recent()
    assert record.plan.incident_id != older.id
    assert app.controller.heal.acted_on(clock.now_s()) == {older.id}
    await app.close()
