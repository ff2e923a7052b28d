"""Generated series with known anomalies, and ones in which nothing happens."""

import numpy as np

from agent.evaluations.nab import Scored
from core.types import Floats

READINGS = 4000
PERIOD = 288  # readings of a day at 5 minutes
PHI = (0.0, 0.6, 0.9, 0.97)  # of the autoregressive noise, by turns
LEVEL = 20.0  # sigmas
WINDOW = (10, 100)  # readings before and behind the beginning of an anomaly
KINDS = ("spike", "plateau", "step", "spread", "stuck")


def odd(series: int, *, seed: int) -> list[Scored]:
    """Make series with two anomalies each: every kind by turns, on every kind of noise."""
    return [_odd(k, np.random.default_rng((seed, k))) for k in range(series)]


def clean(series: int, *, days: float, step_s: float, seed: int) -> tuple[Floats, Floats]:
    """Make (S, T) noise around a level, and its times: nothing in it is an anomaly."""
    rng = np.random.default_rng(seed)
    time_s: Floats = step_s * np.arange(int(days * 86_400.0 / step_s), dtype=np.float64)
    phi = np.resize(np.array(PHI), series)
    value = np.empty((series, len(time_s)))
    now = rng.standard_normal(series)
    heavy = np.arange(series) % 3 == 1
    for column in range(len(time_s)):
        shock = np.where(
            heavy, rng.standard_t(5, series) / np.sqrt(5 / 3), rng.standard_normal(series)
        )
        now = phi * now + np.sqrt(1 - phi**2) * shock
        value[:, column] = LEVEL + now
    return value, time_s


def _odd(k: int, rng: np.random.Generator) -> Scored:
    time = np.arange(READINGS)
    shock = rng.standard_t(3, READINGS) if k % 3 == 1 else rng.standard_normal(READINGS)
    noise = np.zeros(READINGS)
    for t in range(1, READINGS):
        noise[t] = PHI[k % len(PHI)] * noise[t - 1] + shock[t]
    value = noise / noise.std()
    if k % 2:
        value += 1.5 * np.sin(2 * np.pi * time / PERIOD + k)
    value += LEVEL
    windows = []
    for half in range(2):
        begin = int(rng.integers(1000 + 1500 * half, 2200 + 1500 * half))
        _spoil(value, begin, KINDS[(2 * k + half) % len(KINDS)], rng)
        windows.append((begin - WINDOW[0], begin + WINDOW[1]))
    return Scored(value, tuple(windows))


def _spoil(value: Floats, begin: int, kind: str, rng: np.random.Generator) -> None:
    sign = float(rng.choice((-1.0, 1.0)))
    match kind:
        case "spike":
            value[begin : begin + 3] += 6 * sign
        case "plateau":
            value[begin : begin + 200] += 4 * sign
        case "step":
            value[begin:] += 4 * sign
        case "spread":
            value[begin : begin + 150] = LEVEL + 3 * (value[begin : begin + 150] - LEVEL)
        case _:
            value[begin : begin + 100] = value[begin]
