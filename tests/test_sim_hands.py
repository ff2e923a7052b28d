"""What the hands do to a simulated cluster: what is stopped, how long, how fast it is then."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from core.cluster import JobPhase, JobState, NodeCondition, NodeState
from core.target import Target
from core.types import Action, Scalar
from sim.engine.thermal import POWER_EXPONENT, slowdown
from sim.scenario import FaultSpec, JobSpec, Machines, Scenario, ServiceSpec, Site
from sim.world import World

BIG = JobSpec(
    "big", 4, kind="elastic", least_nodes=2, most_nodes=6, priority=5, checkpoint_stall_s=5.0
)
SMALL = Scenario(
    "hands",
    12,
    2,
    3,
    (
        BIG,
        JobSpec("low", 2),
        JobSpec("chat", 1, kind="service", service=ServiceSpec(100.0, 4, warm_s=60.0)),
    ),
    history_s=1800.0,
    machines=Machines(zones=2),
    site=Site(exact_restart=True, check_recall=1.0),
)  # nodes 0-3, 4-5, 6; 7 and 8 are free, 9 to 11 spares


def built(*faults: FaultSpec, site: Site = SMALL.site) -> World:
    return World.build(replace(SMALL, faults=faults, site=site), seed=3)


def give(world: World, kind: str, target: Target, **params: Scalar) -> None:
    key = f"{kind} {target} {params} {world.now_s}"
    world.perform(Action(key, kind, target, tuple(params.items()), 900.0, ""))


def on(node: int) -> Target:
    return Target(node=f"node-{node:02d}")


def of(job: str) -> Target:
    return Target(job=job)


def job(world: World, name: str = "big") -> JobState:
    found = world.state().job(name)
    assert found is not None
    return found


def node(world: World, number: int) -> NodeState:
    found = world.state().node(on(number).node)
    assert found is not None
    return found


def later(world: World, seconds: float) -> World:
    world.advance(world.now_s + seconds)
    return world


def away_s(world: World, name: str = "big") -> float:
    """Return how long the job stands still from now until it steps again."""
    started_s = world.now_s
    while job(world, name).phase is not JobPhase.RUNNING:
        later(world, 0.25)
        assert world.now_s < started_s + 3600
    return world.now_s - started_s


def test_processes_start_in_their_containers_in_six_tenths_of_a_restart() -> None:
    cold, warm = built(), built()
    give(cold, "restart_job", of("big"))
    give(warm, "restart_in_place", of("big"))

    assert away_s(warm) == pytest.approx(0.6 * away_s(cold), rel=0.01)
    assert job(warm).nodes == job(cold).nodes


def test_several_nodes_are_swapped_in_one_stop() -> None:
    world = built()
    give(world, "swap_nodes", of("big"), nodes="node-01,node-02", spares="node-10,node-09")

    assert job(world).restarts == 1
    assert job(world).nodes == ("node-00", "node-10", "node-09", "node-03")
    assert {node(world, number).owner for number in (1, 2)} == {"gpumedic"}
    assert away_s(world) == pytest.approx(50 + 20 + 0.009 * 32, abs=0.5)


def test_the_next_checkpoint_comes_after_the_new_interval() -> None:
    world = built()
    first = job(world).checkpoint_s
    while job(world).checkpoint_s == first:
        later(world, 1.0)
    later(world, 49.0)  # 100 s of work since the state was captured
    saved = job(world).checkpoint_s
    give(world, "set_checkpoint_interval", of("big"), interval_s=300.0)
    assert job(world).interval_s == 300.0

    seen = []
    for _ in range(1200):
        later(world, 1.0)
        if job(world).checkpoint_s != saved:
            saved = job(world).checkpoint_s
            seen.append(saved or 0.0)

    assert seen[0] - (first or 0.0) == pytest.approx(600 + 5 + 300 + 5, abs=6)
    assert all(b - a == pytest.approx(305.0, abs=1.5) for a, b in pairwise(seen))
    assert len(seen) >= 3


def test_an_interval_shorter_than_what_has_passed_saves_at_once() -> None:
    world = later(built(), 300.0)
    give(world, "set_checkpoint_interval", of("big"), interval_s=60.0)
    later(world, 65.0)

    assert world.now_s - (job(world).checkpoint_s or 0.0) < 66.0


def test_compressed_gradients_shorten_the_collective_and_lengthen_computing() -> None:
    world = built()
    before = world.inner.jobs[0].copy()
    give(world, "set_compression", of("big"), on=True)
    assert away_s(world) > 50
    after = world.inner.jobs[0]

    assert after["net_s"] == pytest.approx(0.2 * before["net_s"])
    assert after["pace_s"] == pytest.approx(1.05 * before["pace_s"], rel=0.01)
    assert job(world).settings.compressed


def test_accumulated_gradients_are_sent_less_often() -> None:
    world = built()
    before = world.inner.jobs[0].copy()
    give(world, "tune_job", of("big"), accumulate=2.0)
    away_s(world)

    assert world.inner.jobs[0]["net_s"] == pytest.approx(before["net_s"] / 2)
    assert world.goodput() <= 1


def test_checks_take_their_time_and_find_what_is_broken() -> None:
    broken = FaultSpec("gpu_fallen_off_bus", Target(node="node-08", gpu="2"), 30.0)
    world = later(built(broken), 60.0)
    for number in (7, 8):
        give(world, "cordon", on(number))
        give(world, "validate_node", on(number))
    later(world, SMALL.site.validate_s - 1)
    assert node(world, 8).checked_s is None
    later(world, 2)

    assert (node(world, 8).finding, node(world, 7).finding) == ("gpu_fallen_off_bus", "")
    give(world, "uncordon", on(8))
    assert node(world, 8).finding == ""


def test_checks_that_find_nothing_miss_silent_faults() -> None:
    silent = FaultSpec("gpu_fail_slow", Target(node="node-08", gpu="2"), 30.0)
    world = later(built(silent, site=replace(SMALL.site, check_recall=0.0)), 60.0)
    give(world, "cordon", on(8))
    give(world, "validate_node", on(8))
    later(world, SMALL.site.validate_s + 1)

    assert node(world, 8).checked_s is not None
    assert node(world, 8).finding == ""


def test_a_power_limit_holds_the_clock_at_which_that_much_is_drawn() -> None:
    world = built()
    kind = world.inner.types[0]
    idle, full = float(kind["idle_watts"]), float(kind["load_watts"][-1])
    before = world.inner.jobs[0]["pace_s"]
    give(world, "limit_power", on(1), watts=400.0)
    clock = ((400.0 - idle) / (full - idle)) ** (1 / POWER_EXPONENT)

    assert world.inner.nodes[1]["clock"].max() == pytest.approx(clock, rel=1e-5)
    assert world.inner.jobs[0]["pace_s"] == pytest.approx(before * slowdown(clock), rel=0.02)
    give(world, "limit_power", on(1), watts=0.0)
    assert world.inner.jobs[0]["pace_s"] == pytest.approx(before)


def test_who_gives_way_has_saved_its_state() -> None:
    world = later(built(), 200.0)
    give(world, "preempt_job", of("low"))
    step = job(world, "low").step or 0.0
    later(world, 80.0)

    low = job(world, "low")
    assert low.phase in (JobPhase.PENDING, JobPhase.STARTING)
    assert low.step == pytest.approx(step, rel=0.05)
    assert (low.checkpoint_s or 0.0) > world.now_s - 80.0


def test_a_lender_that_can_shrink_goes_on_and_one_that_cannot_waits() -> None:
    world = built()
    give(world, "cordon", on(1))
    params = {"job": "big", "spare": "node-04", "lender": "low"}
    give(world, "borrow_node", on(1), **params)

    assert job(world).nodes == ("node-00", "node-04", "node-02", "node-03")
    assert job(world, "low").phase is JobPhase.PENDING
    assert node(world, 1).owner == "gpumedic"


def test_a_drained_nodes_job_goes_on_with_a_spare_and_loses_no_work() -> None:
    world = later(built(), 200.0)
    step = job(world).step or 0.0
    give(world, "drain", on(1))
    later(world, 70.0)

    assert "node-01" not in job(world).nodes
    assert len(job(world).nodes) == 4
    assert job(world).step == pytest.approx(step)
    assert node(world, 1).condition is NodeCondition.DRAINED


def test_a_node_is_rebooted_under_its_job() -> None:
    world = built()
    give(world, "reboot_under_job", on(1), job="big")
    assert node(world, 1).condition is NodeCondition.DOWN
    took_s = away_s(world)

    assert SMALL.site.reboot_hi_s < took_s < SMALL.site.reboot_hi_s + 120
    assert job(world).nodes == ("node-00", "node-01", "node-02", "node-03")


def test_a_person_who_is_called_mends_what_is_broken() -> None:
    broken = FaultSpec("gpu_fallen_off_bus", Target(node="node-01", gpu="2"), 30.0)
    world = later(built(broken), 60.0)
    give(world, "page_person", on(1))
    assert node(world, 1).paged_s == world.now_s
    later(world, SMALL.site.people_s - 1)
    assert world.truth[0].repaired_s is None
    later(world, 2)

    assert world.truth[0].repaired_s is not None


def test_a_larger_cache_answers_sooner_and_leaves_less_for_batches() -> None:
    world = later(built(), 300.0)
    before = float(world.inner.services[0]["middle_s"])
    give(world, "set_cache", of("chat"), cache=0.5)
    later(world, 120.0)

    assert float(world.inner.services[0]["middle_s"]) < before
    assert job(world, "chat").service is not None


def test_what_is_written_down_of_nodes_and_jobs_is_saved_and_forked(tmp_path: Path) -> None:
    world = built()
    give(world, "cordon", on(8))
    give(world, "quarantine", on(8))
    give(world, "page_person", of("big"))
    fork = world.fork()
    give(fork, "limit_clocks", on(1), share=0.9)

    assert fork.state().nodes[8].mark == world.state().nodes[8].mark == "lemon"
    assert job(fork).paged_s == world.now_s
    assert fork.state().nodes[1].clocks == pytest.approx(0.9)
    assert world.state().nodes[1].clocks == 1.0
    file = tmp_path / "world.npz"
    world.save(file)
    assert World.load(file).state().nodes == world.state().nodes
    assert World.load(file).state().jobs == world.state().jobs
