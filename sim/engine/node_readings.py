"""What exporters read of a node, its scratch volume, its network ports and the shared storage.

Sizes are those of an eight-GPU H100 node under training with 2 TiB of memory; idle and busy levels
of host readings are assumptions.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from sim.engine.gpu_readings import GAUGES, Gauge, read_gpus
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.read_look import Look, Real, look_at, look_beside, noise_of, shake
from sim.engine.read_pace import pace_at, stepping_job
from sim.engine.tables import Tables
from sim.engine.thermal import INLET_LAG_S
from sim.engine.words import GPUS, Effect, Load


class Host(IntEnum):
    """Rows of what ``read_host`` writes; the names are ``sim.telemetry``'s."""

    UP = 0
    CPU = 1
    MEMORY = 2
    MEMORY_BYTES = 3
    OPEN_FILES = 4
    PRESSURE_CPU = 5
    PRESSURE_MEMORY = 6
    PRESSURE_IO = 7
    INLET = 8
    POWER = 9
    OOM_KILLS = 10
    SCRATCH = 11
    INODES = 12
    READ_LATENCY = 13
    WRITE_LATENCY = 14


class Share(IntEnum):
    """Rows of what ``read_shared`` writes of the storage that all nodes share."""

    USED = 0
    INODES = 1
    READ_LATENCY = 2
    WRITE_LATENCY = 3


HOSTS, SHARES = len(Host), len(Share)
_STREAMS = (2, 3, 4)  # of a node's noises, five each
_SHARED_STREAM = 5
_MEMORY_BYTES = 2.0**41
_NODE_WATTS = 1900.0  # processors, fans, network, memory
_MEMORY_TIGHT, _MEMORY_PRESSURE = 0.92, 8.0
_STALL_IO, _SLOW_IO = 0.15, 0.5  # time that tasks wait for a checkpoint, and for slow storage
_HOST_CPU, _HOST_PRESSURE = 0.3, 0.4  # of programs that take a node's processors from the job
_LEVELS = np.array(  # by load: idle, starting, waiting, computing
    [
        [0.02, 0.22, 0.3, 0.31],  # processors
        [0.001, 0.02, 0.01, 0.012],  # pressure of processors
        [0.001, 0.2, 0.004, 0.01],  # of input and output
        [0.0002, 0.0012, 0.0003, 0.0004],  # local latency
    ]
)
_SHARED_LEVELS = np.array([0.61, 0.12, 0.004, 0.006])
_SHARED_SPREAD = np.array([0.01, 0.01, 0.05, 0.05])


@compiled_with_arrays
def read_host(w: Tables, node: int, time_s: Floats, out: Floats) -> None:
    """Write (15, T), a row for each of ``Host``; NaN where nothing was scraped."""
    look = look_at(w, node, time_s)
    seed, log, real = w.core[0]["seed"], w.node_log, look.real
    _stalls(w, look)
    shake(seed, _STREAMS[0], node, look)
    for at in range(len(time_s)):
        shown, seen, load = log[look.row[at]], real[Real.SEEN, at], log[look.row[at]]["load"]
        slow = 1.0 - storage_at(w, real[Real.TRUE, at]) if load == Load.COMPUTING else 0.0
        taken = 1.0 - 1.0 / shown["host"]
        cpu = _LEVELS[0, load] + 0.012 * noise_of(look, 0, at) + 0.0075 * real[Real.AIR, at]
        used = _grown(shown["memory"], shown["memory_slope"], shown, real[Real.TRUE, at])
        pressed = max(used - _MEMORY_TIGHT, 0.0) * _MEMORY_PRESSURE
        io = _LEVELS[2, load] + _STALL_IO * real[Real.STALLED, at] + _SLOW_IO * slow
        memory = _ratio(used + 0.003 * noise_of(look, 1, at))
        out[Host.UP, at] = real[Real.UP, at]
        out[Host.CPU, at] = _ratio(cpu + _HOST_CPU * taken) * seen
        out[Host.MEMORY, at] = memory * seen
        out[Host.MEMORY_BYTES, at] = memory * _MEMORY_BYTES * seen
        level = _LEVELS[1, load] + _HOST_PRESSURE * taken
        out[Host.PRESSURE_CPU, at] = _ratio(level + 0.002 * noise_of(look, 2, at)) * seen
        out[Host.PRESSURE_MEMORY, at] = _ratio(pressed + 0.0005 * abs(noise_of(look, 3, at))) * seen
        out[Host.PRESSURE_IO, at] = _ratio(io + 0.002 * noise_of(look, 4, at)) * seen
        out[Host.OOM_KILLS, at] = shown["oom_kills"] * seen
    shake(seed, _STREAMS[1], node, look)
    _slow_parts(log, look, out)
    _watts(w, node, time_s, look, out)
    shake(seed, _STREAMS[2], node, look)
    for at in range(len(time_s)):
        typical, seen = _LEVELS[3, log[look.row[at]]["load"]], real[Real.SEEN, at]
        out[Host.READ_LATENCY, at] = typical * (1.0 + 0.1 * noise_of(look, 0, at)) * seen
        out[Host.WRITE_LATENCY, at] = typical * (1.0 + 0.1 * noise_of(look, 1, at)) * seen


@compiled_with_arrays
def read_shared(w: Tables, time_s: Floats, out: Floats) -> None:
    """Write (4, T), a row for each of ``Share``; its latency grows as its bandwidth shrinks."""
    look = look_beside(w, time_s)
    shake(w.core[0]["seed"], _SHARED_STREAM, len(w.nodes), look)
    for at in range(len(time_s)):
        factor = max(storage_at(w, time_s[at]), 1e-3)
        for row in range(SHARES):
            level = _SHARED_LEVELS[row] * (1.0 + _SHARED_SPREAD[row] * noise_of(look, row, at))
            slower = 1.0 / factor if row >= Share.READ_LATENCY else 1.0
            out[row, at] = level * slower * look.real[Real.SEEN, at]


@compiled
def storage_at(w: Tables, time_s: float) -> float:
    """Return the share of the shared storage's bandwidth that faults leave of it."""
    factor = 1.0
    for row in range(w.core[0]["faults_n"]):
        fault = w.faults[row]
        of = w.classes[fault["class"]]
        if of["effect"] == Effect.SLOW_STORAGE and _is_open(fault, time_s):
            grown = 1.0
            if of["ramp_s"] > 0:
                grown = min((time_s - fault["onset_s"]) / of["ramp_s"], 1.0)
            factor *= 1.0 - (1.0 - fault["size"]) * grown
    return factor


@compiled
def _is_open(fault: Any, time_s: float) -> bool:
    mended_s = fault["mended_s"]
    return bool(fault["onset_s"] <= time_s and (math.isnan(mended_s) or time_s < mended_s))


@compiled
def _stalls(w: Tables, look: Look) -> None:
    """Fill in where the ranks of the job on the node's first GPU wait for a checkpoint."""
    for at in range(len(look.row)):
        job = stepping_job(w.node_log[look.row[at]], 0)
        newest = w.job_last[job] if job >= 0 else -1
        pace_at(w.job_log, newest, (at, at + 1), look.real)


@compiled
def _slow_parts(log: NDArray[np.void], look: Look, out: Floats) -> None:
    """Write what changes over hours: air, handles, space."""
    real = look.real
    for at in range(len(look.row)):
        shown, seen, true_s = log[look.row[at]], real[Real.SEEN, at], real[Real.TRUE, at]
        lag = math.exp(-max(true_s - shown["start_s"], 0.0) / INLET_LAG_S)
        air = (
            shown["inlet_goal"] + (shown["inlet"] - shown["inlet_goal"]) * lag + real[Real.AIR, at]
        )
        out[Host.INLET, at] = np.rint((air + 0.15 * noise_of(look, 0, at)) * 10.0) / 10.0 * seen
        out[Host.OPEN_FILES, at] = _ratio(0.001 + 0.0001 * noise_of(look, 1, at)) * seen
        used = _grown(shown["scratch"], shown["scratch_slope"], shown, true_s)
        out[Host.SCRATCH, at] = _ratio(used + 0.0005 * noise_of(look, 2, at)) * seen
        out[Host.INODES, at] = _ratio(0.03 + 0.0003 * noise_of(look, 3, at)) * seen


@compiled_with_arrays
def _watts(w: Tables, node: int, time_s: Floats, look: Look, out: Floats) -> None:
    """Write the power of the node: its GPUs' and the rest's; a GPU off the bus draws nothing."""
    wanted = np.full(GAUGES, -1)
    wanted[Gauge.POWER] = 0
    boards = np.empty((1, GPUS, len(time_s)))
    read_gpus(w, node, time_s, wanted, boards)
    for at in range(len(time_s)):
        total = 0.0
        for gpu in range(GPUS):
            total += 0.0 if math.isnan(boards[0, gpu, at]) else boards[0, gpu, at]
        rest = _NODE_WATTS * (1.0 + 0.02 * noise_of(look, 4, at))
        out[Host.POWER, at] = (total + rest) * look.real[Real.SEEN, at]


@compiled
def _grown(value: float, slope: float, shown: Any, time_s: float) -> float:
    grown: float = min(value + slope * max(time_s - shown["start_s"], 0.0), 1.0)
    return grown


@compiled
def _ratio(value: float) -> float:
    return min(max(value, 0.0), 1.0)
