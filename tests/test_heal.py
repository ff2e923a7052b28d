"""A plan for each incident: one at a time, no more than it may, and counted once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import Assembly
from agent.heal import KEEP_SHOWN
from core.clock import ManualClock
from core.cluster import NodeCondition
from core.types import Autonomy, OutcomeStatus, PlanRecord, PlanState
from remediation.deciding.turns import RETRY_AFTER_S, ended_lately
from remediation.running.follow_up import is_follow_up
from tests.fakes import FakeCluster
from tests.loop import CYCLE_S, ScriptedEvents, cycles, loop, xid

NODE, GPU = "node-1", "GPU-8"


async def healing(
    folder: Path, clock: ManualClock, cluster: FakeCluster, **chosen: Any
) -> Assembly:
    """Return a controller that has just heard of a GPU off the bus."""
    events = ScriptedEvents([xid(NODE, GPU, time_s=clock.now_s())])
    return await loop(folder, clock, events=[events], cluster=cluster, **chosen)


def count(app: Assembly, series: str) -> float:
    page = app.metrics.exposition("")[0].decode()
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if series in line)


@pytest.mark.parametrize(
    ("rules", "mode"),
    [
        ([], Autonomy.OBSERVE),
        ([{"mode": "auto"}], Autonomy.AUTO),
        ([{"action": "swap_node", "mode": "approve"}, {"mode": "auto"}], Autonomy.APPROVE),
        ([{"group": "other", "mode": "auto"}], Autonomy.OBSERVE),
        ([{"group": "default", "mode": "suggest"}], Autonomy.SUGGEST),
    ],
)
async def test_the_most_careful_rule_of_all_steps_holds(
    rules: list[dict[str, str]], mode: Autonomy, tmp_path: Path, clock: ManualClock
) -> None:
    app = await healing(tmp_path, clock, FakeCluster(clock), autonomy=rules)

    await cycles(app, clock, 1)

    (record,) = app.controller.heal.recent()
    assert record.mode is mode
    await app.close()


async def test_a_plan_waits_for_its_approval(tmp_path: Path, clock: ManualClock) -> None:
    cluster = FakeCluster(clock)
    app = await healing(tmp_path, clock, cluster, autonomy=[{"mode": "approve"}])

    await cycles(app, clock, 4)
    (waiting,) = app.controller.heal.recent()
    before = list(cluster.orders)
    await app.controller.approve(waiting.plan.id, by="ada")
    await cycles(app, clock, 30)

    done = app.controller.heal.plans[waiting.plan.id]
    assert (waiting.state, before) == (PlanState.PROPOSED, [])
    assert (done.state, done.decided_by) == (PlanState.DONE, "ada")
    await app.close()


async def test_a_denied_plan_is_not_asked_for_again_at_once(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app = await healing(tmp_path, clock, cluster, autonomy=[{"mode": "approve"}])
    await cycles(app, clock, 1)
    (asked,) = app.controller.heal.recent()

    await app.controller.deny(asked.plan.id, by="ada", because="the rack moves tonight")
    await cycles(app, clock, int(RETRY_AFTER_S / CYCLE_S / 2))

    (denied,) = app.controller.heal.recent()
    assert denied.state is PlanState.DENIED
    assert cluster.orders == []
    await app.close()


async def test_what_a_guard_refuses_is_counted_once(tmp_path: Path, clock: ManualClock) -> None:
    """No node may go out: the plan is refused, said, and not proposed again every cycle."""
    cluster = FakeCluster(clock)
    app = await healing(
        tmp_path, clock, cluster, autonomy=[{"mode": "auto"}], guards={"max_nodes_out": 0}
    )

    said = await cycles(app, clock, 10)

    (record,) = app.controller.heal.recent()
    assert record.state is PlanState.REFUSED
    assert count(app, "gpumedic_guard_refusals_total{") == len(record.refusals)
    assert "refused by" in said[0]
    assert not any("plan" in each for each in said[1:])
    assert cluster.orders == []
    await app.close()


async def test_each_action_is_counted_once_over_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    first = await healing(tmp_path, clock, cluster, autonomy=[{"mode": "auto"}])
    await cycles(first, clock, 17)
    counted = count(first, 'gpumedic_actions_total{kind="')
    await first.close()

    second = await loop(tmp_path, clock, cluster=cluster, autonomy=[{"mode": "auto"}])
    await cycles(second, clock, 3)

    (record,) = (r for r in second.controller.heal.recent() if not is_follow_up(r.plan))
    assert counted == len(record.outcomes) == len(record.plan.actions)
    assert {outcome.status for outcome in record.outcomes} == {OutcomeStatus.SUCCEEDED}
    assert count(second, 'gpumedic_actions_total{kind="') == 0
    await second.close()


async def test_a_human_hand_on_the_node_ends_the_plan(tmp_path: Path, clock: ManualClock) -> None:
    cluster = FakeCluster(clock)
    app = await healing(tmp_path, clock, cluster, autonomy=[{"mode": "approve"}])
    await cycles(app, clock, 1)
    (asked,) = app.controller.heal.recent()

    cluster.by_hand(NODE, NodeCondition.DRAINED, owner="ada", why="new fans")
    await cycles(app, clock, 2)

    (record,) = app.controller.heal.recent()
    assert (asked.state, record.state) == (PlanState.PROPOSED, PlanState.OVERRIDDEN)
    assert cluster.orders == []
    await app.close()


async def test_old_plans_leave_the_page_and_stay_in_the_store(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await healing(tmp_path, clock, FakeCluster(clock))
    await cycles(app, clock, 3)
    heal = app.controller.heal
    (made,) = heal.recent()
    over = replace(made, state=PlanState.EXPIRED)
    old = [
        replace(over, plan=replace(made.plan, id=f"p{i}", made_at_s=float(i)))
        for i in range(KEEP_SHOWN + 20)
    ]
    await app.controller.store.put(*old)
    await app.close()

    again = await loop(tmp_path, clock, cluster=FakeCluster(clock))

    shown = again.controller.heal.recent()
    assert len(shown) == KEEP_SHOWN + 1  # the live one is always among them
    assert made.plan.id in {record.plan.id for record in shown}
    assert len(await again.controller.store.find(PlanRecord)) == KEEP_SHOWN + 21
    await again.close()


async def test_what_helped_in_this_very_cycle_has_ended_lately(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await healing(tmp_path, clock, FakeCluster(clock), autonomy=[{"mode": "auto"}])
    heal = app.controller.heal
    while not any(record.state is PlanState.DONE for record in heal.recent()):
        await cycles(app, clock, 1)
    (done,) = (record for record in heal.recent() if record.state is PlanState.DONE)

    assert ended_lately(done, done.since_s - 0.5)  # the cycle had looked before it ended
    assert not ended_lately(done, done.since_s - 3600.0)  # the clock was set back
    assert not ended_lately(done, done.since_s + 3600.0)
    await app.close()


async def test_a_doubtful_cause_is_refused_once_until_more_is_known(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Asking again with the same diagnosis would get the same no; a lower bound allows it."""
    cluster = FakeCluster(clock)
    app = await healing(
        tmp_path, clock, cluster, autonomy=[{"mode": "auto"}], guards={"min_probability": 1.0}
    )

    await cycles(app, clock, int(2.5 * RETRY_AFTER_S / CYCLE_S))
    (refused,) = app.controller.heal.recent()
    guards = app.settings.guards.model_copy(update={"min_probability": 0.5})
    app.apply(app.settings.model_copy(update={"guards": guards}))
    heal = app.controller.heal
    (incident,) = app.controller.watch.recent()
    world = app.controller.gatherer

    assert refused.state is PlanState.REFUSED
    assert refused.refusals[0].guard == "min_probability"
    diagnosis = app.controller.watch.diagnoses[incident.id]
    assert not heal._had_its_turn(incident, diagnosis, await world.gather())
    await app.close()


async def test_a_surer_diagnosis_does_not_wait_for_the_doubtful_ones_turn(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await healing(
        tmp_path, clock, FakeCluster(clock), autonomy=[{"mode": "auto"}],
        guards={"min_probability": 0.9999},
    )  # fmt: skip
    await cycles(app, clock, 1)
    heal, (incident,) = app.controller.heal, app.controller.watch.recent()
    doubtful = app.controller.watch.diagnoses[incident.id]
    newer = replace(doubtful, made_at_s=clock.now_s())
    sure = replace(newer, causes=(replace(newer.causes[0], probability=1.0),))
    world = await app.controller.gatherer.gather()

    assert [record.state for record in heal.recent()] == [PlanState.REFUSED]
    assert heal._had_its_turn(incident, newer, world)
    assert not heal._had_its_turn(incident, sure, world)
    await app.close()
