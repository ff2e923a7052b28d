"""Made-up series for tests of forecasts, each from a seed."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats

START_S = 1_700_000_000.0
FULL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series on an even grid: time_s (T,), value (T,)."""

    time_s: Floats
    value: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A volume that fills up to FULL, seen until ``share`` of the fill is done."""

    series: Series
    full_s: float


def fill(seed: int, *, share: float, noise: float = 0.002) -> Fill:
    """One reading a second: flat for 20-30 s, then from 0.05 to full in 60-120 s."""
    rng = np.random.default_rng(seed)
    flat, lasts = int(rng.integers(20, 31)), int(rng.integers(60, 121))
    clean = 0.05 + 0.95 * np.clip((np.arange(flat + lasts + 1) - flat) / lasts, 0, 1)
    full = int(np.argmax(clean >= FULL))
    seen = flat + int(share * (full - flat))
    value = np.clip(clean[:seen] + rng.normal(0, noise, seen), 0, 1)
    return Fill(Series(START_S + np.arange(float(seen)), value), START_S + full)


def grid(length: int, step_s: float) -> Floats:
    return START_S + step_s * np.arange(length, dtype=np.float64)
