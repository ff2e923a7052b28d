"""A real Prometheus is read right: on the grid, over chunks, restarts, counter resets and gaps."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from agent.collect.host import HostReader
from agent.collect.labels import target_of, without_port
from agent.collect.prometheus import PrometheusSource, probe
from agent.collect.prometheus_parse import names_in
from agent.collect.prometheus_settings import PrometheusAccess
from agent.collect.reading import Reading, Snapshot
from agent.collect.replay import openmetrics
from agent.history import History, backfill
from agent.node import NodeService
from core.clock import RealClock
from core.counters import increase
from core.exporters import EXPRESSIONS, expressions
from core.ports import Query
from core.target import Target
from core.types import Window
from core.units import CATALOG
from tests.prometheus import Prometheus, Scrape, create_blocks, prometheus
from tests.test_node import serving

NODE = Target(node="n1")
GPU = Target(node="n1", gpu="GPU-1")
CLOCK = RealClock()


@dataclass(slots=True)
class Dial:
    """A reader whose values a test turns."""

    values: dict[str, float] = field(default_factory=dict)
    name: str = "dial"

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(
                Reading(metric, GPU if metric.startswith("gpu") else NODE, value)
                for metric, value in self.values.items()
            )
        )


def source_of(server: Prometheus, *metrics: str) -> PrometheusSource:
    access = PrometheusAccess(server.url, metrics=metrics, stale_after_s=5.0)
    return PrometheusSource(access, clock=CLOCK)


async def test_a_scraped_node_is_read_as_it_is(tmp_path: Path) -> None:
    """From /proc over a real scrape to windows; a counter grows by 4, restarts, and grows by 2."""
    dial = Dial({"gpu_temperature_celsius": 61.0})
    service = NodeService([HostReader("n1", clock=CLOCK), dial], clock=CLOCK)
    async with serving(service) as url:
        scrape = Scrape("nodes", (url.removeprefix("http://"),))
        async with prometheus(tmp_path, [scrape]) as server:
            began_s = CLOCK.now_s()
            for errors in (5.0, 9.0, 2.0):
                dial.values["gpu_pcie_replay_total"] = errors
                await server.until(f"gpumedic_gpu_pcie_replay_total == {errors}")
            source = source_of(server)
            await asyncio.sleep(1.1)  # the last scrape lies before a point of the grid

            given = await source.read(Query(tuple(CATALOG), began_s, CLOCK.now_s(), 1.0))
            found = await probe(PrometheusAccess(server.url), clock=CLOCK)

            await source.close()
    by_metric = {window.metric: window for window in given.windows}
    assert given.problems == ()
    assert by_metric["gpu_temperature_celsius"].targets == (GPU,)
    assert np.nanmax(by_metric["gpu_temperature_celsius"].value) == 61.0
    assert np.nansum(increase(by_metric["gpu_pcie_replay_total"]).value) == 6.0
    assert 0 < np.nanmax(by_metric["node_memory_used_ratio"].value) < 1
    assert by_metric["node_up"].targets == (Target(node="127.0.0.1"),)
    assert "volume_used_ratio" in by_metric
    assert found.found
    assert found.version
    assert "gpu_temperature_celsius" in found.metrics


async def test_a_node_that_goes_is_missing_soon_after(tmp_path: Path) -> None:
    """Prometheus would carry its last value on for five minutes where no scrape fails."""
    now_s = math.floor(CLOCK.now_s())
    time_s = np.arange(now_s - 60.0, now_s - 20, 1)
    window = Window("node_cpu_used_ratio", (NODE,), time_s, np.full((1, len(time_s)), 0.5))
    create_blocks(openmetrics([window]), tmp_path)
    async with prometheus(tmp_path) as server:
        source = source_of(server)

        given = await source.read(Query(("node_cpu_used_ratio",), now_s - 60.0, now_s, 1.0))

        await source.close()
    last_s = float(given.windows[0].time_s[-1])
    assert now_s - 21 <= last_s <= now_s - 21 + 5


@pytest.fixture(scope="module")
def recorded() -> Window:
    """A day and a half of two GPUs at 10 s, ending three hours ago: 12,960 points a series."""
    end = math.floor(CLOCK.now_s() / 10) - 1080
    time_s = np.arange(end - 12_959.0, end + 1) * 10
    targets = (GPU, Target(node="n2", gpu="GPU-2"))
    value = 40 + np.arange(2 * len(time_s)).reshape(2, -1) % 50 / 2.0
    value[1, 3000:3500] = np.nan
    return Window("gpu_temperature_celsius", targets, time_s, value)


@pytest.fixture
async def with_blocks(tmp_path: Path, recorded: Window) -> AsyncIterator[Prometheus]:
    """A Prometheus that holds ``recorded``."""
    create_blocks(openmetrics([recorded]), tmp_path)
    async with prometheus(tmp_path) as server:
        yield server


async def test_more_points_than_prometheus_allows_come_in_chunks(
    with_blocks: Prometheus, recorded: Window
) -> None:
    source = PrometheusSource(PrometheusAccess(with_blocks.url, stale_after_s=10.0), clock=CLOCK)
    start_s, end_s = float(recorded.time_s[0]), float(recorded.time_s[-1])

    window = (await source.read(Query((recorded.metric,), start_s, end_s, 10.0))).windows[0]

    await source.close()
    assert window.targets == recorded.targets
    np.testing.assert_array_equal(window.time_s, recorded.time_s)
    known = ~np.isnan(recorded.value)
    np.testing.assert_array_equal(window.value[known], recorded.value[known])
    # One point more at each gap's start is within the lookback of a step.
    assert np.count_nonzero(~np.isnan(window.value) & ~known) <= 1


async def test_the_history_is_filled_from_prometheus_where_it_has_gaps(
    with_blocks: Prometheus, recorded: Window, tmp_path: Path
) -> None:
    """A restart after an outage: what was kept stays, what was missed is fetched."""
    source = PrometheusSource(PrometheusAccess(with_blocks.url, stale_after_s=10.0), clock=CLOCK)
    now_s = float(recorded.time_s[-1])
    span_s = 3600.0
    history = History(tmp_path / "history", step_s=10.0, span_s=span_s)
    kept = recorded.time_s <= now_s - 1800
    before = Window(
        recorded.metric,
        recorded.targets,
        recorded.time_s[kept][-180:],
        recorded.value[:, kept][:, -180:],
    )
    history.merge(before, now_s=now_s)
    history.close()
    history = History(tmp_path / "history", step_s=10.0, span_s=span_s)
    missing = history.gaps(now_s - span_s, now_s)

    problems = await backfill(history, source, now_s, metrics=(recorded.metric,))

    await source.close()
    window = history.window(recorded.metric, start_s=now_s - span_s, end_s=now_s)
    assert problems == ()
    assert missing[-1] == (now_s - 1790, now_s)
    assert history.gaps(now_s - span_s, now_s) == ()
    np.testing.assert_allclose(window.value, recorded.value[:, -361:], rtol=1e-6)
    history.close()


def test_every_expression_names_metrics_that_exporters_have() -> None:
    """What is learnt from the list of names stands on this."""
    for metric, given in EXPRESSIONS.items():
        for expression in (*given, *expressions(metric)):
            names = names_in(expression)
            assert names
            assert all(name.startswith(("node_", "DCGM_", "gpumedic_", "up")) for name in names)


@pytest.mark.parametrize(
    ("instance", "node"),
    [
        ("n1:9100", "n1"),
        ("10.0.0.1:9100", "10.0.0.1"),
        ("[fe80::1]:9100", "fe80::1"),
        ("fe80::1", "fe80::1"),
        ("n1", "n1"),
        ("http://n1:9100", "http://n1:9100"),
    ],
)
def test_an_instance_is_read_without_its_port(instance: str, node: str) -> None:
    assert without_port(instance) == node


@pytest.mark.parametrize(
    ("metric", "labels", "target"),
    [
        (
            "gpu_temperature_celsius",
            {"Hostname": "n1", "UUID": "GPU-1", "device": "nvidia0", "gpu": "0", "job": "dcgm"},
            Target(node="n1", gpu="GPU-1"),
        ),
        (
            "volume_used_ratio",
            {"instance": "n1:9100", "device": "/dev/sda1", "mountpoint": "/"},
            Target(node="n1", volume="/"),
        ),
        (
            "port_up",
            {"instance": "n1:9100", "device": "mlx5_0", "port": "2"},
            Target(node="n1", port="mlx5_0:2"),
        ),
        ("job_queue_depth", {"job": "scrape", "job_id": "88"}, Target(job="88")),
        ("job_queue_depth", {"job": "scrape"}, None),
        ("gpu_temperature_celsius", {"Hostname": "n1"}, None),
        (
            "port_up",
            {"__name__": "gpumedic_port_up", "node": "n1", "port": "mlx5_0:1"},
            Target(node="n1", port="mlx5_0:1"),
        ),
    ],
)
def test_labels_name_their_target(
    metric: str, labels: dict[str, str], target: Target | None
) -> None:
    assert target_of(labels, metric) == target


def test_a_sites_own_label_comes_first() -> None:
    labels = {"instance": "10.0.0.1:9100", "machine": "n1"}

    assert target_of(labels, "node_cpu_used_ratio", extra={"node": "machine"}) == NODE
