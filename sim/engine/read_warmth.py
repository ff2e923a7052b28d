"""By how much a GPU is cooler than its node's row says: it has no job, or a lightly driven one.

Rows hold the warmth of a fully driven GPU. The difference follows the die's lag too, from row to
row, so a GPU that ends a light job does not jump.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.engine.jit import compiled
from sim.engine.read_habits import habit_of
from sim.engine.read_look import first_of
from sim.engine.words import NONE, Load

Rows = NDArray[np.void]

_MOST_ROWS = 32  # rows back; beyond them hardly anything is left
_FORGOTTEN = 0.01


@compiled
def excess_at(seed: int, log: Rows, row: int, gpu: int, kind: Any) -> tuple[float, float]:
    """Return degC that a row's temperatures are too high, at its start and in the end.

    kind: the GPU's row of ``types``
    """
    end = _end(seed, log[row], gpu, kind)
    start, left = 0.0, 1.0
    for _ in range(_MOST_ROWS):
        if left < _FORGOTTEN or first_of(log, row):
            break
        before = log[row]["before"]
        lag = math.exp((log[before]["start_s"] - log[row]["start_s"]) / kind["lag_s"])
        start += left * (1.0 - lag) * _end(seed, log[before], gpu, kind)
        left *= lag
        row = before
    return start + left * _end(seed, log[row], gpu, kind), end


@compiled
def _end(seed: int, shown: Any, gpu: int, kind: Any) -> float:
    if shown["load"] == Load.IDLE:
        return 0.0
    idle, full = float(kind["idle_watts"]), float(kind["load_watts"][shown["load"]])
    drive = 0.0
    if shown["job"][gpu] != NONE:
        drive = habit_of(seed, shown, gpu).drive
    if drive == 1.0:
        return 0.0
    rise = float(shown["goal"][gpu] - shown["inlet_goal"])
    return rise * (1.0 - drive) * (full - idle) / full
