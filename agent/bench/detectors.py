"""What looking for anomalies on every series of a fleet costs: CPU time, and memory it holds."""

import statistics
import time

import numpy as np

from core.figures import Row, at_most
from core.target import Target
from core.types import Window
from detectors.anomaly import AnomalySettings, scores
from detectors.anomaly.series import Series

STEP_S = 15.0
NOW_S = 1_700_000_000.0 - 1_700_000_000.0 % STEP_S
METRIC = "gpu_temperature_celsius"
COLUMNS = 8  # of noise, over and over
WARM_TICKS = 3
SETTLED_READINGS, SETTLED_SERIES = 3000, 100  # learned by a few, copied to all: ranks as in use
SECONDS_200K = 0.1
MIB = 2**20


def detector_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure a tick of scores, ranks and alarms on all series, windows made beforehand."""
    ticks = 9 if quick else 41
    small, large = _ticks(200_000, ticks), _ticks(250_000, ticks)
    held = sum(array.nbytes for array in scores.flat(scores.empty(1000)).values()) / 1000
    return (
        _row("score_cpu_s_250k", large, SECONDS_200K * 250 / 200),
        _row("score_cpu_s_200k", small, SECONDS_200K),
        Row("us_per_point", 1e6 * statistics.median(large) / 250_000, "us", n=ticks),
        Row("state_mib_250k", 250_000 * held / MIB, "MiB", note=f"{held:g} bytes a series"),
    )


def _row(metric: str, seconds: list[float], goal: float) -> Row:
    return at_most(
        metric,
        statistics.median(seconds),
        goal,
        unit="s",
        low=min(seconds),
        high=max(seconds),
        n=len(seconds),
        note="one reading of every series: score, rank, alarm, learn; low and high of the ticks",
    )


def _ticks(count: int, ticks: int) -> list[float]:
    """Return the CPU-seconds of each tick, after some that do not count."""
    rng = np.random.default_rng(0)
    noise = (60.0 + 2.0 * rng.standard_normal((COLUMNS, count))).astype(np.float64)
    targets = tuple(Target(node=f"node-{k // 8}", gpu=f"GPU-{k}") for k in range(count))
    series, seconds = Series(), []
    rate = AnomalySettings().false_alarms_per_day
    settled = _settled(rng)
    for tick in range(WARM_TICKS + ticks):
        if tick == 1:
            series.memory = scores.take(settled, np.arange(count) % SETTLED_SERIES)
        now_s = NOW_S + STEP_S * tick
        column = noise[tick % COLUMNS]
        window = Window(METRIC, targets, np.array([now_s]), column[:, None])
        started_s = time.process_time()
        series.learn(window, now_s=now_s, per_day=rate)
        seconds.append(time.process_time() - started_s)
    return seconds[WARM_TICKS:]


def _settled(rng: np.random.Generator) -> scores.Memory:
    memory = scores.empty(SETTLED_SERIES)
    for _ in range(SETTLED_READINGS):
        scores.surprise(60.0 + 2.0 * rng.standard_normal(SETTLED_SERIES), memory)
    return memory
