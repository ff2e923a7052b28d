"""Whatever breaks and whatever is ordered, a simulated cluster stays one that could exist."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cluster import JobPhase, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from sim.catalogue import CLASSES
from sim.engine.words import NONE, Load, Scope, Stage
from sim.library import scenario
from sim.orders import KINDS
from sim.scenario import COOLING, FaultSpec, node_name
from sim.world import World
from tests.contract import about_nodes, plain
from tests.worlds import JOBS, action, audit

_HOTTEST_CELSIUS = 100.0  # clocks fall before, and a GPU that is too hot all the same shuts down

_HALF_A_TICK_S = 1 / 2048  # onsets are rounded to the engine's ticks


def target_of(name: str, number: int) -> Target:
    """Return what a class of fault strikes, by a number from 0 to 15."""
    match CLASSES[name].scope:
        case Scope.GPU | Scope.NODE | Scope.POWER | Scope.COOLING:
            return Target(node=node_name(number))
        case Scope.LEAF:
            return Target(switch=f"leaf-{number % 4}")
        case Scope.RACK:
            return Target(rack=f"rack-{number % 4}")
        case Scope.JOB:
            return Target(job=JOBS[number % len(JOBS)])
        case _:
            return Target()


def spec(name: str, number: int, onset_s: float, lasts_s: float, severity: float) -> FaultSpec:
    return FaultSpec(name, target_of(name, number), onset_s, lasts_s, severity)


fault = st.builds(
    spec,
    st.sampled_from([name for name in CLASSES if name != "bad_canary"]),  # no job is a service
    st.integers(0, 15),
    st.floats(-600, 5400),
    st.sampled_from([600.0, float("inf")]),
    st.floats(0.5, 3),
)
order = st.tuples(
    st.sampled_from(tuple(KINDS)), st.integers(0, 15), st.sampled_from(JOBS), st.floats(0, 900)
)


def give(world: World, number: int, kind: str, node: int, job: str) -> None:
    on_node = about_nodes(kind)
    whom = {"node": node_name(node)} if on_node else {"job": job}
    try:
        asked = action(kind, key=f"{number}", **whom)
        world.perform(replace(asked, params=(*asked.params, *plain(kind))))
    except ActionFailed:
        return


def check(world: World) -> None:
    audit(world.inner)
    state, w = world.state(), world.inner
    ranks = state.topology.rank_gpu.tolist()
    assert len(set(ranks)) == len(ranks) == sum(job.gpus for job in state.jobs if job.nodes)
    for index, job in enumerate(state.jobs):
        nodes = w.nodes[[world.names.node_index[name] for name in job.nodes]]
        stage = Stage(int(w.jobs[index]["stage"]))
        if stage in (Stage.STEPPING, Stage.CAPTURING):
            assert nodes["up"].all()
            assert (nodes["load"] == Load.COMPUTING).all()
        assert (job.phase is JobPhase.RUNNING) <= (len(nodes) == len(job.nodes) > 0)
        assert job.checkpoint_s is None or job.checkpoint_s <= world.now_s
        assert job.since_s <= world.now_s
        assert job.step is not None
        assert job.step >= 0
    idle = (w.nodes["job"] == NONE).all(axis=1)
    assert (w.nodes["load"][idle] == Load.IDLE).all()
    for node in state.nodes:
        assert not (node.spare and node.name in {n for job in state.jobs for n in job.nodes})
        assert (node.condition is NodeCondition.READY) <= (node.owner == "")
    assert (w.nodes["celsius"] < _HOTTEST_CELSIUS).all()
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
    check_the_past(world)
    until_s = world.now_s - world.scenario.start_s + _HALF_A_TICK_S
    due = [f for f in faults if f.onset_s < until_s]
    assert sorted(truth.fault for truth in world.truth) == sorted(f.fault for f in due)
    assert {str(truth.target) for truth in world.truth if truth.target.rack} == {
        str(f.target) for f in due if f.target.rack
    }


def check_the_past(world: World) -> None:
    """Nothing that was written down runs back in time."""
    core, w = world.inner.core[0], world.inner
    for log, used in ((w.node_log, "node_log_n"), (w.job_log, "job_log_n")):
        assert (np.diff(log["start_s"][: int(core[used])]) >= 0).all()
    assert (np.diff(w.said["time_s"][: int(core["said_n"])]) >= 0).all()
    onsets = [truth.onset_s for truth in world.truth]
    assert onsets == sorted(onsets)
    assert all((truth.repaired_s or truth.onset_s) >= truth.onset_s for truth in world.truth)


def test_hot_air_is_borne() -> None:
    """The worst that a scenario may order: three times bad cooling, on a node that is computing."""
    bad = FaultSpec(COOLING, Target(node="node-03"), 60, severity=3)
    world = World.build(replace(scenario("quiet"), faults=(bad,)), seed=1)
    for _ in range(30):
        world.advance(world.now_s + 120)
        check(world)

    assert world.inner.nodes["shut"][3].any()
    assert "thermal" in [event.kind for event in world.events]
