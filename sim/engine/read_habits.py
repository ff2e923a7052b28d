"""How jobs differ in what they ask of their GPUs: one draw for each job, by its number.

A scenario's own jobs that step in lock step are all at full drive; what they show follows from
their steps. Generated ones differ as the jobs of a real cluster do.
"""

from typing import Any, NamedTuple

import numpy as np

from sim.engine.draws import between, uniform
from sim.engine.jit import compiled
from sim.engine.words import NONE, JobKind, Load, Purpose

Row = Any  # of ``node_log``


class Habit(NamedTuple):
    """What a job asks of each of its GPUs while it computes.

    drive:   share of the dynamic power of ``Load.COMPUTING``
    busy:    share of time that a kernel runs; ``moving``: deviation of it
    memory:  share of the frame buffer
    sway:    deviation of the dynamic power, relative
    """

    drive: float
    busy: float
    moving: float
    memory: float
    sway: float


_BUSY, _MOVING, _MEMORY = 0.97, 0.012, 0.9
_STREAMS = 4
# Of generated jobs that step in lock step, at every 20th from the least busy on: the quantiles of
# power (idle 62 W, load 390 W) and of utilisation on Acme's Kalos cluster, A100s, of which 63.5 %
# are busy (Hu et al., NSDI'24, CC BY 4.0). That the busier draw more is an assumption.
_DRIVES = np.array(
    [
        *(0.091, 0.097, 0.102, 0.109, 0.117, 0.134, 0.182, 0.223, 0.349, 0.537, 0.723),
        *(0.856, 0.938, 0.972, 1.002, 1.017, 1.030, 1.045, 1.061, 1.089, 1.200),
    ]
)
_BUSYNESS = np.array(
    [
        *(0.46, 0.79, 0.94, 0.96, 0.97, 0.98, 0.98, 0.99, 0.99, 0.99, 1.0),
        *(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    ]
)
_PARTS = len(_DRIVES) - 1


@compiled
def habit_of(seed: int, shown: Row, gpu: int) -> Habit:
    """Return the habit of the job that a row's GPU has; where it has none, that of full drive."""
    kind = shown["kind"][gpu]
    full = Habit(1.0, _BUSY, _MOVING, _MEMORY, 0.0)
    if shown["job"][gpu] == NONE or shown["load"] != Load.COMPUTING:
        return full
    if shown["own"][gpu] and kind in (JobKind.TRAINING, JobKind.ELASTIC, JobKind.PARAMETER_SERVER):
        return full
    return _drawn(seed, kind, shown["number"][gpu])


@compiled
def _drawn(seed: int, kind: int, number: int) -> Habit:
    first = _STREAMS * number
    memory = between(seed, Purpose.READING, first, 1, 0.3, 0.95)
    level = uniform(seed, Purpose.READING, first, 2)
    if kind == JobKind.INTERACTIVE:  # a notebook holds its GPU and hardly uses it
        return Habit(0.01 + 0.08 * level, 0.0, 0.0, memory, 0.1)
    if kind == JobKind.PIPELINE:
        return Habit(0.05 + 0.3 * level, 0.1 + 0.5 * level, 0.15, memory, 0.3)
    if kind == JobKind.SERVICE:
        return Habit(0.2 + 0.5 * level, 0.4 + 0.5 * level, 0.1, memory, 0.15)
    part = min(int(level * _PARTS), _PARTS - 1)
    share = level * _PARTS - part
    drive = _DRIVES[part] + share * (_DRIVES[part + 1] - _DRIVES[part])
    busy = _BUSYNESS[part] + share * (_BUSYNESS[part + 1] - _BUSYNESS[part])
    return Habit(drive, busy, 0.004, memory, 0.02)
