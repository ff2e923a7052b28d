"""How jobs differ in what they ask of their GPUs: one draw for each job, by its number.

A scenario's own jobs that step in lock step are all at full drive; what they show follows from
their steps. Generated ones differ as the jobs of a real cluster do.
"""

from typing import Any, NamedTuple

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
_SLACK = 0.62  # share of generated lock-step jobs that drive their GPUs fully
_STREAMS = 4


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
    luck = uniform(seed, Purpose.READING, first, 2)
    level = uniform(seed, Purpose.READING, first, 3)
    if kind == JobKind.INTERACTIVE:
        return Habit(0.02 + 0.3 * level * level, 0.35 * level, 0.1, memory, 0.3)
    if kind == JobKind.PIPELINE:
        return Habit(0.05 + 0.3 * level, 0.1 + 0.5 * level, 0.15, memory, 0.3)
    if kind == JobKind.SERVICE:
        return Habit(0.2 + 0.5 * level, 0.4 + 0.5 * level, 0.1, memory, 0.15)
    if luck < _SLACK:
        return Habit(0.8 + 0.3 * level, 0.96 + 0.04 * level, _MOVING, memory, 0.06)
    return Habit(0.08 + 0.72 * level * level, 0.8 + 0.2 * level, 0.03, memory, 0.15)
