"""A simulated world is the same for the same seed, may be forked, and keeps honest books."""

import doctest
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.world
from core.cluster import JobPhase
from core.errors import ActionFailed, InputError
from core.target import Target
from sim.baseline import result_of, run_unhealed
from sim.catalogue import CLASSES
from sim.engine.progress import best_at
from sim.engine.words import Scope
from sim.library import scenario
from sim.scenario import COOLING, LEAK, XID_79, FaultSpec, JobSpec, Scenario
from sim.telemetry import METRICS, readings
from sim.world import World
from tests.worlds import (
    HOUR_S,
    MINUTE_S,
    action,
    after,
    built,
    busy,
    digest,
    in_another_process,
    outline,
)


@pytest.mark.parametrize("name", ["demo", "quiet", "random"])
def test_the_same_seed_is_the_same_world_to_the_last_bit(name: str) -> None:
    first, again = after(built(name), 3 * HOUR_S), after(built(name), 3 * HOUR_S)
    other = after(built(name, seed=2), 3 * HOUR_S)

    assert digest(first) == digest(again)
    assert digest(first) != digest(other)


def test_an_eventful_world_is_the_same_too() -> None:
    assert digest(after(busy(), 12 * HOUR_S)) == digest(after(busy(), 12 * HOUR_S))


def test_another_process_gets_the_same_world() -> None:
    found = in_another_process("digest(after(busy(seed=7), 6 * HOUR_S))", PYTHONHASHSEED="77")

    assert found == digest(after(busy(seed=7), 6 * HOUR_S))


def test_interpreted_it_is_the_same_world_but_for_rounding() -> None:
    """Interpreted, a product of a 32-bit and a 64-bit number has 32 bits; compiled it has 64."""
    code = "__import__('json').dumps(outline(after(busy(seed=3), 2 * HOUR_S)))"
    found = json.loads(in_another_process(code, NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="ignore"))
    here = outline(after(busy(seed=3), 2 * HOUR_S))

    assert found["words"] == here["words"]
    assert found["numbers"] == pytest.approx(here["numbers"], rel=1e-6, abs=0.01)


def look_at(world: World) -> None:
    world.state()
    world.jobs()
    world.sums()
    assert world.events is not None
    assert world.truth is not None
    assert world.topology().gpus
    readings(world, METRICS[::7], np.array([world.now_s - 60, world.now_s]))


@settings(max_examples=15, deadline=None)
@given(stops=st.lists(st.floats(0, 2 * HOUR_S), max_size=8).map(sorted), seed=st.integers(0, 2**63))
def test_how_often_one_looks_changes_nothing(stops: list[float], seed: int) -> None:
    """A controller that asks every second and one that asks once an hour live in one world."""
    looked_at, left_alone = busy(seed=seed), busy(seed=seed)
    for stop in stops:
        look_at(after(looked_at, stop))

    assert digest(after(looked_at, 2 * HOUR_S)) == digest(after(left_alone, 2 * HOUR_S))


def test_the_worlds_own_example_is_true() -> None:
    assert doctest.testmod(sim.world) == (0, 4)


def test_time_never_runs_back() -> None:
    world = after(built("quiet"), HOUR_S)

    world.advance(world.now_s - 1000)

    assert world.now_s == world.scenario.start_s + HOUR_S


def test_a_fork_goes_its_own_way_and_leaves_the_original_alone() -> None:
    world = after(built("demo"), 5 * MINUTE_S)
    before = digest(world)

    fork = world.fork()
    fork.perform(action("swap_node", node="node-03", job="llm-70b", spare="node-14"))
    fork.cordon("node-15", by="alice", reason="try")
    after(fork, 2 * HOUR_S)

    assert digest(world) == before
    healed, not_healed = fork.goodput(), after(world, 2 * HOUR_S).goodput()
    assert healed > not_healed + 0.2


def test_forks_and_their_original_do_not_disturb_each_other() -> None:
    """A fork shares with its original what is never changed: all three write on, in turns."""
    world = after(busy(), HOUR_S)
    fork = world.fork()
    again = fork.fork()
    for hour in range(2, 6):
        after(world, hour * HOUR_S)
        after(fork, hour * HOUR_S)
    after(again, 5 * HOUR_S)

    assert digest(world) == digest(fork) == digest(again) == digest(after(busy(), 5 * HOUR_S))


def test_a_persons_cordon_is_the_first_that_a_fork_does() -> None:
    world = after(busy(), HOUR_S)
    before, fork = digest(world), world.fork()

    for node in fork.names.nodes:
        fork.cordon(node, by="alice", reason="all of them")

    assert digest(world) == before
    assert {node.owner for node in fork.state().nodes} <= {"alice", "site"}
    assert fork.inner.core[0]["node_log_n"] <= len(fork.inner.node_log)


def test_a_fork_that_keeps_nothing_goes_the_same_way() -> None:
    world = after(busy(), HOUR_S)
    fork = world.fork(keep=False)
    said = len(fork.events)
    after(fork, 8 * HOUR_S)
    after(world, 8 * HOUR_S)

    assert len(fork.events) == said < len(world.events)
    assert fork.handled == world.handled
    assert fork.uses() == world.uses()
    assert fork.losses() == world.losses()
    assert fork.truth == world.truth
    with pytest.raises(InputError, match="keeps no rows"):
        readings(fork, METRICS, np.array([fork.now_s]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["random", "busy"])
def test_the_same_faults_hit_whatever_is_done(name: str, seed: int) -> None:
    """Paired comparisons of policies need the same bad luck for each of them."""
    make = busy if name == "busy" else partial(built, name)
    left_alone, meddled_with = make(seed=seed), make(seed=seed)

    after(left_alone, 6 * HOUR_S)
    for quarter in range(24):
        after(meddled_with, quarter * HOUR_S / 4)
        meddle(meddled_with, quarter)
    after(meddled_with, 6 * HOUR_S)

    assert len(left_alone.truth) > 4
    assert happened(left_alone) == happened(meddled_with)
    assert meddled_with.goodput() != left_alone.goodput()


def happened(world: World) -> list[tuple[str, str, float]]:
    """What struck, where and when; a job's fault strikes whichever job is there."""
    of_jobs = {name for name, kind in CLASSES.items() if kind.scope is Scope.JOB}
    return sorted(
        (truth.fault, "" if truth.fault in of_jobs else str(truth.target), truth.onset_s)
        for truth in world.truth
    )


def meddle(world: World, turn: int) -> None:
    """Do something possible or not, as a bad policy might."""
    nodes = [node.name for node in world.state().nodes]
    jobs = [job.id for job in world.state().jobs]
    for order in (
        action("restart_job", job=jobs[turn % len(jobs)], turn=turn),
        action("swap_node", node=nodes[turn % len(nodes)], turn=turn),
        action("reboot_node", node=nodes[-1 - turn % 4], turn=turn),
    ):
        try:
            world.perform(order)
        except ActionFailed:
            continue


def test_a_quiet_cluster_loses_only_stalls_and_slow_ranks() -> None:
    """607 s of a checkpoint cycle hold 600 s of work, at the pace of a rank up to 2 % slow."""
    world = after(built("quiet"), 6 * HOUR_S)

    assert 600 / 607 / 1.02 < world.goodput() < 600 / 607
    assert world.events == ()
    assert world.truth == ()


def test_lost_and_useful_time_add_up_to_all_of_it() -> None:
    world = after(built("demo"), 2 * HOUR_S)
    gpu_s = 14 * 8 * 2 * HOUR_S

    assert world.lost_gpu_s == pytest.approx((1 - world.goodput()) * gpu_s)
    assert world.lost_gpu_s == pytest.approx(lost_of(world), rel=1e-8)


def lost_of(world: World) -> float:
    """The same from the outside: jobs' highest steps at their ideal time against what they hold."""
    start = World.build(world.scenario, seed=world.names.seed).inner
    useful = 0.0
    for job in range(len(world.scenario.jobs)):
        row, was = world.inner.jobs[job], start.jobs[job]
        best = best_at(row, float(row["row_s"]), world.now_s)
        first = best - best_at(was, float(was["row_s"]), world.scenario.start_s)
        useful += first * float(row["ideal_s"]) * int(row["gpus"])
    return 14 * 8 * (world.now_s - world.scenario.start_s) - useful


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), hours=st.floats(0.01, 12))
def test_goodput_is_a_share(seed: int, hours: float) -> None:
    world = after(busy(seed=seed), hours * HOUR_S)

    assert 0 <= world.goodput() <= 1
    assert 0 <= world.lost_gpu_s <= world.sums().asked


def test_goodput_before_any_time_has_passed_is_not_known() -> None:
    world = built("demo")

    assert str(world.goodput()) == "nan"
    assert world.lost_gpu_s == 0


def test_unhealed_the_demo_loses_two_of_its_three_jobs() -> None:
    start_s = scenario("demo").start_s
    result = run_unhealed(scenario("demo"), seed=1, until_s=start_s + 2 * HOUR_S)
    world = after(built("demo"), 2 * HOUR_S)

    phases = {job.id: job.phase for job in world.state().jobs}
    assert result == result_of(world)
    assert 0.1 < result.goodput_ratio < 0.5
    assert phases == {
        "llm-70b": JobPhase.STOPPED,
        "llm-8b": JobPhase.STOPPED,
        "vision": JobPhase.RUNNING,
    }


def test_a_healed_demo_beats_the_same_bad_luck_unhealed() -> None:
    world = after(built("demo"), 5 * MINUTE_S)
    world.perform(action("swap_node", node="node-03", job="llm-70b"))
    after(world, 17 * MINUTE_S)
    world.perform(action("checkpoint_now", job="vision"))
    after(world, 19 * MINUTE_S)
    world.perform(action("swap_node", node="node-13", job="vision"))
    after(world, 40 * MINUTE_S)
    world.perform(action("checkpoint_now", job="llm-8b"))
    after(world, 42 * MINUTE_S)
    world.perform(action("restart_job", job="llm-8b"))
    after(world, 2 * HOUR_S)

    unhealed = run_unhealed(scenario("demo"), seed=1, until_s=world.now_s)
    assert {job.phase for job in world.state().jobs} == {JobPhase.RUNNING}
    assert world.goodput() > 0.9
    assert unhealed.goodput_ratio < 0.5


def test_the_scheduler_shows_racks_spares_and_ranks() -> None:
    state = built("demo").state()

    assert [node.name for node in state.nodes if node.spare] == ["node-14", "node-15"]
    assert state.topology.rack_of("node-05") == "rack-1"
    assert state.topology.switch_of("node-05") == "leaf-1"
    assert state.topology.nodes_of_job("vision") == ("node-12", "node-13")
    assert len(state.topology.rank_gpu) == 14 * 8
    job = state.job("llm-70b")
    assert job is not None
    assert (job.phase, job.gpus, job.priority) == (JobPhase.RUNNING, 64, 10)


def test_history_lies_behind_the_start() -> None:
    """The agent comes to a cluster that has run for a day: jobs are far on, checkpoints fresh."""
    world = built("quiet")
    state = world.state()

    assert world.now_s == world.scenario.start_s
    for job in state.jobs:
        assert job.step is not None
        assert job.step > 10_000
        assert job.checkpoint_s is not None
        assert 0 <= world.now_s - job.checkpoint_s < 660


def test_without_history_there_is_no_checkpoint_to_return_to() -> None:
    world = World.build(replace(scenario("quiet"), history_s=0.0), seed=1)

    assert [job.checkpoint_s for job in world.state().jobs] == [None, None, None]
    assert [job.checkpoint_s is None for job in after(world, HOUR_S).state().jobs] == [False] * 3


JOB = JobSpec("a", nodes=2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: scenario("dmo"), "did you mean 'demo'?"),
        (lambda: scenario("zzz"), "there are bad-canary, "),
        (
            lambda: FaultSpec("gpu_falen_off_bus", Target(node="node-00"), 0),
            "did you mean 'gpu_fallen_off_bus'?",
        ),
        (lambda: FaultSpec(XID_79, Target(node="node-00", gpu="9"), 0), "0 to 7"),
        (lambda: FaultSpec(LEAK, Target(node="node-00"), 0, severity=-1), "above 0"),
        (lambda: FaultSpec(COOLING, Target(node="node-00"), 0, severity=4), "at most 3"),
        (lambda: JobSpec("a", nodes=0), "at least 1 node"),
        (lambda: JobSpec("a", nodes=1, checkpoint_interval_s=30), "make the interval longer"),
        (lambda: Scenario("s", 2, 1, 1, (JOB,)), "need 2 nodes beside 1 spares"),
        (lambda: Scenario("s", 2, 3, 0, (JOB,)), "1 to 2 racks"),
        (lambda: Scenario("s", 4, 1, 0, (JOB, JOB)), "name them apart"),
        (lambda: Scenario("s", 2, 1, 0, (JOB,), rates=((COOLING, -1.0),)), "0 or more"),
        (lambda: Scenario("s", 2, 1, 0, (JOB,), rates=(("cold", 1.0),)), "in the catalogue"),
        (
            lambda: Scenario("s", 2, 1, 0, (JOB,), (FaultSpec(LEAK, Target(node="n"), 0),)),
            "node-00 to node-01",
        ),
    ],
)
def test_a_scenario_that_cannot_be_says_why(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(InputError) as caught:
        make()

    assert said in str(caught.value)
