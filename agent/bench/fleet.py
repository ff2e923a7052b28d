"""The cycle's numeric work at fleet size: history, detectors, forecasts and warnings."""

from collections.abc import Iterator

import numpy as np

from agent.bench.timing import milliseconds, timed
from agent.history import History
from core.figures import Row
from core.target import Target
from core.types import Window

GPUS_A_NODE = 8
# Series that are forecast, some two seconds' worth: a larger fleet's take proportionally longer.
MOST_FORECAST = 4096
# Metrics whose (S, T) windows make up the fleet: one per GPU each.
GPU_METRICS = (
    "gpu_utilization_ratio",
    "gpu_memory_used_ratio",
    "gpu_temperature_celsius",
    "gpu_power_watts",
    "gpu_sm_clock_hz",
    "gpu_ecc_uncorrected_total",
)
STEP_S = 15.0
NOW_S = 1_700_000_000.0 - 1_700_000_000.0 % STEP_S


def fleet_windows(nodes: int, steps: int, *, seed: int = 0) -> Iterator[Window]:
    """Make ``steps`` readings of every GPU metric for a fleet, as plausible noise."""
    rng = np.random.default_rng(seed)
    targets = tuple(
        Target(node=f"node-{n:05d}", gpu=f"GPU-{n:05d}-{g}")
        for n in range(nodes)
        for g in range(GPUS_A_NODE)
    )
    time_s = NOW_S - STEP_S * np.arange(steps, dtype=np.float64)[::-1]
    level = {"ratio": 0.7, "°C": 62.0, "W": 520.0, "Hz": 1.7e9, "": 0.0}
    from core.units import CATALOG

    for metric in GPU_METRICS:
        centre = level[CATALOG[metric].unit]
        noise = rng.standard_normal((len(targets), steps), dtype=np.float64)
        value = (centre + 0.02 * centre * noise).astype(np.float64)
        yield Window(metric, targets, time_s, value)


def history_rows(nodes: int, *, runs: int) -> tuple[Row, ...]:
    """Measure one scrape merged into, and ten minutes read from, a fleet's history in memory."""
    history = History(None, step_s=STEP_S, span_s=3600.0)
    columns = list(fleet_windows(nodes, 41))
    series = sum(len(window.targets) for window in columns)
    for window in columns:
        history.merge(window, now_s=NOW_S)
    newest = [Window(w.metric, w.targets, w.time_s[-1:], w.value[:, -1:]) for w in columns]

    def merge() -> None:
        for window in newest:
            history.merge(window, now_s=NOW_S)

    def read() -> None:
        for window in columns:
            history.window(window.metric, start_s=NOW_S - 600.0, end_s=NOW_S)

    note = f"{series} series"
    return (
        milliseconds("history merge of one scrape", timed(merge, runs=runs), note=note),
        milliseconds("history window of 10 min", timed(read, runs=runs), note=note),
    )


def detect_rows(nodes: int, *, runs: int) -> tuple[Row, ...]:
    """Measure all detectors in a cycle: ten minutes of a fleet's readings, one of them new."""
    from detectors.detect import DetectSettings, detectors

    windows = {window.metric: window for window in fleet_windows(nodes, 41 + runs)}
    series = sum(len(window.targets) for window in windows.values())
    every = detectors(DetectSettings())
    ends = iter(range(41, 42 + runs))

    def look() -> None:
        end = next(ends)
        seen = {name: _until(window, end) for name, window in windows.items()}
        now_s = NOW_S - STEP_S * (41 + runs - end)
        for detector in every.values():
            detector.look(seen, topology=None, now_s=now_s)

    note = f"{series} series x 41 readings, the detectors that learn included"
    return (milliseconds("detect", timed(look, runs=runs), note=note),)


def _until(window: Window, end: int) -> Window:
    columns = slice(end - 41, end)
    return Window(window.metric, window.targets, window.time_s[columns], window.value[:, columns])


def forecast_rows(nodes: int, *, runs: int) -> tuple[Row, ...]:
    """Measure a refit's two parts over an hour of readings: all forecasts, and all warnings."""
    from core.units import CATALOG
    from detectors.forecast.fleet import forecast
    from detectors.forecast.task import ForecastTask
    from detectors.forecast.warning import Warnings, Watch

    window = next(w for w in fleet_windows(nodes, 240) if w.metric.endswith("ratio"))
    known = CATALOG[window.metric]
    some = slice(0, MOST_FORECAST)
    task = ForecastTask(
        metric=window.metric,
        targets=window.targets[some],
        time_s=window.time_s,
        value=window.value[some],
        horizon_s=7200.0,
        limit=0.98,
        low=known.low,
        high=known.high,
    )
    watch = Watch(forecast(task), task.value, STEP_S)
    note = f"{len(task.targets)} series x 240"
    return (
        milliseconds("forecast", timed(lambda: forecast(task), runs=runs), note=note),
        milliseconds("warning look", timed(lambda: Warnings().look(watch), runs=runs), note=note),
    )
