"""What is ordered though no policy has to: in the simulator it helps, or something else does it."""

from collections.abc import Callable, Sequence

import pytest

from core.cluster import ClusterState
from core.target import Target
from core.types import Scalar
from remediation.catalogue import make
from sim.scenario import FaultSpec, JobSpec, Scenario, ServiceSpec
from sim.world import World

Order = tuple[str, Target, dict[str, Scalar]]
TRAIN = Target(job="train")
SLOW = "node-01"


def give(world: World, *orders: Order, plan_id: str = "p", pause_s: float = 20.0) -> None:
    """Order one after the other; a save has time to be written."""
    for step, (kind, target, params) in enumerate(orders):
        world.perform(make(kind, target, params, plan_id=plan_id, step=step))
        world.advance(world.now_s + (150.0 if kind == "checkpoint_now" else pause_s))


def training(nodes: int, *, spares: int = 0, interval_s: float = 600.0) -> World:
    """Return a training, on whose second node a GPU is slow after a minute."""
    shape = {} if spares else {"kind": "elastic", "least_nodes": 2, "most_nodes": nodes}
    job = JobSpec("train", nodes, checkpoint_interval_s=interval_s, **shape)  # type: ignore[arg-type]
    fault = FaultSpec("gpu_fail_slow", Target(node=SLOW, gpu="3"), 60.0)
    return World.build(Scenario("s", nodes + spares, 2, spares, (job,), (fault,)), seed=1)


def lost_by(world: World, orders: Callable[[ClusterState], Sequence[Order]]) -> float:
    """Return the GPU-seconds lost in two hours from the orders on."""
    world.advance(world.now_s + 1500.0)
    before = world.lost_gpu_s
    give(world, *orders(world.state()))
    world.advance(world.now_s + 7200.0)
    return world.lost_gpu_s - before


def test_a_restart_in_place_loses_less_than_a_whole_one() -> None:
    whole, in_place = (
        lost_by(training(4), lambda _, kind=kind: [(kind, TRAIN, {})])  # type: ignore[misc]
        for kind in ("restart_job", "restart_in_place")
    )

    assert in_place < whole


def test_an_eviction_is_a_swap_or_a_job_that_shrinks_and_no_better() -> None:
    """So policies have no choice of their own for it."""
    save: Order = ("checkpoint_now", TRAIN, {})
    node = Target(node=SLOW)

    def taking(kind: str) -> Callable[[ClusterState], Sequence[Order]]:
        return lambda state: [
            ("cordon", node, {}),
            save,
            (kind, node, {"job": "train", "spare": state.nodes[-1].name}),
        ]

    swapped, evicted = (
        lost_by(training(4, spares=1), taking(kind)) for kind in ("swap_node", "evict_rank")
    )
    assert evicted == pytest.approx(swapped)
    less, without = training(4), training(4)
    lost_by(less, lambda _: [("shrink_job", TRAIN, {"nodes": 3, "leave": SLOW})])
    lost_by(without, lambda _: [("evict_rank", node, {"job": "train"})])
    assert without.state().jobs[0].step == pytest.approx(less.state().jobs[0].step)


def late(*orders: Order) -> float:
    """Return the share of the requests that are late or fail, where 1.2 times as many come."""
    service = ServiceSpec(1200.0, 32, daily=0.0)
    chat = JobSpec("chat", 4, kind="service", service=service)
    world = World.build(Scenario("s", 4, 1, 0, (chat,), history_s=600.0), seed=3)
    give(world, *orders)
    world.advance(world.now_s + 1200.0)  # what had queued up is answered meanwhile
    row = world.inner.services[0]
    before = {name: float(row[name]) for name in ("asked", "late", "failed")}
    world.advance(world.now_s + 1800.0)
    asked, too_late, failed = (float(row[name]) - before[name] for name in before)
    return (too_late + failed) / asked


def test_a_service_with_all_its_replicas_answers_more_by_a_cache_and_a_larger_batch() -> None:
    cache: Order = ("set_cache", Target(job="chat"), {"cache": 0.4})
    batch: Order = ("set_service_batch", Target(job="chat"), {"batch": 64.0})

    nothing, one, other, both = late(), late(cache), late(batch), late(cache, batch)

    assert nothing > 0.9
    assert both < min(one, other)
    assert both < 0.3
