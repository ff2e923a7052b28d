"""A served cluster is found, scraped, read on from a cursor, and ordered about with the token."""

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from agent.lab.serving import LabSettings, serve
from agent.serving import listen_at
from core.clock import ManualClock, RealClock
from core.codec import to_json
from core.errors import ConfigError
from core.target import Target
from core.types import Action
from sim.exporter_families import DCGM, JOBS, NODE
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec
from sim.world import World
from tests.e2e.running import until
from tests.lab import INSIDE, TOKEN, fetch, served, transport_to
from tests.real import free_port

CORDON = Action("k1", "cordon", Target(node="node-02"), (), 900.0, "uncordon")


@pytest.fixture
def cluster(clock: ManualClock) -> SimulatedCluster:
    fault = FaultSpec("gpu_fallen_off_bus", Target(node="node-03", gpu="5"), onset_s=60)
    script = replace(scenario("quiet"), faults=(fault,), history_s=1800.0)
    world = World.build(script.starting_at(clock.now_s()), seed=1)
    return SimulatedCluster(world, clock=clock)


async def posted(cluster: SimulatedCluster, body: object, *, token: str) -> httpx2.Response:
    """Return the answer to an order."""
    text = body if isinstance(body, str) else json.dumps(body)
    async with httpx2.AsyncClient(transport=transport_to(cluster), base_url=INSIDE) as client:
        return await client.post(
            "/scheduler/v1/actions", content=text, headers={"authorization": f"Bearer {token}"}
        )


async def test_every_exporter_is_found_at_its_own_path(cluster: SimulatedCluster) -> None:
    """A target's path leads to a page, and its instance is the node's own address."""
    lists = await fetch(cluster, *(f"/sd/{kind}" for kind in (NODE, DCGM, JOBS)))
    nodes, gpus, jobs = (answer.json() for answer in lists)

    assert (len(nodes), len(gpus), len(jobs)) == (16, 16, 1)
    assert nodes[3]["labels"]["instance"] == "node-03:9100"
    assert gpus[3]["labels"]["instance"] == "node-03:9400"
    assert all(each["targets"] == ["lab.test"] for each in (*nodes, *gpus, *jobs))
    paths = [each["labels"]["__metrics_path__"] for each in (*nodes, *gpus, *jobs)]
    pages = await fetch(cluster, *paths)
    assert {page.status_code for page in pages} <= {200, 503}
    assert sum(page.is_success for page in pages) > 28
    assert pages[-1].headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_the_settings_for_a_prometheus_name_every_exporter(cluster: SimulatedCluster) -> None:
    (answer,) = await fetch(cluster, "/prometheus.yml?every=5s")

    assert answer.text.count("http_sd_configs") == 3
    assert 'http_sd_configs: [{url: "http://lab.test/sd/dcgm-exporter"}]' in answer.text
    assert "scrape_interval: 5s" in answer.text


async def test_a_node_that_is_down_does_not_answer(
    cluster: SimulatedCluster, clock: ManualClock
) -> None:
    await cluster.perform(Action("k", "reboot_node", Target(node="node-15"), (), 900.0, ""))
    await clock.advance(30)

    (page,) = await fetch(cluster, f"/nodes/node-15/{NODE}/metrics")

    assert page.status_code == 503
    assert "node-15 does not answer" in page.json()["error"]


async def test_samples_bear_the_clusters_time_where_it_is_not_the_time_of_day(
    cluster: SimulatedCluster,
) -> None:
    (plain,) = await fetch(cluster, "/jobs/metrics")
    (stamped,) = await fetch(cluster, "/jobs/metrics", wanted=LabSettings(stamped=True))

    at_ms = int(cluster.world.now_s // 15) * 15_000
    samples = [line for line in stamped.text.splitlines() if line[0] != "#"]
    assert all(line.endswith(f" {at_ms}") for line in samples)
    assert not any(line.endswith(f" {at_ms}") for line in plain.text.splitlines())


async def test_a_page_repeats_until_the_exporter_collects_again(
    cluster: SimulatedCluster, clock: ManualClock
) -> None:
    async with httpx2.AsyncClient(transport=transport_to(cluster), base_url=INSIDE) as client:
        pages = []
        for _ in range(4):
            pages.append((await client.get("/jobs/metrics")).text)
            await clock.advance(7.5)

    assert len(set(pages)) == 2 + (clock.now_s() % 15 >= 7.5)


async def test_the_kernel_log_is_read_on_from_a_cursor(
    cluster: SimulatedCluster, clock: ManualClock
) -> None:
    await clock.advance(300)
    async with httpx2.AsyncClient(transport=transport_to(cluster), base_url=INSIDE) as client:
        first = await client.get("/nodes/node-03/kmsg")
        again = await client.get(f"/nodes/node-03/kmsg?cursor={first.headers['x-cursor']}")
        other = await client.get("/nodes/node-04/kmsg")
        nowhere = await client.get("/nodes/node-77/kmsg")

    head, _, text = first.text.splitlines()[0].partition(";")
    level, _, since_us, flag = head.split(",")
    assert (level, flag) == ("3", "-")
    assert int(since_us) == round((1800 + 60) * 1e6)
    assert text == "NVRM: Xid (PCI:0000:6a:00): 79, GPU has fallen off the bus."
    assert (again.text, other.text) == ("", "")
    assert nowhere.status_code == 404


async def test_events_are_told_once_and_from_the_beginning_after_a_new_start(
    cluster: SimulatedCluster, clock: ManualClock
) -> None:
    await clock.advance(300)
    async with httpx2.AsyncClient(transport=transport_to(cluster), base_url=INSIDE) as client:
        first = (await client.get("/scheduler/v1/events")).json()
        again = (await client.get(f"/scheduler/v1/events?cursor={first['cursor']}")).json()
        late = (await client.get(f"/scheduler/v1/events?since_s={clock.now_s()}")).json()
    (anew,) = await fetch(cluster, f"/scheduler/v1/events?cursor={first['cursor']}")

    assert [event["kind"] for event in first["events"]][:1] == ["xid"]
    assert (again["events"], late["events"]) == ([], [])
    assert anew.json()["events"] == first["events"]


async def test_an_order_needs_the_token(cluster: SimulatedCluster) -> None:
    refused = await posted(cluster, to_json(CORDON), token="another")
    before = await cluster.state()
    taken = await posted(cluster, to_json(CORDON), token=TOKEN)

    assert refused.status_code == 401
    assert before.out_by("gpumedic") == ()
    assert taken.json() == {"taken": "k1"}
    assert [node.name for node in (await cluster.state()).out_by("gpumedic")] == ["node-02"]


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        ("{", 400, "cannot be read"),
        ("[" * 50_000, 400, "cannot be read"),
        ({"kind": "cordon"}, 400, "lacks the field"),
        ({**to_json(CORDON), "colour": "red"}, 400, "has no field 'colour'"),
        ("x" * 100_000, 413, ""),
        (to_json(replace(CORDON, kind="paint")), 409, "paint on node-02"),
    ],
)
async def test_an_order_that_cannot_be_is_refused(
    cluster: SimulatedCluster, body: object, status: int, found: str
) -> None:
    answer = await posted(cluster, body, token=TOKEN)

    assert answer.status_code == status
    assert found in answer.json()["error"]


async def test_a_scenario_is_served_from_now_on_until_told_to_stop(tmp_path: Path) -> None:
    listen, stop = f"127.0.0.1:{free_port()}", asyncio.Event()
    wanted = LabSettings(listen=listen, token_folder=tmp_path)
    script = replace(scenario("quiet"), history_s=600.0)
    before_s = RealClock().now_s()
    running = asyncio.create_task(serve(script, wanted, seed=1, stop=stop))

    async def ready() -> bool:
        async with httpx2.AsyncClient() as client:
            try:
                return (await client.get(f"http://{listen}/-/ready")).is_success
            except httpx2.HTTPError:
                return False

    await until(ready, what="the server")
    stop.set()
    world = await running

    now_s = RealClock().now_s() + 1 / 1024  # a world stands at the next whole tick
    assert before_s <= world.scenario.start_s <= world.now_s <= now_s
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


async def test_a_port_in_use_is_said_so(cluster: SimulatedCluster, tmp_path: Path) -> None:
    async with served(cluster, tmp_path) as (url, _):
        wanted = LabSettings(listen=url.removeprefix("http://"), token_folder=tmp_path)
        script = replace(scenario("quiet"), history_s=600.0)
        with pytest.raises(ConfigError, match="End the program that has this port"):
            await serve(script, wanted, seed=1, stop=asyncio.Event())


def test_small_answers_are_not_held_back() -> None:
    """Only with its protocol named does asyncio switch Nagle's waiting off."""
    with listen_at("127.0.0.1:0") as bound:
        assert bound.proto == socket.IPPROTO_TCP
