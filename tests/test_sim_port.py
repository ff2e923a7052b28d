"""Behind the ports a simulated cluster behaves as a real one, driven by whatever clock there is."""

import asyncio
import contextlib
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.clock import ManualClock
from core.cluster import JobPhase
from core.codec import from_json, to_json
from core.errors import ActionFailed
from core.ports import Cluster, EventSource, MetricSource, Query
from core.target import Target
from core.types import Action, Event
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import Site
from sim.world import World

EXAMPLES = Path(__file__).parent.parent / "examples"


def behind_the_port(name: str, clock: ManualClock) -> SimulatedCluster:
    world = World.build(scenario(name).starting_at(clock.now_s()), seed=1)
    return SimulatedCluster(world, clock=clock)


async def test_it_fits_all_three_ports(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    as_cluster: Cluster = cluster
    as_metrics: MetricSource = cluster
    as_events: EventSource = cluster

    assert (await as_cluster.state()).observed_s == clock.now_s()
    query = Query(("node_up",), clock.now_s() - 60, clock.now_s(), 15.0)
    assert len((await as_metrics.read(query)).windows) == 1
    assert await as_events.events() == ()


async def test_time_in_the_cluster_is_the_clocks(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    await clock.advance(90)
    assert (await cluster.state()).observed_s == clock.now_s()

    clock.step(-3600)

    assert (await cluster.state()).observed_s == clock.now_s() + 3600


async def test_an_event_is_told_once(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    log: list[list[str]] = []
    for _ in range(4):
        await clock.advance(120)
        log.append([event.kind for event in await cluster.events()])

    assert log == [[], ["xid", "pcie_error"], ["job_failed"], []]


async def test_events_go_over_the_wire_as_json(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    await clock.advance(3600)

    for event in await cluster.events():
        assert from_json(Event, to_json(event)) == event


async def test_a_query_is_answered_on_its_grid_and_not_beyond_now(clock: ManualClock) -> None:
    cluster = behind_the_port("quiet", clock)
    now_s = clock.now_s()

    got = await cluster.read(Query(("node_up", "nonsense"), now_s - 100, now_s + 100, 15.0))

    (window,) = got.windows
    assert (window.time_s % 15 == 0).all()
    assert window.time_s[0] >= now_s - 100
    assert now_s - 15 < window.time_s[-1] <= now_s
    assert [(problem.code, "nonsense" in problem.text) for problem in got.problems] == [
        ("unknown_metric", True)
    ]


async def test_a_day_of_history_can_be_filled_in(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    now_s = clock.now_s()

    got = await cluster.read(Query(("gpu_power_watts",), now_s - 86400, now_s, 60.0))

    (window,) = got.windows
    assert window.value.shape == (128, 1440 + (now_s % 60 == 0))
    assert np.isfinite(window.value).mean() > 0.99


async def test_orders_reach_the_world_and_refusals_come_back(clock: ManualClock) -> None:
    cluster = behind_the_port("demo", clock)
    await clock.advance(360)
    await cluster.perform(
        Action("k", "swap_node", Target(node="node-03"), (("job", "llm-70b"),), 900.0, "")
    )
    await clock.advance(120)

    job = (await cluster.state()).job("llm-70b")
    assert job is not None
    assert job.phase is JobPhase.RUNNING
    with pytest.raises(ActionFailed, match="no node 'node-77'"):
        await cluster.perform(Action("l", "cordon", Target(node="node-77"), (), 900.0, ""))


def with_site(clock: ManualClock, *, seed: int = 1, **site: float) -> SimulatedCluster:
    script = replace(scenario("quiet"), history_s=1800.0, site=Site(**site))  # type: ignore[arg-type]
    world = World.build(script.starting_at(clock.now_s()), seed=seed)
    return SimulatedCluster(world, clock=clock)


def cordon(node: str, *, key: str = "") -> Action:
    return Action(key or node, "cordon", Target(node=node), (), 900.0, "uncordon")


async def out(cluster: SimulatedCluster) -> set[str]:
    return {node.name for node in (await cluster.state()).out_by("gpumedic")}


async def test_an_order_arrives_after_the_sites_delay(clock: ManualClock) -> None:
    """Half as long at the least, half as much again at the most, and the same for one key."""
    cluster = with_site(clock, order_delay_s=20.0)
    ordered = asyncio.create_task(cluster.perform(cordon("node-01")))
    await clock.sleep(0)
    await clock.advance(9.9)
    assert not ordered.done()
    assert await out(cluster) == set()

    await clock.advance(20.2)

    assert ordered.done()
    assert await out(cluster) == {"node-01"}


async def test_an_order_that_nobody_waits_for_arrives_all_the_same(clock: ManualClock) -> None:
    cluster = with_site(clock, order_delay_s=20.0)
    ordered = asyncio.create_task(cluster.perform(cordon("node-01")))
    await clock.sleep(0)
    await clock.advance(5)
    ordered.cancel()
    again = asyncio.create_task(cluster.perform(cordon("node-01")))

    await clock.advance(26)

    assert again.done()
    assert await out(cluster) == {"node-01"}
    assert (await cluster.state()).observed_s == clock.now_s()


async def test_a_share_of_orders_is_lost_to_the_site(clock: ManualClock) -> None:
    """Which ones depends on the key and the moment alone, and later most come through."""
    lost: list[set[int]] = []
    for numbers in (range(40), reversed(range(40))):
        cluster, failed = with_site(clock, order_failure=0.3), set()
        for number in numbers:
            try:
                await cluster.perform(cordon("node-01", key=f"plan:{number}"))
            except ActionFailed:
                failed.add(number)
        lost.append(failed)
    assert lost[0] == lost[1]
    assert 4 <= len(lost[0]) <= 20

    key = f"plan:{min(lost[0])}"
    for _ in range(20):
        await clock.advance(15)
        with contextlib.suppress(ActionFailed):
            await cluster.perform(cordon("node-05", key=key))
    assert "node-05" in await out(cluster)


def test_the_example_breaks_and_heals_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / "break_a_cluster.py"
    runpy.run_path(str(path), run_name="__main__")

    said = capsys.readouterr().out.splitlines()
    assert len(path.read_text().splitlines()) <= 40
    assert said[0].startswith("broken: xid 79 on node-03/GPU-")
    assert said[-2:] == ["left alone: goodput 0.47", "healed:     goodput 0.91"]
