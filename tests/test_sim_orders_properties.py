"""Whatever is ordered, in any order: no GPU is lost, given twice or counted twice."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ActionFailed
from core.types import Action, Scalar
from sim.engine.words import NONE, Use
from sim.orders import KINDS
from sim.world import World
from tests.orders import EXACT, MIXED, ROLLOUT, built, later, order


def named(node: int) -> str:
    return f"node-{node:02d}"


PARAMS: dict[str, st.SearchStrategy[dict[str, Scalar]]] = {
    "shrink_job": st.fixed_dictionaries(
        {"nodes": st.integers(1, 7)}, optional={"leave": st.integers(0, 3).map(named)}
    ),
    "grow_job": st.fixed_dictionaries({"nodes": st.integers(1, 7)}),
    "set_checkpoint_interval": st.fixed_dictionaries({"interval_s": st.floats(60, 3600)}),
    "set_compression": st.fixed_dictionaries({"on": st.booleans()}),
    "swap_nodes": st.just({"nodes": "node-00,node-01", "spares": "node-11,node-10"}),
    "evict_rank": st.sampled_from([{}, {"spare": "node-11"}]),
    "borrow_node": st.sampled_from(
        [{"spare": "node-04", "lender": "fixed"}, {"spare": "node-09"}, {"spare": "node-11"}]
    ),
    "set_service_batch": st.fixed_dictionaries({"batch": st.floats(1, 64)}),
    "set_cache": st.fixed_dictionaries({"cache": st.floats(0, 0.8)}),
    "limit_power": st.fixed_dictionaries({"watts": st.floats(200, 700)}),
    "tune_job": st.fixed_dictionaries(
        {"loaders": st.floats(0.5, 2), "cache": st.floats(0, 1), "accumulate": st.floats(0.5, 2)}
    ),
    "move_job": st.fixed_dictionaries(
        {"nodes": st.lists(st.integers(0, 11), max_size=4).map(lambda n: ",".join(map(named, n)))}
    ),
    "scale_service": st.fixed_dictionaries({"replicas": st.integers(1, 9)}),
    "shift_canary": st.fixed_dictionaries({"share": st.floats(0, 1)}),
    "limit_clocks": st.fixed_dictionaries({"share": st.floats(0.3, 1)}),
    "stop_rollout": st.fixed_dictionaries({"restart_jobs": st.booleans()}),
}
NAMES = [spec.id for spec in MIXED.jobs]


@st.composite
def some_order(draw: st.DrawFn) -> tuple[Action, float]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    target = draw(st.one_of(st.sampled_from(NAMES), st.integers(0, 11).map(named)))
    params = draw(PARAMS.get(kind, st.just({})))
    made = replace(order(kind, target), params=tuple(params.items()))
    return made, draw(st.floats(0, 900))


def give(world: World, action: Action) -> None:
    try:
        world.perform(action)
    except ActionFailed:
        return


def check_books(world: World) -> None:
    """No GPU is lost, given twice or counted twice."""
    inner = world.inner
    core, nodes, jobs = inner.core[0], inner.nodes, inner.jobs[: len(NAMES)]
    held = (nodes["job"] != NONE).sum()
    assert core["use_gpus"].sum() == 12 * 8
    assert core["use_gpus"][Use.HELD] == held == jobs["given"].sum()
    assert (nodes["free"] == 8 - (nodes["job"] != NONE).sum(axis=1)).all()
    placed = [node for state in world.state().jobs for node in state.nodes]
    assert len(placed) - len(set(placed)) <= 1
    ready = nodes["up"] & (nodes["hold"] == 0) & ~nodes["pool"] & (nodes["free"] == 8)
    assert core["free_nodes"] == ready.sum()
    elastic = jobs[0]
    wanted = elastic["ordered"] or elastic["gpus"]
    assert core["shrunk"] == (0 < elastic["given"] < wanted)
    assert sum(world.uses().values()) == 12 * 8 * (world.now_s - world.scenario.start_s)
    sums = world.sums()
    assert sums.good + sums.lost.sum() == sums.held <= sums.asked
    assert not world.now_s > world.scenario.start_s or 0 <= world.goodput() <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(some_order(), max_size=14), st.booleans())
def test_no_orders_lose_a_gpu(orders: list[tuple[Action, float]], rolls: bool) -> None:
    world = built(*((ROLLOUT,) if rolls else ()), site=replace(EXACT, requeue=True))
    for number, (action, wait_s) in enumerate(orders):
        give(world, replace(action, key=str(number)))
        check_books(world)
        later(world, wait_s)
        check_books(world)
