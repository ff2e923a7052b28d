"""What exporters on the nodes and GPUs would read, one function for each metric of the catalogue.

Sizes are those of an eight-GPU H100 node under training: 80 GiB and 700 W a GPU (nvidia-smi -q),
2 TiB of host memory; idle and busy levels of host readings are assumptions.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from core.target import Target
from core.types import Floats
from sim.cluster import Shape, memory_at, scratch_at
from sim.look import Look, Read, Reading
from sim.scenario import GPUS_PER_NODE, SCRATCH
from sim.thermal import IDLE_WATTS, Load, inlet_at, temperature_at, watts

SHARED = "/shared"
_GPU_MEMORY_BYTES = 80 * 2.0**30
_NODE_MEMORY_BYTES = 2.0**41
_BOOST_HZ = 1.98e9
_IDLE_HZ = 3.45e8
_CLOCK_STEP_HZ = 1.5e7
_MOST_WATTS = 700.0
_HBM_ABOVE_CORE_CELSIUS = 5.0
_AIR_SWING_CELSIUS = 0.8
_STALL_UTILIZATION = 0.12
_CORRECTED_PER_S = 2e-6  # at most, of a GPU's corrected errors
_NODE_WATTS = 1900.0  # processors, fans, network, memory

NodeValue = Callable[[Look, int], Floats]


def gpu_readings() -> Mapping[str, Read]:
    """Return how each GPU metric is read."""
    return {
        "gpu_utilization_ratio": _of_gpus(_utilization),
        "gpu_memory_used_ratio": _of_gpus(_gpu_memory),
        "gpu_memory_used_bytes": _of_gpus(_gpu_memory_bytes),
        "gpu_temperature_celsius": _of_gpus(_temperature),
        "gpu_memory_temperature_celsius": _of_gpus(_memory_temperature),
        "gpu_power_watts": _of_gpus(gpu_watts),
        "gpu_sm_clock_hz": _of_gpus(_clock),
        "gpu_throttle_ratio": _of_gpus(_throttle),
        "gpu_ecc_corrected_total": _of_gpus(_corrected),
        "gpu_ecc_uncorrected_total": _of_gpus(_zero),
        "gpu_rows_remap_pending": _of_gpus(_zero),
        "gpu_rows_remap_failed": _of_gpus(_zero),
        "gpu_pcie_replay_total": _of_gpus(_zero),
        "gpu_nvlink_errors_total": _of_gpus(_zero),
        "gpu_xid_code": _of_gpus(_zero),
    }


def node_readings() -> Mapping[str, Read]:
    """Return how each node metric is read."""
    return {
        "node_up": _node_up,
        "node_cpu_used_ratio": _of_nodes(_processor),
        "node_memory_used_ratio": _of_nodes(_memory),
        "node_memory_used_bytes": _of_nodes(lambda look, s: _memory(look, s) * _NODE_MEMORY_BYTES),
        "node_open_files_ratio": _of_nodes(lambda look, s: _level(look, s, (0.001,) * 4, 0.0001)),
        "node_pressure_cpu_ratio": _of_nodes(_processor_pressure),
        "node_pressure_memory_ratio": _of_nodes(_memory_pressure),
        "node_pressure_io_ratio": _of_nodes(_io_pressure),
        "node_inlet_temperature_celsius": _of_nodes(_inlet),
        "node_power_watts": _of_nodes(_node_watts),
        "node_oom_kills_total": _of_nodes(lambda look, _: look.nodes["oom_kills"] * 1.0),
    }


def volume_readings() -> Mapping[str, Read]:
    """Return how each volume metric is read: every node's scratch, and the one they share."""
    return {
        "volume_used_ratio": _of_volumes(_scratch, shared=0.61),
        "volume_inodes_used_ratio": _of_volumes(_inodes, shared=0.12),
        "volume_read_latency_s": _of_volumes(_latency, shared=0.004),
        "volume_write_latency_s": _of_volumes(_latency, shared=0.006),
    }


@lru_cache(maxsize=8)
def gpu_targets(shape: Shape) -> tuple[Target, ...]:
    """Return the GPUs in index order."""
    return tuple(
        Target(node=shape.nodes[index // GPUS_PER_NODE], gpu=uuid)
        for index, uuid in enumerate(shape.gpus)
    )


@lru_cache(maxsize=8)
def node_targets(shape: Shape) -> tuple[Target, ...]:
    """Return the nodes in index order."""
    return tuple(Target(node=name) for name in shape.nodes)


def gpu_watts(look: Look, stream: int) -> Floats:
    """(G, T) board power: ranks that wait for the slowest, or a checkpoint, draw less."""
    rows = look.nodes
    load = np.broadcast_to(rows["load"][..., None], rows["clock"].shape)
    full = look.per_gpu(watts(load, rows["clock"]))
    working = look.spread(1 - 0.8 * look.stalled)
    drawn = IDLE_WATTS + (full - IDLE_WATTS) * working * look.spread(0.85 + 0.15 * look.duty)
    return np.clip(drawn * (1 + 0.015 * look.noise(stream, look.gpu_ids)), 50.0, _MOST_WATTS)


def _of_gpus(value: NodeValue) -> Read:
    def read(look: Look, stream: int) -> Reading:
        return gpu_targets(look.state.shape), value(look, stream) * look.gpu_scraped

    return read


def _of_nodes(value: NodeValue) -> Read:
    def read(look: Look, stream: int) -> Reading:
        return node_targets(look.state.shape), value(look, stream) * look.scraped

    return read


def _of_volumes(value: NodeValue, *, shared: float) -> Read:
    def read(look: Look, stream: int) -> Reading:
        shape = look.state.shape
        targets = tuple(Target(node=name, volume=SCRATCH) for name in shape.nodes)
        local = value(look, stream) * look.scraped
        common = look.noise(stream, np.array([len(shape.nodes)]))
        level = np.where(look.seen, shared * (1 + 0.01 * common), np.nan)
        return (*targets, Target(volume=SHARED)), np.concatenate([local, level])

    return read


def _level(
    look: Look, stream: int, levels: tuple[float, float, float, float], spread: float
) -> Floats:
    """(N, T) a level by load with noise, not below 0."""
    noise = look.noise(stream, look.node_ids)
    return np.maximum(look.by_load(levels) + spread * noise, 0.0)


def _zero(look: Look, _: int) -> Floats:
    return np.zeros((len(look.gpu_ids), len(look.time_s)))


def _utilization(look: Look, stream: int) -> Floats:
    level = look.spread(look.by_load((0.0, 0.06, 1.0, 0.97)))
    level = np.where(look.spread(look.stalled) > 0, _STALL_UTILIZATION, level)
    moving = np.where((level > 0) & (level < 1), 0.012, 0.0)
    noisy: Floats = np.clip(level + moving * look.noise(stream, look.gpu_ids), 0, 1)
    return np.round(noisy * 100) / 100  # NVML says whole per cents


def _gpu_memory(look: Look, stream: int) -> Floats:
    level = look.spread(look.by_load((0.01, 0.35, 0.9, 0.9)))
    noisy = level * (1 + 0.004 * look.noise(stream, look.gpu_ids))
    return np.clip(noisy, 0, 1)


def _gpu_memory_bytes(look: Look, stream: int) -> Floats:
    return _gpu_memory(look, stream) * _GPU_MEMORY_BYTES


def _temperature(look: Look, stream: int) -> Floats:
    celsius = look.per_gpu(temperature_at(look.nodes, look.time_s))
    swing = _AIR_SWING_CELSIUS * look.day
    return np.round(celsius + swing + 0.4 * look.noise(stream, look.gpu_ids))


def _memory_temperature(look: Look, stream: int) -> Floats:
    celsius = look.per_gpu(temperature_at(look.nodes, look.time_s)) + _HBM_ABOVE_CORE_CELSIUS
    swing = _AIR_SWING_CELSIUS * look.day
    return np.round(celsius + swing + 0.5 * look.noise(stream, look.gpu_ids))


def _clock(look: Look, _: int) -> Floats:
    idle = look.spread((look.nodes["load"] == Load.IDLE) * 1.0)
    running = look.per_gpu(look.nodes["clock"]) * _BOOST_HZ
    held = np.round(running / _CLOCK_STEP_HZ) * _CLOCK_STEP_HZ
    return np.where(idle > 0, _IDLE_HZ, held)


def _throttle(look: Look, stream: int) -> Floats:
    lost = 1 - look.per_gpu(look.nodes["clock"])
    noisy = 4 * lost * (1 + 0.05 * look.noise(stream, look.gpu_ids))
    return np.clip(noisy, 0, 1)


def _corrected(look: Look, stream: int) -> Floats:
    """(G, T) a counter that grows by each GPU's own small rate from its own start."""
    own = np.abs(look.still(stream, look.gpu_ids))
    grown = np.floor(own * (1 + _CORRECTED_PER_S * np.maximum(look.age_s, 0)))
    return np.broadcast_to(grown, (len(look.gpu_ids), len(look.time_s)))


def _node_up(look: Look, _: int) -> Reading:
    up = np.where(look.nodes["up"], look.scraped, np.where(look.seen, 0.0, np.nan))
    return node_targets(look.state.shape), up


def _processor(look: Look, stream: int) -> Floats:
    noisy = _level(look, stream, (0.02, 0.22, 0.3, 0.31), 0.012) + 0.006 * look.day
    return np.clip(noisy, 0, 1)


def _memory(look: Look, stream: int) -> Floats:
    noise = 0.003 * look.noise(stream, look.node_ids)
    return np.clip(memory_at(look.nodes, look.time_s) + noise, 0, 1)


def _processor_pressure(look: Look, stream: int) -> Floats:
    return np.clip(_level(look, stream, (0.001, 0.02, 0.01, 0.012), 0.002), 0, 1)


def _memory_pressure(look: Look, stream: int) -> Floats:
    short = np.maximum(memory_at(look.nodes, look.time_s) - 0.92, 0) * 8
    return np.clip(short + 0.0005 * np.abs(look.noise(stream, look.node_ids)), 0, 1)


def _io_pressure(look: Look, stream: int) -> Floats:
    level = _level(look, stream, (0.001, 0.2, 0.004, 0.01), 0.002) + 0.15 * look.stalled
    return np.clip(level, 0, 1)


def _inlet(look: Look, stream: int) -> Floats:
    air = inlet_at(look.nodes, look.time_s) + _AIR_SWING_CELSIUS * look.day
    return np.round(air + 0.15 * look.noise(stream, look.node_ids), 1)


def _node_watts(look: Look, stream: int) -> Floats:
    boards = gpu_watts(look, stream).reshape(-1, GPUS_PER_NODE, len(look.time_s))
    gpus = np.zeros((len(look.node_ids), len(look.time_s)))
    for board in range(GPUS_PER_NODE):  # numpy's sum adds in an order that depends on the shape
        gpus += boards[:, board]
    return gpus + _NODE_WATTS * (1 + 0.02 * look.noise(stream, look.node_ids))


def _scratch(look: Look, stream: int) -> Floats:
    noise = 0.0005 * look.noise(stream, look.node_ids)
    return np.clip(scratch_at(look.nodes, look.time_s) + noise, 0, 1)


def _inodes(look: Look, stream: int) -> Floats:
    return _level(look, stream, (0.03,) * 4, 0.0003)


def _latency(look: Look, stream: int) -> Floats:
    noise = look.noise(stream, look.node_ids)
    typical = look.by_load((0.0002, 0.0012, 0.0003, 0.0004))
    latency: Floats = typical * (1 + 0.1 * noise)
    return latency
