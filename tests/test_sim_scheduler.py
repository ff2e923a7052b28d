"""Orders to the simulated scheduler are taken once, take time, and never undo a person's."""

from dataclasses import replace

import pytest

from core.cluster import JobPhase, JobState, NodeCondition, NodeState
from core.errors import ActionFailed
from core.target import Target
from core.types import Action, Scalar
from sim.library import scenario
from sim.scenario import XID_79, FaultSpec
from sim.world import World

READY, CORDONED = NodeCondition.READY, NodeCondition.CORDONED
DRAINED, DOWN = NodeCondition.DRAINED, NodeCondition.DOWN


@pytest.fixture
def world() -> World:
    return World.build(scenario("quiet"), seed=1)


def action(kind: str, *, node: str = "", job: str = "", key: str = "", **params: Scalar) -> Action:
    """Build an order on a node or, with no node named, on a job."""
    target = Target(node=node) if node else Target(job=job)
    named = {"job": job, **params} if node and job else params
    return Action(key or f"{kind} {target}", kind, target, tuple(named.items()), 900.0, "")


def node(world: World, name: str) -> NodeState:
    found = world.state().node(name)
    assert found is not None
    return found


def job(world: World, name: str) -> JobState:
    found = world.state().job(name)
    assert found is not None
    return found


def later(world: World, seconds: float) -> None:
    world.advance(world.now_s + seconds)


def refused(world: World, order: Action) -> str:
    with pytest.raises(ActionFailed) as caught:
        world.perform(order)
    return str(caught.value)


def test_a_cordon_keeps_the_job_and_names_its_owner(world: World) -> None:
    world.perform(action("cordon", node="node-03", reason="it is hot"))
    world.perform(action("cordon", node="node-15"))

    log = [(n.name, n.condition, n.owner, n.reason) for n in world.state().out_by("gpumedic")]
    assert log == [
        ("node-03", CORDONED, "gpumedic", "it is hot"),
        ("node-15", DRAINED, "gpumedic", "cordoned by action"),
    ]
    assert job(world, "llm-70b").phase is JobPhase.RUNNING
    assert node(world, "node-03").since_s == world.now_s


def test_an_uncordon_takes_a_cordon_back(world: World) -> None:
    world.perform(action("cordon", node="node-03"))
    later(world, 60)
    world.perform(action("uncordon", node="node-03"))

    assert (node(world, "node-03").condition, node(world, "node-03").owner) == (READY, "")
    assert node(world, "node-03").since_s == world.now_s


def test_a_persons_cordon_is_kept(world: World) -> None:
    world.cordon("node-03", by="alice", reason="I look at it")
    world.perform(action("cordon", node="node-03", reason="mine"))

    said = refused(world, action("uncordon", node="node-03"))

    assert (node(world, "node-03").owner, node(world, "node-03").reason) == (
        "alice",
        "I look at it",
    )
    assert "alice keeps it out of service (I look at it)" in said
    world.uncordon("node-03")
    assert node(world, "node-03").condition is READY


def test_a_persons_uncordon_wins_over_the_agents_cordon(world: World) -> None:
    world.perform(action("cordon", node="node-03"))

    world.uncordon("node-03")

    assert node(world, "node-03").condition is READY


def test_one_key_is_performed_once(world: World) -> None:
    """A retry after a lost answer must not restart the job a second time."""
    order = action("restart_job", job="vision", key="plan-1:0")
    world.perform(order)
    later(world, 120)
    before = job(world, "vision")

    world.perform(order)
    later(world, 1)

    assert (before.restarts, job(world, "vision").restarts) == (1, 1)
    assert job(world, "vision").phase is JobPhase.RUNNING
    world.perform(replace(order, key="plan-2:0"))
    assert job(world, "vision").restarts == 2


def test_a_refused_key_may_be_tried_again(world: World) -> None:
    order = action("restart_job", job="vision", key="plan-1:0")
    world.cordon("node-12", by="alice", reason="")
    refused(world, order)
    world.uncordon("node-12")

    world.perform(order)

    assert job(world, "vision").phase is JobPhase.STARTING


def test_a_checkpoint_out_of_turn_takes_its_stall_and_copy(world: World) -> None:
    before = job(world, "llm-70b")
    assert before.checkpoint_s is not None
    later(world, 660 - (world.now_s - before.checkpoint_s))
    old = job(world, "llm-70b").checkpoint_s
    ordered_s, step = world.now_s, job(world, "llm-70b").step

    world.perform(action("checkpoint_now", job="llm-70b", key="1"))
    world.perform(action("checkpoint_now", job="llm-70b", key="while it is at it"))
    later(world, 6.9)
    assert job(world, "llm-70b").step == step
    later(world, 50)
    assert job(world, "llm-70b").checkpoint_s == old
    later(world, 1.2)

    assert job(world, "llm-70b").checkpoint_s == pytest.approx(ordered_s + 58)
    assert (job(world, "llm-70b").step or 0) == pytest.approx((step or 0) + 51.1 / 4.81, rel=1e-4)


def test_a_restart_returns_to_the_newest_checkpoint(world: World) -> None:
    world.perform(action("checkpoint_now", job="vision"))
    later(world, 7)
    saved = job(world, "vision").step or 0
    later(world, 300)
    assert (job(world, "vision").step or 0) > saved + 200

    world.perform(action("restart_job", job="vision"))

    stopped = job(world, "vision")
    assert (stopped.phase, stopped.step) == (JobPhase.STARTING, saved)
    later(world, 45)
    assert job(world, "vision").phase is JobPhase.STARTING
    later(world, 20)
    assert job(world, "vision").phase is JobPhase.RUNNING
    assert job(world, "vision").nodes == stopped.nodes


def test_a_swapped_out_node_is_cordoned_and_later_a_spare(world: World) -> None:
    """Nothing may land on a suspected node again until somebody returns it."""
    world.perform(action("swap_node", node="node-03", job="llm-70b", spare="node-14"))

    assert (node(world, "node-03").condition, node(world, "node-03").owner) == (DRAINED, "gpumedic")
    assert node(world, "node-03").reason == "swapped out of job llm-70b"
    assert [n.name for n in world.state().nodes if n.spare and n.condition is READY] == ["node-15"]
    world.perform(action("uncordon", node="node-03"))
    spares = [n.name for n in world.state().nodes if n.spare and n.condition is READY]
    assert spares == ["node-03", "node-15"]
    assert world.state().topology.nodes_of_job("llm-70b")[-1] == "node-14"


def test_a_reboot_takes_its_minutes_and_leaves_the_cordon(world: World) -> None:
    world.perform(action("cordon", node="node-15"))
    later(world, 60)
    world.perform(action("reboot_node", node="node-15"))

    assert node(world, "node-15").condition is DOWN
    went_down_s = world.now_s
    later(world, 479)
    assert node(world, "node-15").condition is DOWN
    later(world, 422)
    back = node(world, "node-15")
    assert (back.condition, back.owner) == (DRAINED, "gpumedic")
    assert went_down_s + 480 <= back.since_s <= went_down_s + 900
    assert [event.kind for event in world.events] == ["node_reboot", "node_returned"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (action("dance", node="node-01"), "no such action"),
        (action("cordon", node="node-99"), "no node 'node-99'"),
        (action("cordon"), "(none named)"),
        (action("restart_job", job="nope"), "it has llm-70b, llm-8b, vision"),
        (action("swap_node", node="node-15"), "it holds no job"),
        (action("swap_node", node="node-03", job="vision"), "it holds job llm-70b, not job vision"),
        (action("swap_node", node="node-03", spare="node-05"), "given to job llm-70b"),
        (action("swap_node", node="node-03", spare="node-77"), "no node 'node-77'"),
        (action("reboot_node", node="node-03"), "job llm-70b runs on it"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(world: World, order: Action, said: str) -> None:
    before = repr(world.state().nodes), repr(world.state().jobs)

    assert said in refused(world, order)
    assert (repr(world.state().nodes), repr(world.state().jobs)) == before


def test_a_job_never_starts_on_a_node_that_is_out(world: World) -> None:
    world.perform(action("cordon", node="node-12"))
    assert "node-12 is cordoned by gpumedic" in refused(world, action("restart_job", job="vision"))

    world.perform(action("reboot_node", node="node-14"))
    swap = action("swap_node", node="node-12", spare="node-14")
    assert "node-14 is down" in refused(world, swap)
    world.perform(action("swap_node", node="node-12", spare="node-15"))
    assert job(world, "vision").nodes == ("node-15", "node-13")


def test_spares_run_out(world: World) -> None:
    world.perform(action("swap_node", node="node-00"))
    world.perform(action("swap_node", node="node-08"))

    assert "no spare is free" in refused(world, action("swap_node", node="node-12"))


def test_there_is_nothing_to_save_of_a_job_that_makes_no_steps(world: World) -> None:
    world.perform(action("restart_job", job="vision"))

    assert "it is starting" in refused(world, action("checkpoint_now", job="vision"))
    assert "already starting" in refused(world, action("restart_job", job="vision", key="2"))


def test_a_hung_job_has_nothing_to_save() -> None:
    fault = FaultSpec(XID_79, Target(node="node-03"), 10)
    world = World.build(replace(scenario("quiet"), faults=(fault,)), seed=1)
    later(world, 12)

    assert "it is hung" in refused(world, action("checkpoint_now", job="llm-70b"))


def test_a_start_can_be_cut_short_by_a_swap(world: World) -> None:
    world.perform(action("restart_job", job="vision"))
    later(world, 30)
    world.perform(action("swap_node", node="node-12"))
    later(world, 40)
    assert job(world, "vision").phase is JobPhase.STARTING
    later(world, 50)

    assert (job(world, "vision").phase, job(world, "vision").restarts) == (JobPhase.RUNNING, 2)
    assert [event.kind for event in world.events] == ["job_started"]
