"""Whatever breaks and whatever is ordered, a simulated cluster stays one that could exist."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cluster import JobPhase, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from sim.cluster import NO_JOB
from sim.jobs import Stage
from sim.library import scenario
from sim.scenario import FAULTS, FaultSpec, node_name
from sim.thermal import Load
from sim.world import World

MINUTE_S = 60.0
KINDS = ("cordon", "uncordon", "checkpoint_now", "restart_job", "swap_node", "reboot_node")
JOBS = ("llm-70b", "llm-8b", "vision")

fault = st.builds(
    FaultSpec,
    st.sampled_from(FAULTS),
    st.builds(Target, node=st.integers(0, 15).map(node_name)),
    st.floats(-600, 5400),
    st.sampled_from([600.0, float("inf")]),
    st.floats(0.5, 3),
)
order = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 15), st.sampled_from(JOBS), st.floats(0, 900)
)


def give(world: World, number: int, kind: str, node: int, job: str) -> None:
    on_job = kind in ("checkpoint_now", "restart_job")
    target = Target(job=job) if on_job else Target(node=node_name(node))
    try:
        world.perform(Action(f"{number}", kind, target, (), 900.0, ""))
    except ActionFailed:
        return


def check(world: World) -> None:
    state, inner = world.state(), world.inner
    rows = inner.nodes.now()
    placed = [node for nodes in inner.placement for node in nodes]
    assert len(set(placed)) == len(placed) == 14
    for index, job in enumerate(state.jobs):
        nodes = rows[list(inner.placement[index])]
        busy = job.phase in (JobPhase.RUNNING, JobPhase.STARTING)
        stage = Stage(int(inner.jobs.now(np.array([index]))["stage"][0]))
        assert (nodes["job"] == (index if busy else NO_JOB)).all()
        assert nodes["up"].all() or not busy
        if stage in (Stage.STEPPING, Stage.CAPTURING):
            assert nodes["alive"].all()
            assert (nodes["load"] == Load.COMPUTING).all()
        assert job.checkpoint_s is None or job.checkpoint_s <= world.now_s
        assert job.since_s <= world.now_s
        assert job.step is not None
        assert job.step >= 0
    idle = np.setdiff1d(np.arange(16), placed)
    assert (rows["job"][idle] == NO_JOB).all()
    assert (rows["load"][rows["job"] == NO_JOB] == Load.IDLE).all()
    for node in state.nodes:
        assert not (node.spare and node.name in {n for job in state.jobs for n in job.nodes})
        assert (node.condition is NodeCondition.READY) <= (node.owner == "")
    assert (rows["celsius"] < 97).all()
    assert 0 <= world.goodput() <= 1


@settings(max_examples=60, deadline=None)
@given(
    faults=st.lists(fault, max_size=10), orders=st.lists(order, max_size=25), seed=st.integers(0, 9)
)
def test_no_order_and_no_fault_breaks_the_books(
    faults: list[FaultSpec], orders: list[tuple[str, int, str, float]], seed: int
) -> None:
    world = World.build(replace(scenario("quiet"), faults=tuple(faults)), seed=seed)
    last = (world.lost_gpu_s, len(world.events), world.now_s)
    for number, (kind, node, job, wait_s) in enumerate(orders):
        give(world, number, kind, node, job)
        world.advance(world.now_s + 1 + wait_s)
        check(world)
        now = (world.lost_gpu_s + 1e-3, len(world.events), world.now_s)
        assert all(after >= before for before, after in zip(last, now, strict=True))
        last = (world.lost_gpu_s, len(world.events), world.now_s)
    for trail in (world.inner.nodes, world.inner.jobs):
        assert (np.diff(trail.column("start_s")) >= 0).all()
    happened = [truth for truth in world.truth if truth.onset_s <= world.now_s]
    due = [f for f in faults if world.scenario.start_s + f.onset_s <= world.now_s]
    assert len(happened) == len(due)
    assert all((truth.repaired_s or truth.onset_s) >= truth.onset_s for truth in happened)
