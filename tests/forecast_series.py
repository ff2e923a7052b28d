"""Made-up series for tests of forecasts: fills, walks and days, each from a seed."""

from dataclasses import dataclass

import numpy as np

from core.target import Target
from core.types import Floats
from core.units import Bad
from detectors.forecast.forecaster import ForecastTask, Series

START_S = 1_700_000_000.0
FULL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A volume that fills up to FULL, seen until ``share`` of the fill is done."""

    series: Series
    full_s: float

    @property
    def left_s(self) -> float:
        """Return the seconds from the newest reading until the volume is full."""
        return self.full_s - float(self.series.time_s[-1])


def fill(seed: int, *, share: float, shape: str = "linear", noise: float = 0.002) -> Fill:
    """One reading a second: flat for 20-30 s, then from 0.05 to full in 60-120 s."""
    rng = np.random.default_rng(seed)
    flat, lasts = int(rng.integers(20, 31)), int(rng.integers(60, 121))
    clean = 0.05 + 0.95 * _shaped(
        np.clip((np.arange(flat + lasts + 1) - flat) / lasts, 0, 1), shape
    )
    full = int(np.argmax(clean >= FULL))
    seen = flat + int(share * (full - flat))
    value = np.clip(clean[:seen] + rng.normal(0, noise, seen), 0, 1)
    return Fill(Series(START_S + np.arange(float(seen)), value), START_S + full)


def grid(length: int, step_s: float) -> Floats:
    return START_S + step_s * np.arange(length, dtype=np.float64)


def series(value: Floats, *, step_s: float = 15.0) -> Series:
    return Series(grid(len(value), step_s), value)


def _shaped(done: Floats, shape: str) -> Floats:
    match shape:
        case "log":
            return np.asarray(np.log1p(9 * done) / np.log(10))
        case "bursts":
            return np.asarray(np.floor(done * 10) / 10)
        case _:
            return done


def walk(seed: int, length: int = 240, *, step: float = 0.004) -> Series:
    rng = np.random.default_rng(seed)
    value = 0.5 + np.cumsum(rng.normal(0, step, length))
    return series(value, step_s=60.0)


def days(seed: int, count: float, *, noise: float = 0.02) -> Series:
    """A daily wave at five-minute steps between 0.2 and 0.8."""
    time_s = grid(int(288 * count), 300.0)
    wave = 0.5 + 0.3 * np.sin(2 * np.pi * time_s / 86_400)
    return Series(time_s, wave + np.random.default_rng(seed).normal(0, noise, len(time_s)))


def task(
    given: Series, *, horizon_s: float = 7200.0, limit: float = FULL, bad: Bad = Bad.HIGH
) -> ForecastTask:
    return ForecastTask(
        metric="volume_used_ratio",
        targets=(Target(node="node-1", volume="/scratch"),),
        time_s=given.time_s,
        value=given.value[None],
        horizon_s=horizon_s,
        limit=limit,
        bad=bad,
        low=0.0,
        high=1.0,
    )
