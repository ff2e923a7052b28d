"""A simulated world is the same for the same seed, may be forked, and keeps honest books."""

import doctest
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.world
from core.cluster import JobPhase
from core.errors import ActionFailed, InputError
from core.target import Target
from core.types import Action, Scalar
from sim.baseline import result_of, run_unhealed
from sim.library import scenario
from sim.scenario import COOLING, LEAK, XID_79, FaultSpec, JobSpec, Scenario
from sim.world import World

ROOT = Path(__file__).parent.parent
HOUR_S = 3600.0
MINUTE_S = 60.0


def built(name: str, *, seed: int = 1) -> World:
    return World.build(scenario(name), seed=seed)


def after(world: World, seconds: float) -> World:
    world.advance(world.scenario.start_s + seconds)
    return world


def action(kind: str, *, node: str = "", job: str = "", **params: Scalar) -> Action:
    """Build an order on a node or, with no node named, on a job."""
    key = f"{kind} {node} {job} {sorted(params.items())}"
    target = Target(node=node) if node else Target(job=job)
    named = {"job": job, **params} if node and job else params
    return Action(key, kind, target, tuple(named.items()), deadline_s=900.0, inverse="")


def digest(world: World) -> str:
    """Everything a world is, in 64 letters: equal only where every bit is."""
    inner, total = world.inner, hashlib.sha256()
    for trail in (inner.nodes, inner.jobs):
        for name in trail.now().dtype.names or ():
            total.update(trail.column(name).tobytes())
    total.update(repr((inner.events, inner.truths, inner.placement, inner.heap)).encode())
    return total.hexdigest()


@pytest.mark.parametrize("name", ["demo", "quiet", "random"])
def test_the_same_seed_is_the_same_world_to_the_last_bit(name: str) -> None:
    first, again = after(built(name), 3 * HOUR_S), after(built(name), 3 * HOUR_S)
    other = after(built(name, seed=2), 3 * HOUR_S)

    assert digest(first) == digest(again)
    assert digest(first) != digest(other)


def test_another_process_gets_the_same_world() -> None:
    code = (
        "from tests.test_sim_world import after, built, digest, HOUR_S\n"
        "import sys; sys.stdout.write(digest(after(built('random', seed=7), HOUR_S)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert run.stdout == digest(after(built("random", seed=7), HOUR_S))


@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.floats(0, 2 * HOUR_S), max_size=8).map(sorted), seed=st.integers(0, 2**63))
def test_how_often_one_looks_changes_nothing(stops: list[float], seed: int) -> None:
    """A controller that asks every second and one that asks once an hour live in one world."""
    looked_at, left_alone = built("random", seed=seed), built("random", seed=seed)
    for stop in stops:
        after(looked_at, stop).state()

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


def test_a_fork_that_does_the_same_becomes_the_same() -> None:
    world = after(built("random"), HOUR_S)
    fork = world.fork()

    assert digest(after(fork, 9 * HOUR_S)) == digest(after(world, 9 * HOUR_S))


@pytest.mark.parametrize("seed", range(5))
def test_the_same_faults_hit_whatever_is_done(seed: int) -> None:
    """Paired comparisons of policies need the same bad luck for each of them."""
    left_alone, meddled_with = built("random", seed=seed), built("random", seed=seed)

    after(left_alone, 6 * HOUR_S)
    for quarter in range(24):
        after(meddled_with, quarter * HOUR_S / 4)
        meddle(meddled_with, quarter)
    after(meddled_with, 6 * HOUR_S)

    def happened(world: World) -> list[tuple[str, Target, float]]:
        return [(truth.fault, truth.target, truth.onset_s) for truth in world.truth]

    assert len(happened(left_alone)) > 4
    assert happened(left_alone) == happened(meddled_with)
    assert meddled_with.goodput() != left_alone.goodput()


def meddle(world: World, turn: int) -> None:
    """Do something possible or not, as a bad policy might."""
    nodes = [node.name for node in world.state().nodes]
    jobs = [job.id for job in world.state().jobs]
    for order in (
        action("restart_job", job=jobs[turn % 3], turn=turn),
        action("swap_node", node=nodes[turn % 16], turn=turn),
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
    assert world.lost_gpu_s == pytest.approx(lost_of(world), rel=1e-9)


def lost_of(world: World) -> float:
    """The same from the outside: jobs' highest steps at their ideal time against what they hold."""
    start = World.build(world.scenario, seed=world.inner.seed)
    useful = 0.0
    for job, spec in enumerate(world.scenario.jobs):
        best = float(
            max(world.inner.jobs.column("best_step")[world.inner.jobs.column("entity") == job])
        )
        now = world.state().jobs[job].step or 0.0
        was = start.state().jobs[job].step or 0.0
        useful += (max(best, now) - was) * spec.ideal_step_s * spec.nodes * 8
    return 14 * 8 * (world.now_s - world.scenario.start_s) - useful


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), hours=st.floats(0.01, 12))
def test_goodput_is_a_share(seed: int, hours: float) -> None:
    world = after(built("random", seed=seed), hours * HOUR_S)

    assert 0 <= world.goodput() <= 1
    assert 0 <= world.lost_gpu_s <= 14 * 8 * hours * HOUR_S * (1 + 1e-6)


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
        (lambda: scenario("zzz"), "there are demo, quiet, random"),
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
