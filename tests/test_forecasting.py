"""Of thousands of series those most at risk get the fits, shared among the metrics."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from agent.forecasting import BATCH, PART, Forecasting, ForecastSettings
from agent.history import History
from agent.metrics import Metrics
from core.clock import ManualClock
from core.target import Target
from core.types import Floats, Window
from detectors.forecast.forecaster import ForecastTask

STEP_S, SPAN_S = 60.0, 7200.0
MEMORY, VOLUME = "node_memory_used_ratio", "volume_used_ratio"
SERIES = 2 * PART + 100
SETTINGS = ForecastSettings(
    horizon_s=3600.0,
    coverage=0.8,
    min_probability=0.7,
    sustain_s=60.0,
    max_fits=12,
    span_s=SPAN_S,
    limits={},
)


@dataclass
class NotedPool:
    """Workers that note what they are asked and know no answer."""

    asked: list[ForecastTask] = field(default_factory=list)

    async def run(self, function: str, argument: Any) -> tuple[()]:
        self.asked.append(argument)
        return ()


@pytest.fixture
def pool() -> NotedPool:
    return NotedPool()


def forecasting(pool: NotedPool, clock: ManualClock, *windows: Window) -> Forecasting:
    history = History(None, step_s=STEP_S, span_s=SPAN_S)
    for window in windows:
        history.merge(window, now_s=clock.now_s())
    metrics = Metrics(version="0", mode="test")
    return Forecasting(history, pool, SETTINGS, metrics, clock)  # type: ignore[arg-type]


def climbing(metric: str, targets: list[Target], slopes: dict[int, float], now_s: float) -> Window:
    """Return steady series at 0.5, some of which climb by a slope an hour."""
    time_s: Floats = (now_s // STEP_S + np.arange(-100.0, 1.0)) * STEP_S
    value = np.full((len(targets), len(time_s)), 0.5)
    for row, slope in slopes.items():
        value[row] += slope * (time_s - time_s[0]) / 3600
    return Window(metric, tuple(targets), time_s, value)


async def test_the_most_urgent_of_all_parts_come_first(pool: NotedPool, clock: ManualClock) -> None:
    """Series are looked at part by part; which part one is in makes no difference."""
    nodes = [Target(node=f"node-{number}") for number in range(SERIES)]
    slopes = {7: 0.20, PART + 3: 0.24, SERIES - 1: 0.22}
    given = forecasting(pool, clock, climbing(MEMORY, nodes, slopes, clock.now_s()))

    await given.refit(clock.now_s())

    (task,) = pool.asked
    assert task.targets == (nodes[PART + 3], nodes[SERIES - 1], nodes[7])
    assert np.isfinite(task.value).sum(axis=1).tolist() == [101] * 3


async def test_the_fits_are_shared_among_the_metrics(pool: NotedPool, clock: ManualClock) -> None:
    nodes = [Target(node=f"node-{number}") for number in range(40)]
    volumes = [Target(node="node-0", volume=f"/{number}") for number in range(3)]
    climbs = dict.fromkeys(range(40), 0.24)
    given = forecasting(
        pool,
        clock,
        climbing(MEMORY, nodes, climbs, clock.now_s()),
        climbing(VOLUME, volumes, dict.fromkeys(range(3), 0.24), clock.now_s()),
    )

    await given.refit(clock.now_s())

    fits = dict.fromkeys((MEMORY, VOLUME), 0)
    for task in pool.asked:
        fits[task.metric] += len(task.targets)
        assert len(task.targets) <= BATCH
    assert fits == {MEMORY: SETTINGS.max_fits - 3, VOLUME: 3}


async def test_a_history_without_series_is_forecast_too(
    pool: NotedPool, clock: ManualClock
) -> None:
    given = forecasting(pool, clock)

    await given.refit(clock.now_s())

    assert pool.asked == []
    assert given.breaches(clock.now_s()) == ()
