"""The controller's own Prometheus client reads a served cluster as the port reads it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path

import httpx2
import numpy as np
import pytest

from agent.collect.prometheus import PrometheusSource, probe
from agent.collect.prometheus_settings import PrometheusAccess
from agent.history import History, backfill
from core.clock import ManualClock
from core.ports import Query
from core.target import Target
from core.types import Floats, Window
from core.units import CATALOG
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec
from sim.telemetry import METRICS
from sim.world import World
from tests.lab import INSIDE, fetch, served, transport_to

STEP_S = 15.0
# A share of time is read from a counter, so as its mean over the last two minutes.
MEANS = {
    "node_cpu_used_ratio", "node_pressure_cpu_ratio", "node_pressure_memory_ratio",
    "node_pressure_io_ratio", "gpu_throttle_ratio",
}  # fmt: skip
OVER = 8  # readings of two minutes
FAULTS = (
    FaultSpec("gpu_fallen_off_bus", Target(node="node-03", gpu="5"), onset_s=120),
    FaultSpec("cooling_degraded", Target(node="node-13"), onset_s=60),
)


@pytest.fixture
def cluster(clock: ManualClock) -> SimulatedCluster:
    script = replace(scenario("quiet"), faults=FAULTS, history_s=7200.0)
    world = World.build(script.starting_at(clock.now_s()), seed=3)
    world.advance(clock.now_s() + 900)
    return SimulatedCluster(world, clock=ManualClock(clock.now_s() + 900))


def rows(windows: tuple[Window, ...], metric: str) -> Mapping[Target, Mapping[float, float]]:
    """Return each target's readings by time, without the gaps and the targets that have none."""
    found = [window for window in windows if window.metric == metric]
    by_target = {
        target: {at: v for at, v in zip(w.time_s.tolist(), row, strict=True) if not isnan(v)}
        for w in found
        for target, row in zip(w.targets, w.value.tolist(), strict=True)
    }
    return {target: row for target, row in by_target.items() if row}


def mean_before(row: Mapping[float, float], at_s: float) -> float | None:
    """Return the mean of the eight readings up to a time.

    None where one of them, or the one that the counter is compared with, is missing.
    """
    values = [row.get(at_s - k * STEP_S) for k in range(OVER + 1)]
    known: list[float] = [value for value in values if value is not None]
    return sum(known[:OVER]) / OVER if len(known) > OVER else None


async def test_the_client_reads_what_the_port_gives(
    cluster: SimulatedCluster, tmp_path: Path
) -> None:
    now_s = cluster.world.now_s
    query = Query(tuple(CATALOG), now_s - 1200, now_s, STEP_S)
    port = (await cluster.read(query)).windows
    async with served(cluster, tmp_path) as (url, _):
        source = PrometheusSource(PrometheusAccess(url), clock=ManualClock(now_s))
        got = await source.read(query)
        await source.close()

    assert [p for p in got.problems if p.code != "clock_skew"] == []
    assert {w.metric for w in got.windows} == {w.metric for w in port}
    for metric in METRICS:
        theirs, ours = rows(port, metric), rows(got.windows, metric)
        assert ours.keys() == theirs.keys(), metric
        for target, row in ours.items():
            assert_same(metric, row, theirs[target])


def assert_same(metric: str, ours: Mapping[float, float], theirs: Mapping[float, float]) -> None:
    if metric in MEANS:
        pairs = [(ours.get(at), mean_before(theirs, at)) for at in theirs]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        assert len(both) > 0.5 * len(theirs)
    elif metric == "node_up":  # a scrape that failed is 0 there, and no reading at the port
        both = [(ours[at], up) for at, up in theirs.items()]
        assert all(up == 0 for at, up in ours.items() if at not in theirs)
    else:
        assert ours.keys() == theirs.keys(), metric
        both = [(ours[at], value) for at, value in theirs.items()]
    one, other = (np.array(side) for side in zip(*both, strict=True))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=metric)


async def test_a_day_is_filled_in_with_no_prometheus(clock: ManualClock, tmp_path: Path) -> None:
    world = World.build(scenario("quiet").starting_at(clock.now_s()), seed=1)
    cluster = SimulatedCluster(world, clock=clock)
    history = History(tmp_path / "history", step_s=60.0, span_s=86400.0)
    metrics = ("gpu_temperature_celsius", "node_cpu_used_ratio")
    async with served(cluster, tmp_path) as (url, _):
        source = PrometheusSource(PrometheusAccess(url, timeout_s=60.0), clock=clock)
        await backfill(history, source, clock.now_s(), metrics=metrics, span_s=86400.0)
        await source.close()

    for metric, series in zip(metrics, (128, 16), strict=True):
        window = history.window(metric, start_s=clock.now_s() - 86400, end_s=clock.now_s())
        filled: Floats = np.isfinite(window.value)
        assert len(window.targets) == series
        assert filled.mean() > 0.97
    history.close()


async def test_a_large_query_holds_nobody_up(cluster: SimulatedCluster) -> None:
    """It is answered aside, with what several small ones are answered."""
    start_s = cluster.world.now_s - 7200
    done: list[str] = []

    async def asked(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
        answer = await client.get(path)
        done.append(path)
        return answer

    def between(first: int, last: int) -> str:
        times = f"start={start_s + first * STEP_S}&end={start_s + last * STEP_S}&step={STEP_S}"
        return f"/api/v1/query_range?query=node_cpu_seconds_total&{times}"

    large, state = between(0, 400), "/scheduler/v1/state"
    async with httpx2.AsyncClient(transport=transport_to(cluster), base_url=INSIDE) as client:
        whole, _ = await asyncio.gather(asked(client, large), asked(client, state))
        parts = [await client.get(between(*ends)) for ends in ((0, 200), (201, 400))]

    assert done == [state, large]
    assert series(whole) == {
        key: values + series(parts[1])[key] for key, values in series(parts[0]).items()
    }


def series(answer: httpx2.Response) -> dict[str, list[list[object]]]:
    """Return the values of each series by its labels."""
    return {
        json.dumps(one["metric"], sort_keys=True): one["values"]
        for one in answer.json()["data"]["result"]
    }


async def test_it_says_what_it_is(cluster: SimulatedCluster, tmp_path: Path) -> None:
    async with served(cluster, tmp_path) as (url, _):
        found = await probe(PrometheusAccess(url), clock=ManualClock())

    assert found.found
    assert found.version == "2.42.0"
    assert set(METRICS) <= set(found.metrics)


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("1 + 2 * 3 - 4 / 2", [5.0]),
        ("count(up)", [32.0]),
        ('count(up{job="node-exporter"} == bool 1)', [16.0]),
        ("count by (job) (up)", [16.0, 16.0]),
        ('count(DCGM_FI_DEV_GPU_TEMP{Hostname=~"node-0[01]"})', [16.0]),
        ('count(DCGM_FI_DEV_GPU_TEMP{Hostname!~"node-0.*",gpu!="7"})', [42.0]),
        ("count(DCGM_FI_DEV_GPU_UTIL > 200)", []),
        ("max(node_memory_SwapTotal_bytes) <= 5", [0.0]),
        ("sum(DCGM_FI_DEV_GPU_TEMP and DCGM_FI_DEV_GPU_TEMP) / sum(DCGM_FI_DEV_GPU_TEMP)", [1.0]),
        ("-max(gpumedic_job_step_time_s) < 0 and nothing_of_that_name", []),
    ],
)
async def test_an_expression_has_its_value(
    clock: ManualClock, query: str, values: list[float]
) -> None:
    world = World.build(replace(scenario("quiet"), history_s=600.0), seed=1)
    cluster = SimulatedCluster(world, clock=ManualClock(world.now_s))
    (answer,) = await fetch(cluster, f"/api/v1/query?query={query.replace('+', '%2B')}")

    assert answer.is_success, answer.text
    result = answer.json()["data"]["result"]
    assert [float(series["value"][1]) for series in result] == values


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("query?query=sum(", "unexpected 'end of input'"),
        ("query?query=a{b=}", "expected a label matcher"),
        ("query?query=a{b=~'('}", "error parsing regexp"),
        ("query?query=histogram_quantile(0.9, a)", "unknown function"),
        ("query?query=rate(a)", "expected type range vector"),
        ("query?query=a[5m]", "range vector"),
        ("query?query=a $ b", "unexpected character"),
        ("query?query=a / on (b) c", "not spoken here"),
        ("query?query=" + "(" * 200, "nested too deep"),
        ("query?query=up&time=yesterday", 'invalid parameter "time"'),
        ("query_range?query=up&start=0&end=60&step=0", 'invalid parameter "step"'),
        ("query_range?query=up&start=60&end=0&step=15", "end timestamp"),
        ("query_range?query=up&start=0&end=1e9&step=1", "maximum resolution of 11,000"),
        ("query_range?query=up&end=60&step=15", 'invalid parameter "start"'),
    ],
)
async def test_what_is_not_spoken_is_refused_as_prometheus_does(
    cluster: SimulatedCluster, path: str, error: str
) -> None:
    (answer,) = await fetch(cluster, f"/api/v1/{path}")

    assert answer.status_code == 400
    assert (answer.json()["status"], answer.json()["errorType"]) == ("error", "bad_data")
    assert error in answer.json()["error"]


async def test_a_path_that_is_not_served_is_named(cluster: SimulatedCluster) -> None:
    (answer,) = await fetch(cluster, "/api/v1/targets")

    assert answer.status_code == 404
    assert "/api/v1/targets" in answer.json()["error"]
