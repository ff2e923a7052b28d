"""Readings that are made by a known graph, for tests of learning and falsifying it."""

from collections.abc import Mapping

import numpy as np

from core.target import Target
from core.types import Floats, Window
from rca.graph.templates import Join, Template

STEP_S = 15.0
NODES, EACH = 3, 4
GPUS = tuple(
    Target(node=f"n{node}", gpu=f"g{node}{gpu}") for node in range(NODES) for gpu in range(EACH)
)
HOSTS = tuple(Target(node=f"n{node}") for node in range(NODES))
# What makes the readings: heat of power and air, clocks held back by heat.
TRUE = (
    Template("gpu_power_watts", "gpu_temperature_celsius", Join.GPU, lag_s=30.0),
    Template("node_inlet_temperature_celsius", "gpu_temperature_celsius", Join.NODE, lag_s=30.0),
    Template("gpu_temperature_celsius", "gpu_throttle_ratio", Join.GPU, lag_s=30.0),
    Template("gpu_throttle_ratio", "gpu_sm_clock_hz", Join.GPU, -1),
)


def wander(rng: np.random.Generator, rows: int, length: int) -> Floats:
    """(rows, length) readings that keep most of what they were."""
    value, news = np.zeros((rows, length)), rng.normal(size=(rows, length))
    for at in range(1, length):
        value[:, at] = 0.9 * value[:, at - 1] + news[:, at]
    return value


def later(value: Floats, by: int) -> Floats:
    return np.concatenate([np.zeros((len(value), by)), value[:, : value.shape[1] - by]], axis=1)


def made(seed: int, *, length: int = 480, hidden: float = 0.0) -> Mapping[str, Window]:
    """Return what TRUE makes, and a processor load that moves temperatures by ``hidden``."""
    rng = np.random.default_rng(seed)
    power, air = wander(rng, len(GPUS), length), wander(rng, NODES, length)
    load = wander(rng, NODES, length)
    shared = np.repeat(later(air, 1) + hidden * later(load, 2), EACH, axis=0)
    heat = 0.8 * later(power, 1) + shared + rng.normal(0, 0.7, power.shape)
    throttle = 0.6 * later(heat, 1) + rng.normal(0, 0.7, power.shape)
    clock = -0.9 * throttle + rng.normal(0, 0.7, power.shape)
    return windows(
        {
            "gpu_power_watts": 600 + 20 * power,
            "gpu_temperature_celsius": 60 + heat,
            "gpu_throttle_ratio": 0.2 + 0.01 * throttle,
            "gpu_sm_clock_hz": 1.9e9 + 1e7 * clock,
            "node_inlet_temperature_celsius": 25 + air,
            "node_cpu_used_ratio": 0.4 + 0.01 * load,
        }
    )


def windows(value: Mapping[str, Floats]) -> Mapping[str, Window]:
    """Return windows on one grid: as many rows as there are GPUs or nodes."""
    length = next(iter(value.values())).shape[1]
    time_s: Floats = 1.7e9 + STEP_S * np.arange(length, dtype=np.float64)
    return {
        name: Window(name, GPUS if len(rows) == len(GPUS) else HOSTS, time_s, rows)
        for name, rows in value.items()
    }
