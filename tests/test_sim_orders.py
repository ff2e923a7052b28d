"""Orders that change a job's size, settings, place or past, a service, clocks and a roll-out."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from core.clock import ManualClock
from core.cluster import JobPhase, NodeCondition
from core.errors import InputError
from core.target import Target
from core.types import Action
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec, JobSpec, ServiceSpec
from sim.scenario_file import parse_scenario
from sim.world import World
from tests.orders import (
    CHAT,
    ELASTIC,
    EXACT,
    FIXED,
    LOADING,
    MIXED,
    ROLLOUT,
    built,
    job,
    later,
    order,
    refused,
    row,
    step_s,
)

HOUR_S = 3600.0


def test_a_job_that_grows_saves_its_state_first_and_is_faster_then() -> None:
    world = built()
    before, slow_s = job(world, "elastic").step, step_s(world, "elastic")
    world.perform(order("grow_job", "elastic", nodes=6))

    grown = job(world, "elastic")
    assert (grown.phase, len(grown.nodes), grown.gpus) == (JobPhase.STARTING, 6, 48)
    assert grown.step == pytest.approx(before)
    assert world.inner.core[0]["free_nodes"] == 0
    later(world, 50 + 0.009 * 48 + 20 + 58 - 1)
    assert job(world, "elastic").phase is JobPhase.STARTING
    later(world, 2)
    assert job(world, "elastic").phase is JobPhase.RUNNING
    assert step_s(world, "elastic") == pytest.approx(slow_s * 4 / 6, rel=0.1)
    assert 0 < world.goodput() <= 1


def test_a_job_that_shrinks_gives_back_the_nodes_that_are_out_and_stays_small() -> None:
    world = built()
    world.cordon("node-01", by="alice", reason="I look at it")
    world.perform(order("shrink_job", "elastic", nodes=2))
    later(world, HOUR_S)

    small = job(world, "elastic")
    assert small.nodes == ("node-00", "node-02")
    assert world.inner.core[0]["shrunk"] == 0
    gave = world.state().node("node-01")
    assert gave is not None
    assert (gave.condition, gave.owner) == (NodeCondition.DRAINED, "alice")
    waited = world.losses()["waiting"]
    assert waited == 0


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (order("grow_job", "elastic", nodes=7), "it runs on 2 to 6, in units of 8 GPUs"),
        (order("grow_job", "elastic", nodes=4), "has 4 nodes; name more"),
        (order("shrink_job", "elastic", nodes=4), "has 4 nodes; name fewer"),
        (order("shrink_job", "elastic", nodes=3, leave="node-09"), "it does not have node-09"),
        (order("grow_job", "elastic", nodes=4.5), "must be a whole number"),
        (order("grow_job", "elastic"), "no nodes is named; give a number from 1 to 12"),
        (order("grow_job", "elastic", nodes=True), "nodes is True; give a number"),
        (order("grow_job", "fixed", nodes=3), "it runs on 2 to 2"),
        (order("shrink_job", "notebook", nodes=1), "of kind 'interactive' on 2 GPUs"),
        (order("shrink_job", "nobody", nodes=1), "no job 'nobody'; it has elastic"),
        (order("tune_job", "loading"), "no setting is named; name loaders, batch, accum"),
        (order("tune_job", "loading", color=1), "no setting 'color'"),
        (order("tune_job", "loading", cache=1.5), "cache is 1.5; give a number from 0 to 1"),
        (order("tune_job", "chat", batch=2), "it is a service"),
        (order("scale_service", "fixed", replicas=2), "of kind 'training' and answers no"),
        (order("scale_service", "chat", replicas=9), "it holds 8 GPUs, name at most 8"),
        (order("shift_canary", "chat", share=1.1), "give a number from 0 to 1"),
        (order("limit_clocks", "fixed", share=0.2), "give a number from 0.3 to 1"),
        (order("limit_clocks", "node-77", share=0.5), "no node 'node-77'"),
        (order("stop_rollout"), "no driver is rolled out"),
        (order("stop_rollout", restart_jobs="yes"), "give true or false"),
        (order("rollback_job", "chat"), "no checkpoints to go back to"),
        (order("rollback_job", "fixed", step=-1), "give a number from 0"),
        (order("move_job", "fixed", nodes="node-04,node-05"), "runs on these already"),
        (order("move_job", "fixed", nodes="node-09"), "1 nodes are named and it needs 2"),
        (order("move_job", "fixed", nodes="node-09,node-09"), "name each node once"),
        (order("move_job", "fixed", nodes="node-09,node-5"), "did you mean 'node-05'?"),
        (order("move_job", "fixed", nodes="node-09,node-08"), "job notebook has the others"),
        (order("cancel_job", ""), "(none named)"),
        (order("swap_node", "node-08"), "has 2 of its GPUs and no whole node to swap"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(action: Action, said: str) -> None:
    world = built()
    before = world.inner.jobs.tobytes(), world.inner.nodes.tobytes(), world.handled

    assert said in refused(world, action)
    assert (world.inner.jobs.tobytes(), world.inner.nodes.tobytes(), world.handled) == before


def test_what_is_missing_for_a_size_is_said() -> None:
    world = built()
    world.cordon("node-09", by="alice", reason="")
    said = refused(world, order("grow_job", "elastic", nodes=6))
    assert "it has 4 nodes and 1 are free beside the spares; name at most 5" in said
    world.cordon("node-02", by="alice", reason="")
    assert "node-02 is cordoned by alice" in refused(world, order("grow_job", "elastic", nodes=5))
    assert job(world, "elastic").phase is JobPhase.RUNNING


def test_more_loaders_need_a_restart_and_a_cache_does_not() -> None:
    world = built()
    slow_s = step_s(world, "loading")
    world.perform(order("tune_job", "loading", cache=1.0))
    assert job(world, "loading").restarts == 0
    assert step_s(world, "loading") == pytest.approx(slow_s - 0.5 + 0.5 / 2.5, rel=1e-3)

    world.perform(order("tune_job", "loading", loaders=2.0))
    assert job(world, "loading").phase is JobPhase.STARTING
    later(world, 200)
    assert step_s(world, "loading") == pytest.approx(slow_s - 0.5 + 0.1, rel=1e-3)
    world.perform(order("tune_job", "loading", batch=2.0))
    later(world, 200)
    assert step_s(world, "loading") == pytest.approx(slow_s - 0.4 - 0.1, rel=1e-3)
    assert 0 < world.goodput() <= 1


@pytest.mark.parametrize("cache", [0.0, 0.9])
def test_a_job_whose_loaders_starve_is_slower_until_it_is_started_again(cache: float) -> None:
    fault = FaultSpec("loader_starved", Target(job="loading"), 10.0)
    world = built(fault, jobs=(replace(LOADING, cache=cache),))
    sound_s = step_s(world, "loading")
    later(world, 60)
    assert step_s(world, "loading") > sound_s + 0.8

    world.perform(order("restart_job", "loading"))
    later(world, 200)
    assert step_s(world, "loading") == pytest.approx(sound_s)


def test_the_librarys_starved_loader_costs_its_cluster_goodput() -> None:
    starved = scenario("loader-starved")
    got = []
    for faults in (starved.faults, ()):
        world = World.build(replace(starved, faults=faults, history_s=60.0), seed=1)
        got.append(later(world, HOUR_S).goodput())

    assert got[0] < got[1] - 0.1


@pytest.mark.parametrize(("micro", "times"), [(0, 1.611), (8, 1.373)])
def test_a_slow_stage_costs_a_pipeline_the_more_micro_batches_it_has(
    micro: int, times: float
) -> None:
    spec = replace(FIXED, pipeline=8, micro=micro, data_wait_s=0.0, collective_s=0.0)
    world = built(jobs=(spec,))
    sound_s = step_s(world, "fixed")
    world.perform(order("limit_clocks", "fixed", share=0.5))

    assert step_s(world, "fixed") / sound_s == pytest.approx(times, rel=0.01)


def test_a_files_job_may_name_its_micro_batches() -> None:
    text = """
        [cluster]
        nodes = 4
        racks = 1
        spares = 0

        [[job]]
        id = "llm"
        nodes = 2
        pipeline = 4
        micro = 16
        """
    found = parse_scenario(text, name="own")

    assert found.jobs[0].micro == 16
    with pytest.raises(InputError, match="micro is -1; it must be 0 or more"):
        parse_scenario(text.replace("16", "-1"), name="own")


async def test_an_order_to_a_job_arrives_after_the_sites_delay(clock: ManualClock) -> None:
    world = built(site=replace(EXACT, order_delay_s=20.0))
    await clock.advance(world.now_s - clock.now_s())
    cluster = SimulatedCluster(world, clock=clock)
    ordered = asyncio.create_task(cluster.perform(order("grow_job", "elastic", nodes=5)))
    await clock.sleep(0)
    await clock.advance(9.9)
    assert (ordered.done(), len(job(world, "elastic").nodes)) == (False, 4)
    await clock.advance(20.2)

    assert (ordered.done(), len(job(world, "elastic").nodes)) == (True, 5)


def test_a_service_gets_replicas_after_their_warm_up_and_loses_them_at_once() -> None:
    world = later(built(), 300)
    world.perform(order("scale_service", "chat", replicas=8))
    service = world.inner.services
    assert (service["replicas"][0], service["ready"][0]) == (8, 4)
    later(world, 200)
    assert world.inner.services["ready"][0] == 8
    world.perform(order("scale_service", "chat", replicas=2))
    assert world.inner.services["ready"][0] == 2


def test_a_bad_canary_is_taken_back() -> None:
    chat = replace(CHAT, service=ServiceSpec(100.0, 4, canary=0.3, objective_s=1.0))
    bad = FaultSpec("bad_canary", Target(job="chat"), 10.0, severity=4.0)
    world = later(built(bad, jobs=(chat,)), 600)
    assert world.inner.services["failed"][0] > 0
    world.perform(order("shift_canary", "chat", share=0))
    failed = int(world.inner.services["failed"][0])
    later(world, 600)

    assert world.inner.services["failed"][0] == failed


@pytest.mark.parametrize("target", ["node-04", "fixed"])
def test_clocks_that_are_held_slow_the_job_cool_the_gpus_and_are_free_again(target: str) -> None:
    world = built()
    sound_s, warm = step_s(world, "fixed"), float(world.inner.nodes[4]["goal"][0])
    world.perform(order("limit_clocks", target, share=0.5))

    assert (world.inner.nodes[4]["clock"] == 0.5).all()
    assert world.inner.nodes[4]["goal"][0] < warm - 10
    assert world.inner.nodes[5]["clock"][0] == (0.5 if target == "fixed" else 1)
    assert step_s(world, "fixed") == pytest.approx(sound_s + 4.0 * 0.7, rel=0.02)
    world.perform(order("limit_clocks", target, share=1))
    assert step_s(world, "fixed") == pytest.approx(sound_s)


def test_the_smaller_of_a_power_cap_and_an_order_holds_and_a_boot_frees_clocks() -> None:
    cap = FaultSpec("power_cap", Target(node="node-09"), 10.0, 600.0)
    world = later(built(cap), 60)
    least = float(world.inner.nodes[9]["clock"][0])
    world.perform(order("limit_clocks", "node-09", share=0.95))
    assert world.inner.nodes[9]["clock"][0] == pytest.approx(min(least, 0.95))
    world.perform(order("limit_clocks", "node-10", share=0.3))
    later(world, 900)
    assert world.inner.nodes[9]["clock"][0] == pytest.approx(0.95)

    world.perform(order("reboot_node", "node-10"))
    assert "is down" in refused(world, order("limit_clocks", "node-10", share=0.5))
    later(world, 901)
    assert world.inner.nodes[10]["clock"][0] == 1


def has_driver(world: World) -> list[int]:
    found: list[int] = np.flatnonzero(world.inner.nodes["driver"]).tolist()
    return found


def test_a_stopped_rollout_goes_no_further_and_boots_take_it_back() -> None:
    world = later(built(ROLLOUT), 700)
    assert has_driver(world) == [0, 1, 2]
    world.perform(order("stop_rollout"))
    later(world, HOUR_S)
    assert has_driver(world) == [0, 1, 2]

    world.cordon("node-01", by="alice", reason="")
    assert "nothing to stop" in refused(world, order("stop_rollout", key="2"))
    world.uncordon("node-01")
    world.perform(order("restart_job", "elastic"))
    later(world, 200)
    world.perform(order("stop_rollout", key="3", restart_jobs=True))
    assert job(world, "elastic").phase is JobPhase.STARTING
    later(world, 1200)

    assert (job(world, "elastic").phase, has_driver(world)) == (JobPhase.RUNNING, [])
    assert world.truth[0].repaired_s is not None


def test_a_stop_boots_the_idle_nodes_and_none_that_a_person_keeps() -> None:
    world = built(ROLLOUT, jobs=(replace(FIXED, nodes=1),))
    world.cordon("node-02", by="alice", reason="")
    later(world, 1000)
    assert has_driver(world) == [0, 1, 2, 3]
    world.perform(order("stop_rollout"))
    assert world.inner.nodes["up"].tolist() == [True, False, True, False] + [True] * 8
    later(world, 1000)

    assert has_driver(world) == [0, 2]


def test_a_rollback_goes_to_an_older_checkpoint() -> None:
    world = later(built(), 60)
    newest = float(row(world, "fixed")["saved_step"])
    world.perform(order("rollback_job", "fixed"))
    back = job(world, "fixed").step
    assert back is not None
    assert "already starting" in refused(world, order("rollback_job", "fixed", step=9.0))
    later(world, 200)
    world.perform(order("rollback_job", "fixed", key="2", step=back / 2))
    older = job(world, "fixed").step

    assert older is not None
    assert 0 <= older <= back / 2 < back
    assert newest >= 0
    later(world, 200)
    assert job(world, "fixed").phase is JobPhase.RUNNING
    assert world.losses()["redone"] > 0


def test_a_rollback_leaves_a_silent_corruption_behind() -> None:
    fault = FaultSpec("silent_data_corruption", Target(node="node-04", gpu="0"), 10.0)
    world = later(built(fault), 120)
    corrupt = float(row(world, "fixed")["corrupt_step"])
    assert np.isfinite(corrupt)
    world.perform(order("rollback_job", "fixed", step=corrupt))
    step = job(world, "fixed").step
    assert step is not None
    assert step <= corrupt


def test_a_job_moves_with_its_state_and_the_spare_it_takes_is_replaced() -> None:
    world = built()
    before = job(world, "fixed").step
    world.perform(order("move_job", "fixed", nodes="node-11,node-09"))

    moved = job(world, "fixed")
    assert (moved.phase, moved.nodes) == (JobPhase.STARTING, ("node-11", "node-09"))
    assert moved.step == pytest.approx(before)
    assert [node.name for node in world.state().nodes if node.spare] == ["node-04"]
    later(world, 200)
    assert job(world, "fixed").phase is JobPhase.RUNNING
    world.perform(order("move_job", "notebook", nodes="node-05"))
    assert job(world, "notebook").nodes == ("node-05",)
    assert job(world, "notebook").gpus == 2


def test_no_job_moves_to_what_a_person_keeps() -> None:
    world = built()
    world.cordon("node-09", by="alice", reason="I look at it")
    said = refused(world, order("move_job", "fixed", nodes="node-09,node-10"))
    assert "node-09 is drained by alice; name nodes that are ready" in said


def test_a_cancelled_job_frees_its_nodes_for_who_waits() -> None:
    waits = JobSpec("waits", 8, submit_s=60.0)
    world = later(built(jobs=(*MIXED.jobs, waits)), 120)
    assert job(world, "waits").phase is JobPhase.PENDING
    assert "has not" not in refused(world, order("restart_job", "waits"))
    for name in ("elastic", "fixed"):
        world.perform(order("cancel_job", name))
    later(world, 1)

    assert job(world, "elastic").phase is JobPhase.COMPLETED
    assert job(world, "waits").phase is JobPhase.STARTING
    assert "it has ended" in refused(world, order("cancel_job", "elastic", key="again"))
    assert "it has ended" in refused(world, order("shrink_job", "elastic", nodes=2))


def test_a_waiting_job_can_be_made_smaller_or_placed_by_hand() -> None:
    waits = replace(ELASTIC, id="waits", nodes=6, least_nodes=3, submit_s=60.0)
    world = later(built(jobs=(*MIXED.jobs, waits)), 120)
    assert job(world, "waits").phase is JobPhase.PENDING
    world.perform(order("shrink_job", "waits", nodes=3))
    world.perform(order("move_job", "waits", nodes="node-09,node-10,node-11"))
    later(world, 300)

    assert job(world, "waits").phase is JobPhase.RUNNING
    assert world.inner.core[0]["queue_n"] == 0
    assert world.inner.core[0]["shrunk"] == 0


def test_a_key_is_performed_once() -> None:
    world = built()
    action = order("grow_job", "elastic", key="plan:0", nodes=5)
    world.perform(action)
    later(world, 300)
    world.perform(action)
    assert (job(world, "elastic").phase, job(world, "elastic").restarts) == (JobPhase.RUNNING, 1)


def test_the_sites_own_errors_come_before_any_order() -> None:
    world = built(site=replace(EXACT, order_failure=1.0))
    for action in (order("grow_job", "elastic", nodes=5), order("stop_rollout")):
        assert "did not answer in time" in refused(world, action)
