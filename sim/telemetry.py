"""Readings of a world for just the window that is asked for, its past included.

A reading is a function of the state's trail and of noise with an address, so it costs nothing
until somebody asks, and a window asked for in two halves is the window asked for whole.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from core.types import Floats, Window
from core.units import CATALOG
from sim.job_readings import job_readings, rank_readings
from sim.look import Look, Read
from sim.readings import gpu_readings, node_readings, volume_readings
from sim.world import World

METRICS: Mapping[str, Read] = {
    **gpu_readings(),
    **node_readings(),
    **volume_readings(),
    **job_readings(),
    **rank_readings(),
}
_STREAM = {name: index for index, name in enumerate(CATALOG)}


def readings(world: World, metrics: Sequence[str], time_s: Floats) -> tuple[Window, ...]:
    """Return a window for each metric that the world has; others give none.

    time_s: (T,) any times, in order; NaN before the world began and after its now. Targets keep
    their row also where all of it is NaN, but a rank is there only if it ran within the window.
    """
    if not len(time_s):
        return ()
    look = Look(world.inner, time_s=np.asarray(time_s, dtype=np.float64))
    windows = []
    for metric in metrics:
        if metric not in METRICS:
            continue
        targets, value = METRICS[metric](look, _STREAM[metric])
        if targets:
            windows.append(Window(metric, targets, look.time_s, value))
    return tuple(windows)
