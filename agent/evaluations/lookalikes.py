"""Generated series that look like a GPU cluster's, for measuring where nothing recorded is at hand.

Utilisation that changes regime, memory that ramps and is freed, and load with a daily wave.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agent.evaluations.recorded import Panel
from agent.evaluations.windows import Source
from core.types import Floats

SERIES = 12
DAY_STEPS = 1440
MINUTE_S = 60.0


def _regimes(_: Path) -> Panel:
    """Make busy and idle phases of an hour or so, bursty inside: one day of minutes."""
    rng = np.random.default_rng(1)
    level = np.stack([_steps(rng, mean_steps=90.0) for _ in range(SERIES)])
    burst = rng.random(level.shape) < 0.1
    value = np.clip(level + 0.05 * rng.standard_normal(level.shape) + 0.3 * burst, 0, 1)
    return _panel("L1", "gpu_utilization_ratio", np.where(level < 0.25, 0.2 * burst, value))


def _ramps(_: Path) -> Panel:
    """Make memory that grows at a pace of its own until it is freed: one day of minutes."""
    rng = np.random.default_rng(2)
    rate = rng.uniform(0.0, 0.002, (SERIES, 1))
    start = rng.uniform(0.1, 0.6, (SERIES, 1))
    grown = start + rate * np.arange(DAY_STEPS)
    wander = np.cumsum(0.002 * rng.standard_normal(grown.shape), axis=1)
    value = np.mod(grown + wander - 0.05, 0.9) + 0.05
    return _panel("L2", "node_memory_used_ratio", value)


def _waves(_: Path) -> Panel:
    """Make load that follows the day, with noise that lasts a few minutes: four days of minutes."""
    rng = np.random.default_rng(3)
    t = np.arange(4 * DAY_STEPS)
    phase, size = rng.uniform(0, 2 * np.pi, (SERIES, 1)), rng.uniform(0.2, 1, (SERIES, 1))
    wave = size * np.sin(2 * np.pi * t / DAY_STEPS + phase)
    noise = np.zeros((SERIES, len(t)))
    shock = 0.05 * rng.standard_normal(noise.shape)
    for step in range(1, len(t)):
        noise[:, step] = 0.95 * noise[:, step - 1] + shock[:, step]
    return _panel("L3", "job_queue_depth", 10.0 + 3.0 * (wave + noise))


def _steps(rng: np.random.Generator, *, mean_steps: float) -> Floats:
    """Return (DAY_STEPS,) levels between 0 and 1 that last a random while."""
    change = rng.random(DAY_STEPS) < 1 / mean_steps
    levels = rng.uniform(0, 1, int(change.sum()) + 1)
    return np.asarray(levels[np.cumsum(change)])


def _panel(name: str, metric: str, value: Floats) -> Panel:
    names = tuple(f"{name}-{row}" for row in range(len(value)))
    return Panel(name, metric, names, np.arange(value.shape[1], dtype=np.float64) * MINUTE_S, value)


LOOKALIKES: Mapping[str, Source] = {
    "L1": Source(_regimes, 480, 8),
    "L2": Source(_ramps, 480, 8),
    "L3": Source(_waves, 3 * DAY_STEPS, 6),
}
