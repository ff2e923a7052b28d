"""Fits a fleet on a GPU in a process of its own: the agent's process never imports torch.

Run as ``python -m agent.bench.gpu_child``; prints what it measured, or null where there is no GPU.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from agent.bench.fleet_child import START_S, STEP_S, STEPS_AHEAD

if TYPE_CHECKING:
    from torch import Tensor

SERIES, POINTS = 1_000_000, 1440
_RUNS = 3
_PART = 65_536  # series generated at once
_SHARE = 0.4  # of the free memory that the readings may take


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of wall clock of one fit, one forecast, and one copy of all readings on the GPU."""

    gpu: str
    series: int
    points: int
    fit_s: float
    predict_s: float
    copy_s: float


def measure() -> Measured | None:
    """Return what a fit and a forecast took; the readings lie on the GPU, the answer in memory."""
    if find_spec("torch") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    from detectors.forecast.prophet.fleet import FleetProphet

    free = torch.cuda.mem_get_info()[0]
    value = _fleet(min(SERIES, int(_SHARE * free) // (4 * POINTS)))
    time_s = START_S + STEP_S * np.arange(POINTS, dtype=np.float64)
    model = FleetProphet(daily=True, device="cuda")
    fit = model.fit(time_s, value[:4096])
    fit.predict(STEPS_AHEAD * STEP_S)  # the libraries start and the table is made
    copy_s = _copy_s(value)
    fit_s = _seconds(lambda: model.fit(time_s, value))
    fit = model.fit(time_s, value)
    predict_s = _seconds(lambda: fit.predict(STEPS_AHEAD * STEP_S))
    name = torch.cuda.get_device_name()
    return Measured(name, len(value), POINTS, fit_s, predict_s, copy_s)


def _copy_s(value: "Tensor") -> float:
    """Return how long a copy of all readings takes; half of them are copied, to save memory."""
    import torch

    half = value[: len(value) // 2]
    other = torch.empty_like(half)
    return len(value) / len(half) * _seconds(lambda: other.copy_(half))


def _seconds(work: Callable[[], object]) -> float:
    """Return the median wall time of some runs, each to its end on the GPU."""
    import torch

    took = []
    for _ in range(_RUNS):
        torch.cuda.synchronize()
        started_s = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - started_s)
    return median(took)


def _fleet(series: int) -> "Tensor":
    """Return (series, POINTS) single-precision readings: a level, a wave, a turn and noise."""
    import torch

    random = torch.Generator("cuda").manual_seed(7)
    value = torch.empty(series, POINTS, device="cuda")
    at = torch.linspace(0.0, 1.0, POINTS, device="cuda")
    for start in range(0, series, _PART):
        part = value[start : start + _PART]
        part.normal_(0.0, 0.02, generator=random)
        level, size, turn, slope = torch.rand(4, len(part), 1, device="cuda", generator=random)
        part += level + 0.3 * size * torch.sin(2 * torch.pi * (at + turn))
        part += (slope - 0.5) * (at - turn).clamp(min=0.0)
    return value


if __name__ == "__main__":
    measured = measure()
    sys.stdout.write(json.dumps(None if measured is None else asdict(measured)))
