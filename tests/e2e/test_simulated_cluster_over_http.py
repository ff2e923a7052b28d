"""A real Prometheus scrapes a simulated cluster, and the unchanged controller heals it over HTTP.

The cluster's time goes faster than the wall's, or healing would take minutes. Its samples bear its
own time; a Prometheus takes those of the hour before its own, so the cluster begins that far back
and catches up while the test lasts.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent.access import TOKEN_FILE
from agent.act.http import ClusterAccess, HttpCluster
from agent.assembly import Assembly, Inputs, assemble
from agent.collect.prometheus import PrometheusSource
from agent.collect.prometheus_settings import PrometheusAccess
from agent.config import Settings
from core.clock import RealClock, ScaledClock
from core.cluster import ClusterState, JobPhase, NodeCondition
from core.codec import from_json
from core.ports import Query
from core.target import Target
from core.types import OutcomeStatus, PlanState
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec, Scenario
from sim.scenario_file import to_toml
from sim.world import World
from tests.e2e.running import Running, gpumedic, until
from tests.lab import served
from tests.prometheus import Prometheus, prometheus
from tests.real import free_port

SPEED = 20.0
# Less than the hour that Prometheus takes samples late.
BACK_S = 50 * 60.0
BROKEN = "node-03"
# The controller needs some readings to know what is normal before that.
FAULT = FaultSpec("gpu_fallen_off_bus", Target(node=BROKEN, gpu="5"), onset_s=240)
DEADLINE_S = 120.0
# Times that are no exporter's tick; a busy machine misses scrapes, each time of other nodes.
AGO_S = (67.0, 202.0, 337.0, 472.0)
# One for each thing that is spoken here.
QUERIES = (
    'rate(node_cpu_seconds_total{mode="idle"}[2m])',
    'avg without (cpu, mode) (rate(node_cpu_seconds_total{mode!="idle"}[100s]))',
    "max by (Hostname) (last_over_time(DCGM_FI_DEV_GPU_TEMP[1m])) > 40",
    "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE) * 100",
    "node_filefd_maximum == bool 3 and node_filefd_maximum",
)
CONFIG = """
state_dir = "{folder}/state"
cycle = {{interval = "1s", refit = "1m"}}
history = {{step = "5s", span = "4h"}}
prometheus = {{url = "{url}"}}
scheduler = {{url = "{url}", token_file = "{folder}/lab/token"}}
guards = {{max_ratio_out = 0.25, min_probability = 0.3}}
policy = {{use = "runbook"}}  # the twin finds a save and a swap about as good

[[autonomy]]
mode = "auto"
"""
SAMPLES = {
    "DCGM_FI_DEV_GPU_TEMP": "gpu_temperature_celsius",
    "DCGM_FI_DEV_POWER_USAGE": "gpu_power_watts",
}


def script(start_s: float) -> Scenario:
    return replace(scenario("quiet"), faults=(FAULT,), history_s=3600.0).starting_at(start_s)


@contextlib.asynccontextmanager
async def controller(
    folder: Path, url: str, server: Prometheus, clock: ScaledClock
) -> AsyncIterator[Assembly]:
    """Run the controller as ``gpumedic controller`` does, but on the cluster's clock."""
    chosen: dict[str, Any] = {
        "cluster": "lab",
        "state_dir": folder / "state",
        "server": {"listen": f"127.0.0.1:{free_port()}"},
        "history": {"span": "1h"},
        "forecast": {"horizon": "15m"},
        "diagnose": {"normal_span": "30m"},
        "guards": {"max_ratio_out": 0.25},
        "autonomy": [{"mode": "auto"}],
        "cycle": {"refit": "1h"},
    }
    access = ClusterAccess(url, token_file=folder / "lab" / TOKEN_FILE)
    cluster = HttpCluster(access, clock=clock)
    source = PrometheusSource(PrometheusAccess(server.url), clock=clock)
    inputs = Inputs(sources=(source,), event_sources=(cluster,), cluster=cluster)
    app = await assemble(Settings(**chosen), inputs, clock=clock, speed=SPEED)
    running = asyncio.create_task(app.service(duration_s=DEADLINE_S).run())
    try:
        yield app
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await source.close()
        await cluster.close()


async def test_what_a_real_prometheus_scrapes_is_diagnosed_swapped_and_proven_healed(
    tmp_path: Path,
) -> None:
    clock = ScaledClock(start_s=RealClock().now_s() - BACK_S, speed=SPEED)
    world = World.build(script(clock.now_s()), seed=1)
    cluster = SimulatedCluster(world, clock=clock)
    async with (
        served(cluster, tmp_path, stamped=True) as (url, _),
        prometheus(tmp_path, settings=await settings_of(url)) as server,
        controller(tmp_path, url, server, clock) as app,
    ):
        await until(lambda: healed(app), what="a plan that helped", deadline_s=DEADLINE_S)
        assert_healed(app, world)
        await assert_scraped_as_it_was(server, cluster)
        await assert_both_answer_alike(server, url, now_s=world.now_s)


async def settings_of(url: str) -> str:
    """Return the settings that the cluster itself offers; scrapes twice as often as it collects."""
    every_ms = round(15 / SPEED / 2 * 1000)
    async with httpx2.AsyncClient() as client:
        return (await client.get(f"{url}/prometheus.yml?every={every_ms}ms")).text


def healed(app: Assembly) -> bool:
    return any(record.state is PlanState.DONE for record in app.controller.heal.recent())


def assert_healed(app: Assembly, world: World) -> None:
    """The one cause is named, the node swapped for a spare, and its job runs on."""
    record = next(r for r in app.controller.heal.recent() if r.state is PlanState.DONE)
    assert record.plan.cause.fault == "gpu_fallen_off_bus"
    assert record.plan.cause.target.node == BROKEN
    done = [o.action.kind for o in record.outcomes if o.status is OutcomeStatus.SUCCEEDED]
    assert "swap_node" in done
    state = world.state()
    job, node = state.job("llm-70b"), state.node(BROKEN)
    assert job is not None
    assert node is not None
    assert (job.phase, BROKEN in job.nodes) == (JobPhase.RUNNING, False)
    assert (node.condition, node.owner) == (NodeCondition.DRAINED, "gpumedic")


async def assert_scraped_as_it_was(server: Prometheus, cluster: SimulatedCluster) -> None:
    """Each sample that went through a page and a scrape is the port's own, to the last digit."""
    end_s = cluster.world.now_s - 60
    for name, metric in SAMPLES.items():
        answer = {"query": f"{name}[3m]", "time": f"{end_s:.3f}"}
        async with httpx2.AsyncClient() as client:
            found = (await client.get(f"{server.url}/api/v1/query", params=answer)).json()
        samples = {
            (series["metric"]["UUID"], float(at)): float(value)
            for series in found["data"]["result"]
            for at, value in series["values"]
        }
        (window,) = (await cluster.read(Query((metric,), end_s - 180, end_s, 15.0))).windows
        port = {
            (target.gpu, at): value
            for target, row in zip(window.targets, window.value.tolist(), strict=True)
            for at, value in zip(window.time_s.tolist(), row, strict=True)
        }
        assert len(samples) > 0.5 * len(port), name
        assert samples == {at: port[at] for at in samples}, name


async def assert_both_answer_alike(server: Prometheus, url: str, *, now_s: float) -> None:
    """The cluster's own answers are Prometheus', wherever no scrape was missed."""
    for query in QUERIES:
        seen, alike = set[str](), set[str]()
        for back_s in AGO_S:
            theirs, ours = [
                await answered(base, query, now_s - back_s) for base in (server.url, url)
            ]
            seen |= theirs.keys()
            alike |= {each for each in theirs if ours.get(each) == pytest.approx(theirs[each])}
        assert seen, query
        assert len(alike) > 0.8 * len(seen), query


async def answered(base: str, query: str, at_s: float) -> dict[str, float]:
    """Return what a query comes to, by series."""
    async with httpx2.AsyncClient() as client:
        given = {"query": query, "time": f"{at_s:.3f}"}
        found = (await client.get(f"{base}/api/v1/query", params=given)).json()
    assert found["status"] == "success", found
    return {
        json.dumps(series["metric"], sort_keys=True): float(series["value"][1])
        for series in found["data"]["result"]
    }


async def test_two_processes_break_a_cluster_and_take_the_broken_node_out(tmp_path: Path) -> None:
    """With no Prometheus at all: the cluster answers its queries itself, at the time of day."""
    path = tmp_path / "broken.toml"
    fault = replace(FAULT, onset_s=30.0)
    path.write_text(to_toml(replace(script(0.0), faults=(fault,), history_s=900.0)))
    words = ("lab", str(path), "--every", "5s", "--token-folder", str(tmp_path / "lab"))
    async with gpumedic(*words, folder=tmp_path) as lab:
        await until(lambda: answers(lab), what="the cluster")
        config = tmp_path / "gpumedic.toml"
        config.write_text(CONFIG.format(folder=tmp_path, url=lab.url))
        async with gpumedic("controller", "--config", str(config), folder=tmp_path) as app:
            await until(lambda: swapped(lab), what="the broken node is out", deadline_s=DEADLINE_S)
            (record,) = (await app.get("/v1/plans"))["plans"]
            status = await app.get("/v1/status")

    assert record["plan"]["cause"]["fault"] == "gpu_fallen_off_bus"
    assert record["plan"]["cause"]["target"]["node"] == BROKEN
    assert len(status["nodes"]) == 16


async def answers(lab: Running) -> bool:
    assert lab.process.poll() is None, lab.said()
    with contextlib.suppress(OSError):
        return bool(await lab.get("/sd/node-exporter"))
    return False


async def swapped(lab: Running) -> bool:
    """Say whether the scheduler has the node out by our hand, and its job elsewhere."""
    state = from_json(ClusterState, await lab.get("/scheduler/v1/state"))
    job = state.job("llm-70b")
    out = [node.name for node in state.out_by("gpumedic")]
    return out == [BROKEN] and job is not None and BROKEN not in job.nodes
