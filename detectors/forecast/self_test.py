"""A trial of the forecasters, to tell whether they work on this machine."""

import time
from dataclasses import replace

import numpy as np

from core.target import Target
from detectors.forecast.fleet import forecast
from detectors.forecast.task import ForecastTask, Model

SERIES = 16


def self_test(_: object) -> float:
    """Forecast a few ramps by the pool and by fleet Prophet; return how many seconds it took.

    The imports count, and the first time on a machine so does compiling. ValueError where a ramp is
    not forecast to go on.
    """
    started_s = time.perf_counter()
    time_s = np.arange(0.0, 7200.0, 60.0)
    noise = np.random.default_rng(0).normal(0, 0.001, (SERIES, len(time_s)))
    task = ForecastTask(
        metric="node_memory_used_ratio",
        targets=tuple(Target(node=f"node-{row}") for row in range(SERIES)),
        time_s=time_s,
        value=np.linspace(0.2, 0.5, len(time_s)) + noise,
        horizon_s=1200.0,
    )
    for model in (Model.POOL, Model.FLEET_PROPHET):
        reached = forecast(replace(task, model=model)).forecast.mean[:, -1]
        if not ((reached > 0.5) & (reached < 0.6)).all():
            raise ValueError(
                f"ramps that reach 0.55 are forecast at {reached.min():.3g} to {reached.max():.3g} "
                f"by {model}"
            )
    return time.perf_counter() - started_s
