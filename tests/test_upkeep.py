"""The controller before a simulated cluster with a queue: what would be better is proposed."""

from pathlib import Path
from typing import Any

import numpy as np

from agent.assembly import Assembly
from agent.times import rfc3339
from agent.upkeep import EVERY_S
from agent.view import DemandView
from core.clock import ManualClock
from core.cluster import JobPhase
from core.target import Target
from core.types import Autonomy, PlanRecord, PlanState
from remediation.capacity.look import Wishes
from remediation.capacity.needs import DEMAND, INTERVAL, ROOM
from remediation.capacity.planned import PLANNED
from remediation.capacity.power import POWER
from remediation.running.upkeep import is_need, is_upkeep
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec, JobSpec, Scenario
from sim.sums import energy_j
from sim.world import World
from tests.loop import CYCLE_S, cycles, loop

HOUR = int(3600 / CYCLE_S)
AUTO = {"autonomy": [{"mode": "auto"}], "guards": {"max_ratio_out": 0.5}}


def small(job: str, gpus: int, **fields: Any) -> JobSpec:
    return JobSpec(job, 1, gpus=gpus, checkpoint_interval_s=60.0, priority=1, **fields)


# "first" and "b" share a node, and "a" did not fit there; "first" soon ends, and then ten GPUs of
# two nodes are free and no node is.
PIECES = Scenario(
    "pieces",
    3,
    1,
    0,
    (
        small("first", 6, work_steps=20.0, submit_s=1.0),
        small("a", 4, submit_s=2.0),
        small("b", 2, submit_s=3.0),
        JobSpec("base", 1),
        JobSpec("large", 1, priority=5, submit_s=10.0),
    ),
)


class Queue:
    """A simulated cluster and the controller that looks after it."""

    def __init__(self, app: Assembly, world: World, clock: ManualClock) -> None:
        self.app, self.world, self.clock = app, world, clock

    def plans(self, fault: str) -> list[PlanRecord]:
        found = [each for each in self.app.controller.heal.recent() if is_upkeep(each.plan)]
        return [each for each in found if each.plan.cause.fault == fault]


async def queue(folder: Path, script: Scenario, **chosen: Any) -> Queue:
    clock = ManualClock()
    world = World.build(script.starting_at(clock.now_s()), seed=1)
    cluster = SimulatedCluster(world, clock=clock)
    app = await loop(folder, clock, cluster=cluster, events=[cluster], **chosen)
    return Queue(app, world, clock)


async def test_a_job_that_waits_for_pieces_starts_after_a_move(tmp_path: Path) -> None:
    held = await queue(tmp_path, PIECES, **AUTO)

    await cycles(held.app, held.clock, HOUR)

    plans = held.plans(ROOM)
    job = held.world.state().job("large")
    assert [each.state for each in plans] == [PlanState.DONE]
    assert [action.kind for action in plans[0].plan.actions][-1] == "move_job"
    assert job is not None
    assert job.phase is JobPhase.RUNNING
    assert held.app.controller.upkeep.incidents == {}
    await held.app.close()


async def test_what_is_suggested_is_told_and_not_done(tmp_path: Path) -> None:
    held = await queue(tmp_path, PIECES, autonomy=[{"mode": "suggest"}])

    await cycles(held.app, held.clock, HOUR // 4)

    (record,) = held.plans(ROOM)
    shown = {each.id: each for each in held.app.controller.view().incidents}
    job = held.world.state().job("large")
    assert (record.state, record.mode) == (PlanState.PROPOSED, Autonomy.SUGGEST)
    assert "10 are free, in pieces" in record.plan.rationale
    assert shown[record.plan.incident_id].title == "job large waits for room"
    assert job is not None
    assert job.phase is JobPhase.PENDING
    entries = await held.app.controller.store.entries(record.plan.incident_id)
    assert [each.kind for each in entries] == ["plan.proposed"]
    await held.app.close()


async def test_an_interval_far_off_is_set_and_then_left_alone(tmp_path: Path) -> None:
    busy = Scenario("busy", 2, 1, 0, (JobSpec("base", 2, checkpoint_interval_s=60.0),))
    held = await queue(tmp_path, busy, **AUTO)
    held.app.controller.heal.memory.note((), (), now_s=held.clock.now_s() - 2 * 86_400.0)

    await cycles(held.app, held.clock, HOUR)

    (record,) = held.plans(INTERVAL)
    job = held.world.state().job("base")
    assert record.state is PlanState.DONE
    assert job is not None
    assert job.interval_s == record.plan.actions[0].param("interval_s")
    assert dict(record.plan.actions[0].params)["prior_interval_s"] == 60.0
    await held.app.close()


# A rack is switched off for an hour, 50 minutes from the start: the nodes 0 and 1 of eight.
SWITCHED_OFF = Scenario(
    "planned",
    8,
    4,
    0,
    (JobSpec("base", 6, checkpoint_interval_s=3600.0),),
    (FaultSpec("rack_power", Target(node="node-00"), 3000.0, 3600.0),),
)


async def test_a_job_leaves_before_people_come_and_its_nodes_are_back_after_them(
    tmp_path: Path,
) -> None:
    start_s = ManualClock().now_s() + 3000.0
    window = {
        "nodes": ["node-00", "node-01"],
        "start": rfc3339(start_s),
        "end": rfc3339(start_s + 3600.0),
    }
    guards = {"max_ratio_out": 0.5, "maintenance": [window]}
    held = await queue(tmp_path, SWITCHED_OFF, autonomy=[{"mode": "auto"}], guards=guards)
    alone = held.world.fork()

    await cycles(held.app, held.clock, int(start_s - held.clock.now_s()) // int(CYCLE_S))
    (record,) = held.plans(PLANNED)
    assert [action.kind for action in record.plan.actions] == ["drain", "drain"]
    assert record.state is PlanState.DONE
    job = held.world.state().job("base")
    assert job is not None
    assert {"node-00", "node-01"}.isdisjoint(job.nodes)

    await cycles(held.app, held.clock, 3 * HOUR)
    alone.advance(held.world.now_s)
    assert held.world.lost_gpu_s < 0.25 * alone.lost_gpu_s
    assert held.world.state().out_by("gpumedic") == ()
    await held.app.close()


def used(world: World) -> tuple[float, float]:
    """Return the joules that were drawn, and the steps made."""
    return energy_j(world.inner), world.state().jobs[0].step or 0.0


async def test_power_is_saved_and_freed_again_as_the_settings_say(tmp_path: Path) -> None:
    busy = Scenario("busy", 2, 1, 0, (JobSpec("base", 2),))
    held = await queue(tmp_path, busy, **AUTO, capacity={"most_slowdown": 0.1})
    alone = held.world.fork()
    before = used(alone)

    await cycles(held.app, held.clock, HOUR)

    (record,) = held.plans(POWER)
    assert record.state is PlanState.DONE
    alone.advance(held.world.now_s)
    (drawn, steps), (drawn_alone, steps_alone) = (
        (joules - before[0], done - before[1]) for joules, done in (used(held.world), used(alone))
    )
    assert drawn / steps < 0.9 * drawn_alone / steps_alone
    assert steps > steps_alone / 1.1
    held.app.controller.upkeep.wishes = Wishes()
    await cycles(held.app, held.clock, HOUR // 4)
    assert [node.power_watts for node in held.world.state().nodes] == [None, None]
    await held.app.close()


async def test_capacity_is_there_before_it_is_wanted(tmp_path: Path) -> None:
    held = await queue(
        tmp_path,
        Scenario("spare", 3, 1, 2, (JobSpec("base", 1),)),
        **AUTO,
        capacity={"spares_kept": 1},
    )
    now_s = held.clock.now_s()
    held.app.controller._wanted = foreseen(now_s, half=8.0, most=16.0)

    await cycles(held.app, held.clock, 10)

    (record,) = held.plans(DEMAND)
    assert record.state in {PlanState.VERIFYING, PlanState.DONE}
    assert [action.kind for action in record.plan.actions] == ["release_spare"]
    assert sum(node.spare for node in held.world.state().nodes) == 1
    assert record.outcomes[-1].ended_s <= now_s + 1800.0 - 900.0
    await held.app.close()


def foreseen(now_s: float, *, half: float, most: float) -> DemandView:
    """Return a forecast by which so many GPUs are wanted half an hour from now, and after it."""
    lead_s = (900.0, 1800.0, 3600.0)
    gpus = np.array([[0.0, 0.0], [half, most], [half, most]])
    none = np.zeros(0)
    return DemandView(now_s, 8.0, 8, none, none, lead_s, (0.5, 0.9), gpus, gpus[:, 1])


async def test_a_new_process_takes_needs_up_and_proposes_nothing_twice(tmp_path: Path) -> None:
    held = await queue(tmp_path, PIECES, autonomy=[{"mode": "approve"}])
    await cycles(held.app, held.clock, HOUR // 4)
    (first,) = held.plans(ROOM)
    await held.app.close()

    cluster = SimulatedCluster(held.world, clock=held.clock)
    app = await loop(tmp_path, held.clock, cluster=cluster, autonomy=[{"mode": "approve"}])
    again = Queue(app, held.world, held.clock)
    await cycles(app, held.clock, int(2 * EVERY_S / CYCLE_S))

    assert [each.plan.id for each in again.plans(ROOM)] == [first.plan.id]
    assert not any(is_need(each) for each in app.controller.watch.recent())
    await app.controller.approve(first.plan.id, by="ada")
    await cycles(app, held.clock, HOUR // 4)
    job = held.world.state().job("large")
    assert app.controller.heal.plans[first.plan.id].state is PlanState.DONE
    assert job is not None
    assert job.phase is JobPhase.RUNNING
    await app.close()
