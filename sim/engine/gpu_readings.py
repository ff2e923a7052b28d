"""What exporters read of a node's GPUs, for any times: the one kernel of lazy and dense readings.

A GPU's quick noise is one hash a tick for all metrics, its slow one a hash every five minutes.
Power follows what the job does; the die follows power, its slow part late by the die's own lag.
Readings have NVML's steps: whole per cents and degrees, clocks of 15 MHz, power in mW.
"""

import math
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from sim.engine import noise
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.read_habits import Habit, habit_of
from sim.engine.read_look import Look, Real, each_run, look_at, shake
from sim.engine.read_pace import pace_at, stepping_job
from sim.engine.read_warmth import excess_at
from sim.engine.tables import Tables
from sim.engine.thermal import INLET_LAG_S, POWER_EXPONENT
from sim.engine.words import GPUS, NONE, Load, Purpose


class Gauge(IntEnum):
    """Rows of what the kernel writes; the names are ``sim.telemetry``'s."""

    UTILIZATION = 0
    MEMORY = 1
    MEMORY_BYTES = 2
    TEMPERATURE = 3
    MEMORY_TEMPERATURE = 4
    POWER = 5
    CLOCK = 6
    THROTTLE = 7
    CORRECTED = 8
    UNCORRECTED = 9
    REMAP_PENDING = 10
    REMAP_FAILED = 11
    REPLAYS = 12
    NVLINK = 13
    XID = 14


GAUGES = len(Gauge)
_STREAM, _STREAM_STILL = 0, 1
_1 = np.uint64(1)
_IDLE = int(Load.IDLE)
_STALL_UTILIZATION = 0.12
_CLOCK_STEP_HZ = 1.5e7
_MILLIWATTS = 1000.0
_OVERSHOOT = 1.1  # of its limit that a board may show: Acme's A100s read 440 W
_IDLE_SPREAD = 0.035  # of boards of one type: Acme's idle A100s read 62 to 66 W
_POWER_NOISE, _CELSIUS_NOISE, _HBM_NOISE = 0.015, 0.4, 0.5
_MEMORY_NOISE, _THROTTLE_NOISE = 0.004, 0.05
# Memory follows the die by less than the whole and is warmer: 16 degC idle, 5 at 40 above the air,
# as the two curves of Acme's Kalos.
_HBM_CELSIUS, _HBM_SHARE = 20.0, 0.62
_CORRECTED_PER_S = 2e-6  # at most, of a healthy GPU's corrected errors
_POWER, _CELSIUS, _HBM, _BUSY, _MEMORY = range(noise.LANES)  # which of a GPU's noises


Out = NDArray[np.floating]


class Part(NamedTuple):
    """A GPU in a run of equal rows: readings first to last; alive: 1, or NaN for off the bus."""

    gpu: int
    first: int
    last: int
    alive: float


class Site(NamedTuple):
    """What a GPU's readings follow from: rows of ``node_log`` and ``types``, and noise."""

    seed: int
    began_s: float
    own: noise.Word  # lanes that stay the same for ever: 0 its corrected errors, 1 its idle power
    shown: Any
    kind: Any


@compiled_with_arrays
def read_gpus(w: Tables, node: int, time_s: Floats, wanted: Ints, out: Out) -> None:
    """Write a node's readings into ``out``, (metrics, GPUs, T); NaN where nothing was scraped.

    wanted: (15,) the place in ``out`` of each ``Gauge``, NONE: not asked for
    """
    look, core, log = look_at(w, node, time_s), w.core[0], w.node_log
    kind, real = w.types[w.nodes[node]["type"]], look.real
    _lags(log, float(kind["lag_s"]), look)
    paced = NONE - 1
    for gpu in range(w.nodes[node]["gpus"]):
        slot = node * GPUS + gpu
        shake(core["seed"], _STREAM, slot, look)
        own = noise.bits(noise.source(core["seed"], Purpose.READING, _STREAM_STILL, slot), 0)
        _late(float(kind["lag_s"]) / noise.KNOT_S, look)
        first = 0
        while first < len(time_s):
            last = each_run(look.row, first)
            shown = log[look.row[first]]
            job = stepping_job(shown, gpu)
            if job != paced or first > 0 or last < len(time_s):
                pace_at(w.job_log, w.job_last[job] if job >= 0 else NONE, (first, last), real)
                paced = job
            part = Part(gpu, first, last, 1.0 if shown["alive"][gpu] else math.nan)
            site = Site(core["seed"], core["began_s"], own, shown, kind)
            _activity(part, site, real, wanted, out)
            excess = excess_at(core["seed"], log, look.row[first], gpu, kind)
            _warmth(part, site, excess, real, (wanted, out))
            _counters(part, site, real, wanted, out)
            first = last
    for gpu in range(w.nodes[node]["gpus"], GPUS):
        out[:, gpu] = math.nan


@compiled_with_arrays
def read_nodes(w: Tables, nodes: Ints, time_s: Floats, wanted: Ints, out: Out) -> None:
    """Write the readings of several nodes, (nodes, metrics, GPUs, T), as ``read_gpus`` does."""
    for place in range(len(nodes)):
        read_gpus(w, nodes[place], time_s, wanted, out[place])


@compiled
def _lags(log: Any, lag_s: float, look: Look) -> None:
    """Fill in how much of a row's first temperatures is left, and the air at the inlet."""
    for at in range(len(look.row)):
        shown = log[look.row[at]]
        since_s = max(look.real[Real.TRUE, at] - shown["start_s"], 0.0)
        look.real[Real.LAG, at] = math.exp(-since_s / lag_s)
        goal = float(shown["inlet_goal"])
        gap = float(shown["inlet"]) - goal
        if gap != 0.0:
            gap *= math.exp(-since_s / INLET_LAG_S)
        look.real[Real.INLET, at] = goal + gap


@compiled
def _late(lag: float, look: Look) -> None:
    """Fill in the slow noise of power one lag ago; the lag is in knots and below 1."""
    for at in range(len(look.knot)):
        share = look.real[Real.SHARE, at] - lag
        back = 1 if share < 0.0 else 0
        knot = np.uint64(look.knot[at] - back)
        here = look.level[_POWER, knot]
        there = look.level[_POWER, knot + _1]
        look.real[Real.LATE, at] = here + (share + back) * (there - here)


@compiled
def load_of(shown: Any, gpu: int) -> int:
    """Return what a row's GPU does: nothing, where it is given to nobody."""
    return int(shown["load"]) if shown["job"][gpu] != NONE else _IDLE


@compiled
def watts_of(site: Site, gpu: int, habit: Habit) -> tuple[float, float]:
    """Return a GPU's idle and its dynamic power under a row, without noise and pauses."""
    idle, clock = float(site.kind["idle_watts"]), float(site.shown["clock"][gpu])
    full = float(site.kind["load_watts"][load_of(site.shown, gpu)])
    return idle, (full - idle) * clock**POWER_EXPONENT * habit.drive


@compiled
def _activity(part: Part, site: Site, real: Floats, wanted: Ints, out: Out) -> None:
    """Write utilisation, power, memory, clock and how much it is held back."""
    shown, kind, gpu = site.shown, site.kind, part.gpu
    habit, load = habit_of(site.seed, shown, gpu), load_of(shown, gpu)
    clock = float(shown["clock"][gpu])
    if wanted[Gauge.UTILIZATION] >= 0:
        size = (_busy(load, habit), _moving(load, habit))
        _utilization(part, size, real, out[wanted[Gauge.UTILIZATION], gpu])
    if wanted[Gauge.POWER] >= 0:
        idle, dynamic = watts_of(site, gpu, habit)
        idle *= 1.0 + _IDLE_SPREAD * noise.lane(site.own, 1)
        most = _OVERSHOOT * kind["watts"]
        _power(part, (idle, dynamic, habit.sway, most), real, out[wanted[Gauge.POWER], gpu])
    level = _memory_level(load, habit)
    if wanted[Gauge.MEMORY] >= 0:
        _memory(part, (level, 1.0), real, out[wanted[Gauge.MEMORY], gpu])
    if wanted[Gauge.MEMORY_BYTES] >= 0:
        size = (level, kind["memory_bytes"])
        _memory(part, size, real, out[wanted[Gauge.MEMORY_BYTES], gpu])
    if wanted[Gauge.CLOCK] >= 0:
        held = np.rint(clock * kind["boost_hz"] / _CLOCK_STEP_HZ) * _CLOCK_STEP_HZ
        hertz = kind["idle_hz"] if load == Load.IDLE else held
        _constant(part, hertz, real, out[wanted[Gauge.CLOCK], gpu])
    if wanted[Gauge.THROTTLE] >= 0:
        _throttle(part, 1.0 - clock, real, out[wanted[Gauge.THROTTLE], gpu])


@compiled
def _busy(load: int, habit: Habit) -> float:
    if load == Load.IDLE:
        return 0.0
    if load == Load.STARTING:
        return 0.06
    return 1.0 if load == Load.WAITING else habit.busy


@compiled
def _moving(load: int, habit: Habit) -> float:
    if load in (Load.IDLE, Load.WAITING):
        return 0.0
    return habit.moving if load == Load.COMPUTING else 0.012


@compiled
def _memory_level(load: int, habit: Habit) -> float:
    if load == Load.IDLE:
        return 0.01
    return 0.35 if load == Load.STARTING else habit.memory


@compiled
def _utilization(part: Part, size: tuple[float, float], real: Floats, place: Out) -> None:
    busy, moving = size
    quick, slow = real[Real.QUICK + _BUSY], real[Real.SLOW + _POWER]
    stalled, seen = real[Real.STALLED], real[Real.SEEN]
    for at in range(part.first, part.last):
        level = busy + stalled[at] * (_STALL_UTILIZATION - busy)
        noisy = min(max(level + moving * (quick[at] + slow[at]), 0.0), 1.0)
        place[at] = np.rint(noisy * 100.0) / 100.0 * (seen[at] * part.alive)


@compiled
def _power(part: Part, size: tuple[float, float, float, float], real: Floats, place: Out) -> None:
    idle, dynamic, sway, most = size
    quick, slow = real[Real.QUICK + _POWER], real[Real.SLOW + _POWER]
    working, seen = real[Real.WORKING], real[Real.SEEN]
    for at in range(part.first, part.last):
        noisy = quick[at] + slow[at]
        drawn = idle + dynamic * working[at] * max(1.0 + sway * noisy, 0.0)
        drawn = min(drawn * (1.0 + _POWER_NOISE * noisy), most)
        place[at] = np.rint(drawn * _MILLIWATTS) / _MILLIWATTS * (seen[at] * part.alive)


@compiled
def _memory(part: Part, size: tuple[float, float], real: Floats, place: Out) -> None:
    level, whole = size
    quick, slow = real[Real.QUICK + _MEMORY], real[Real.SLOW + _MEMORY]
    seen = real[Real.SEEN]
    for at in range(part.first, part.last):
        noisy = min(level * (1.0 + _MEMORY_NOISE * (quick[at] + slow[at])), 1.0)
        place[at] = noisy * whole * (seen[at] * part.alive)


@compiled
def _throttle(part: Part, lost: float, real: Floats, place: Out) -> None:
    noisy, seen = real[Real.QUICK + _BUSY], real[Real.SEEN]
    for at in range(part.first, part.last):
        ratio = 4.0 * lost * (1.0 + _THROTTLE_NOISE * noisy[at])
        place[at] = min(max(ratio, 0.0), 1.0) * (seen[at] * part.alive)


@compiled
def _warmth(
    part: Part, site: Site, excess: tuple[float, float], real: Floats, asked: tuple[Ints, Out]
) -> None:
    """Write the temperatures of die and memory; excess: degC that the row's are too high."""
    wanted, out = asked
    shown, gpu = site.shown, part.gpu
    habit = habit_of(site.seed, shown, gpu)
    goal = shown["goal"][gpu] - excess[1]
    gap = shown["celsius"][gpu] - excess[0] - goal
    idle, dynamic = watts_of(site, gpu, habit)
    rise = max(float(shown["goal"][gpu] - shown["inlet_goal"]), 0.0)
    sway = (habit.sway + _POWER_NOISE) * rise * dynamic / (idle + dynamic)
    if wanted[Gauge.TEMPERATURE] >= 0:
        _core(part, (goal, gap, sway), real, out[wanted[Gauge.TEMPERATURE], gpu])
    if wanted[Gauge.MEMORY_TEMPERATURE] >= 0:
        _hbm(part, (goal, gap, sway), real, out[wanted[Gauge.MEMORY_TEMPERATURE], gpu])


@compiled
def _core(part: Part, size: tuple[float, float, float], real: Floats, place: Out) -> None:
    goal, gap, sway = size
    quick, slow = real[Real.QUICK + _CELSIUS], real[Real.SLOW + _CELSIUS]
    lag, late, air, seen = real[Real.LAG], real[Real.LATE], real[Real.AIR], real[Real.SEEN]
    for at in range(part.first, part.last):
        now = goal + gap * lag[at] + air[at] + sway * late[at]
        noisy = _CELSIUS_NOISE * (quick[at] + slow[at])
        place[at] = np.rint(now + noisy) * (seen[at] * part.alive)


@compiled
def _hbm(part: Part, size: tuple[float, float, float], real: Floats, place: Out) -> None:
    goal, gap, sway = size
    quick, slow = real[Real.QUICK + _HBM], real[Real.SLOW + _HBM]
    lag, late, air, seen = real[Real.LAG], real[Real.LATE], real[Real.AIR], real[Real.SEEN]
    inlet = real[Real.INLET]
    for at in range(part.first, part.last):
        core = goal + gap * lag[at] + sway * late[at]
        now = inlet[at] + air[at] + _HBM_CELSIUS + _HBM_SHARE * (core - inlet[at])
        noisy = _HBM_NOISE * (quick[at] + slow[at])
        place[at] = np.rint(now + noisy) * (seen[at] * part.alive)


@compiled
def _counters(part: Part, site: Site, real: Floats, wanted: Ints, out: Out) -> None:
    """Write counters and flags."""
    shown, gpu = site.shown, part.gpu
    since_s = shown["start_s"]
    asked = (wanted, out)
    _grown(part, Gauge.UNCORRECTED, (since_s, shown["uncorrected"][gpu], 0.0), real, asked)
    _grown(part, Gauge.REMAP_PENDING, (since_s, shown["remap_pending"][gpu], 0.0), real, asked)
    _grown(part, Gauge.REMAP_FAILED, (since_s, shown["remap_failed"][gpu], 0.0), real, asked)
    _grown(part, Gauge.XID, (since_s, shown["xid"][gpu], 0.0), real, asked)
    _grown(part, Gauge.REPLAYS, (since_s, shown["replay_count"], shown["replays"]), real, asked)
    _grown(part, Gauge.NVLINK, (since_s, shown["link_count"], shown["link_errors"]), real, asked)
    if wanted[Gauge.CORRECTED] >= 0:
        own = abs(noise.lane(site.own, 0))
        before = own * (1.0 + _CORRECTED_PER_S * (since_s - site.began_s))
        rate = own * _CORRECTED_PER_S + shown["ecc_rate"][gpu]
        size = (since_s, before + shown["ecc_count"][gpu], rate)
        _grown(part, Gauge.CORRECTED, size, real, asked)


@compiled
def _constant(part: Part, level: float, real: Floats, place: Out) -> None:
    seen = real[Real.SEEN]
    for at in range(part.first, part.last):
        place[at] = level * (seen[at] * part.alive)


@compiled
def _grown(
    part: Part, gauge: int, size: tuple[float, float, float], real: Floats, asked: tuple[Ints, Out]
) -> None:
    """Write a counter: a whole number that has grown since a time, from a count, at a rate."""
    wanted, out = asked
    if wanted[gauge] < 0:
        return
    since_s, count, rate = size
    place = out[wanted[gauge], part.gpu]
    if rate == 0.0:
        _constant(part, np.floor(count), real, place)
        return
    seen, true_s = real[Real.SEEN], real[Real.TRUE]
    for at in range(part.first, part.last):
        grown = count + rate * max(true_s[at] - since_s, 0.0)
        place[at] = np.floor(grown) * (seen[at] * part.alive)
