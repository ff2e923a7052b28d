"""Forecasts in the worker pool: series a second, and how well known series are met."""

import asyncio
import statistics
import time

import numpy as np

from agent.workers import WorkerPool
from core.figures import Row, at_most
from core.target import Target
from core.types import Floats
from detectors.forecast.forecaster import ForecastTask, SeriesForecast

FIT = "detectors.forecast.fit:forecast"
READINGS = 480
STEP_S = 60.0
LIMIT = 0.95


def forecast_rows(*, series: int) -> tuple[Row, ...]:
    """Fit and back-test ``series`` filling volumes; report the speed and the error of the date."""
    return asyncio.run(_measure(series))


async def _measure(series: int) -> tuple[Row, ...]:
    time_s = STEP_S * np.arange(READINGS, dtype=np.float64)
    value, truth_s = _fills(series, time_s)
    async with WorkerPool(1, time_limit_s=300.0, memory_bytes=2 << 30) as pool:
        await pool.run(FIT, _task(time_s, value[:1]))
        seconds, errors = [], []
        for row in range(series):
            started_s = time.perf_counter()
            (fitted,) = await pool.run(FIT, _task(time_s, value[row : row + 1]))
            seconds.append(time.perf_counter() - started_s)
            errors.append(_error(fitted, truth_s[row], float(time_s[-1])))
    return (
        Row(
            "series forecast and back-tested a second",
            1.0 / statistics.median(seconds),
            "1/s",
            low=1.0 / max(seconds),
            high=1.0 / min(seconds),
            n=series,
            note=f"{READINGS} readings, one worker, Prophet",
        ),
        at_most(
            "error of the date a filling volume is full",
            statistics.median(errors),
            0.2,
            unit="of the time left",
            low=min(errors),
            high=max(errors),
            n=series,
            note="linear fills with noise, half of the fill seen",
        ),
    )


def _fills(series: int, time_s: Floats) -> tuple[Floats, Floats]:
    """Make fills that are half done at the end: (series, T) values, (series,) time at the limit."""
    rng = np.random.default_rng(0)
    start_s = rng.uniform(0.3, 0.6, (series, 1)) * time_s[-1]
    rate = (LIMIT - 0.2) / 2 / (time_s[-1] - start_s)
    clean = 0.2 + rate * np.maximum(0.0, time_s - start_s)
    full_s = start_s[:, 0] + (LIMIT - 0.2) / rate[:, 0]
    return clean + 0.002 * rng.standard_normal(clean.shape), full_s


def _task(time_s: Floats, value: Floats) -> ForecastTask:
    targets = (Target(node="bench", volume="/scratch"),)
    return ForecastTask(
        "volume_used_ratio", targets, time_s, value, horizon_s=6 * 3600.0, limit=LIMIT, high=1.0
    )


def _error(fitted: object, truth_s: float, now_s: float) -> float:
    if not isinstance(fitted, SeriesForecast) or fitted.crossing is None:
        return float("inf")
    return abs(fitted.crossing.expected_s - truth_s) / (truth_s - now_s)
