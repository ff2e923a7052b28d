"""What of a node is read at given times: which row held, when it was true, what noise it has."""

import math
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from sim.engine import noise
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.tables import Tables
from sim.engine.words import Purpose

DAY_S, WEEK_S = 86400.0, 604800.0
DROPOUT_RATIO = 0.002  # scrapes that come to nothing: assumption
SCRAPE_S = 15.0
_WARMEST_S = 15 * 3600.0  # mid-afternoon, UTC
_WORKDAYS_S = 5.5 * DAY_S  # from the epoch's Thursday to the middle of the working days
_DAY_CELSIUS, _WEEK_CELSIUS = 0.75, 0.15
_REALS = 15 + noise.LANES
_KNOTS_EACH = 3  # a reading needs: the one before, at its left and at its right


class Real(IntEnum):
    """Rows of ``Look.real``."""

    TRUE = 0  # when what is shown was true: exporters repeat themselves, their clocks are off
    SEEN = 1  # 1 where the node's exporter answered, else NaN
    UP = 2  # 1 where it answered, 0 where not, NaN out of the world or of luck
    SHARE = 3  # of the way to the next knot, 0 to 1
    AIR = 4  # degC by which the hall is warmer than its mean
    LAG = 5  # of the first temperature of a GPU's row, what is left
    STALLED = 6  # 1 where its job's ranks wait for a checkpoint to be captured, else 0
    WORKING = 7  # share of the dynamic power that its job draws
    LATE = 8  # the slow noise of power as it was one lag of the die ago
    INLET = 9  # the air that a node takes in, without the hall's swing
    QUICK = 10  # noise that is new at every tick, a row for each lane
    SLOW = 15  # noise that wanders, a row for each lane


class Look(NamedTuple):
    """A node at T times; what is filled in of ``real`` depends on who looks.

    row:   (T,) its row in ``node_log`` at that time
    tick, knot: (T,) whole seconds, and which of ``knots`` is left of it
    knots: (K,) the numbers of all knots that are needed; level: (5, K) noise there
    real:  (20, T) a row for each of ``Real``
    """

    row: Ints
    tick: Ints
    knot: Ints
    knots: Ints
    level: Floats
    real: Floats


@compiled
def row_at(log: NDArray[np.void], newest: int, time_s: float) -> int:
    """Return the last row of a chain that began by ``time_s``, or the first of all."""
    row = newest
    while log[row]["start_s"] > time_s:
        before = log[row]["before"]
        if not first_of(log, row):
            row = before
        else:
            break
    return row


@compiled
def first_of(log: NDArray[np.void], row: int) -> bool:
    """Say whether a row is the first of its node or job."""
    before = log[row]["before"]
    return bool(before < 0 or before >= row or log[before]["entity"] != log[row]["entity"])


@compiled_with_arrays
def look_at(w: Tables, node: int, time_s: Floats) -> Look:
    """Look at a node; times in any order, NaN is not among them."""
    row, real = np.empty(len(time_s), dtype=np.int64), np.empty((_REALS, len(time_s)))
    _follow(w, node, time_s, row, real)
    return _ticks(row, real)


@compiled_with_arrays
def look_beside(w: Tables, time_s: Floats) -> Look:
    """Look at what is on no node and is always told of, while the world lasts; ``row`` is -1."""
    row, real = np.full(len(time_s), -1, dtype=np.int64), np.empty((_REALS, len(time_s)))
    core = w.core[0]
    for at in range(len(time_s)):
        lasts = core["began_s"] <= time_s[at] <= core["now_s"]
        real[Real.TRUE, at] = time_s[at]
        real[Real.SEEN, at] = real[Real.UP, at] = 1.0 if lasts else math.nan
    return _ticks(row, real)


@compiled_with_arrays
def _ticks(row: Ints, real: Floats) -> Look:
    count = len(row)
    tick, knot = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for at in range(count):
        now_s = real[Real.TRUE, at]
        tick[at] = np.int64(np.floor(now_s))
        place = now_s / noise.KNOT_S
        left = np.floor(place)
        knot[at] = np.int64(left)
        real[Real.SHARE, at] = place - left
        real[Real.AIR, at] = air_at(now_s)
    knots = _knots(knot)
    return Look(row, tick, knot, knots, np.empty((noise.LANES, len(knots))), real)


@compiled_with_arrays
def shake(seed: int, stream: int, entity: int, look: Look) -> None:
    """Fill in the noise of one entity: two streams of numbers, quick and slow."""
    quick, slow = look.real[Real.QUICK : Real.SLOW], look.real[Real.SLOW : _REALS]
    root = noise.source(seed, Purpose.READING, stream, entity)
    noise.fill(root, look.tick, noise.QUICK, quick)
    noise.fill(noise.mixed(root), look.knots, noise.SLOW, look.level)
    noise.wander(look.level, look.knot, look.real[Real.SHARE], slow)


@compiled
def noise_of(look: Look, number: int, at: int) -> float:
    """Return one of an entity's five noises, of deviation near 1, after ``shake``."""
    return float(look.real[Real.QUICK + number, at] + look.real[Real.SLOW + number, at])


@compiled
def air_at(time_s: float) -> float:
    """Return degC by which the hall's air is warmer than its mean: by day, and on working days."""
    day = math.cos(2 * math.pi * (time_s - _WARMEST_S) / DAY_S)
    week = math.cos(2 * math.pi * (time_s - _WORKDAYS_S) / WEEK_S)
    return _DAY_CELSIUS * day + _WEEK_CELSIUS * week


@compiled
def each_run(row: Ints, first: int) -> int:
    """Return the end of the run of equal rows that begins at ``first``."""
    last = first + 1
    while last < len(row) and row[last] == row[first]:
        last += 1
    return last


@compiled_with_arrays
def _follow(w: Tables, node: int, time_s: Floats, row: Ints, real: Floats) -> None:
    core, log = w.core[0], w.node_log
    missed = noise.source(core["seed"], Purpose.DROPOUT, 0, node)
    newest = w.node_last[node]
    now = newest
    before_s = math.inf
    for at in range(len(time_s)):
        back = len(time_s) - 1 - at
        asked_s = time_s[back]
        if asked_s > before_s:
            now = newest
        before_s = asked_s
        now = row_at(log, now, asked_s)
        shown = log[now]
        then_s = min(asked_s - shown["skew_s"], shown["stale_s"])
        is_in = core["began_s"] <= min(asked_s, then_s) and max(asked_s, then_s) <= core["now_s"]
        here = is_in and shown["up"]
        if here and noise.chance(missed, int(asked_s // SCRAPE_S)) < DROPOUT_RATIO:
            here, is_in = False, False
        here = here and not shown["silent"]
        real[Real.SEEN, back] = 1.0 if here else math.nan
        real[Real.UP, back] = (1.0 if here else 0.0) if is_in else math.nan
        real[Real.TRUE, back] = then_s
        row[back] = now if then_s == asked_s else row_at(log, newest, then_s)


@compiled_with_arrays
def _knots(knot: Ints) -> Ints:
    """Return the knots that are needed; ``knot`` is made an index into them, in place."""
    if len(knot) == 0:
        return knot
    first, last = knot.min() - 1, knot.max() + 1
    if last - first < _KNOTS_EACH * len(knot):
        for at in range(len(knot)):
            knot[at] -= first
        return np.arange(first, last + 1)
    few = np.empty(_KNOTS_EACH * len(knot), dtype=np.int64)
    for at in range(len(knot)):
        for side in range(_KNOTS_EACH):
            few[_KNOTS_EACH * at + side] = knot[at] - 1 + side
        knot[at] = _KNOTS_EACH * at + 1
    return few
