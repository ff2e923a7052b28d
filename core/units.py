"""The metric catalogue: every reading gpumedic knows, its base unit, and which way is bad.

Names end in their unit: ``_ratio`` is 0 to 1, ``_bytes``, ``_celsius``, ``_watts``, ``_hz``,
``_s``, and ``_total`` for a counter that only grows until its source restarts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.target import TargetKind


class Bad(StrEnum):
    """Which direction of a metric means trouble."""

    HIGH = "high"
    LOW = "low"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Metric:
    """One kind of reading.

    low, high: plausible range in the base unit; a reading outside is the source's fault, not news
    limit:     the default static limit on the bad side; NaN: none
    """

    name: str
    scope: TargetKind
    bad: Bad
    low: float
    high: float
    limit: float
    text: str

    @property
    def unit(self) -> str:
        """Return the base unit the name ends in; "" for a plain count."""
        return next((unit for suffix, unit in _UNITS.items() if self.name.endswith(suffix)), "")

    @property
    def counter(self) -> bool:
        """Say whether the metric only grows until its source restarts."""
        return self.name.endswith("_total")

    def plausible(self, value: float) -> bool:
        """Say whether a source may report this; NaN and infinities never are."""
        return self.low <= value <= self.high


_UNITS = {
    "_ratio": "ratio",
    "_bytes": "bytes",
    "_bytes_total": "bytes",
    "_joules_total": "J",
    "_s_total": "s",
    "_celsius": "°C",
    "_watts": "W",
    "_hz": "Hz",
    "_s": "s",
}

_NO_LIMIT = math.nan
_INF = math.inf
_TIB = 2.0**40

# Temperature limits: 87 °C is H100 SXM's maximum operating temperature by `nvidia-smi -q`, which
# slows its clocks at 89; HBM has its own limit of about 95 that the core temperature does not show.
_ROWS: Mapping[TargetKind, tuple[tuple[str, Bad, float, float, float, str], ...]] = {
    TargetKind.GPU: (
        ("gpu_utilization_ratio", Bad.LOW, 0, 1, _NO_LIMIT, "share of time a kernel ran"),
        ("gpu_memory_used_ratio", Bad.HIGH, 0, 1, 0.98, "frame buffer in use"),
        ("gpu_memory_used_bytes", Bad.HIGH, 0, _TIB, _NO_LIMIT, "frame buffer in use"),
        ("gpu_temperature_celsius", Bad.HIGH, -20, 150, 87, "GPU core temperature"),
        ("gpu_memory_temperature_celsius", Bad.HIGH, -20, 150, 95, "HBM temperature"),
        ("gpu_power_watts", Bad.NEITHER, 0, 5000, _NO_LIMIT, "board power"),
        ("gpu_sm_clock_hz", Bad.LOW, 0, 1e10, _NO_LIMIT, "streaming-multiprocessor clock"),
        ("gpu_throttle_ratio", Bad.HIGH, 0, 1, _NO_LIMIT, "share of time clocks were held back"),
        ("gpu_ecc_corrected_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "corrected memory errors"),
        ("gpu_ecc_uncorrected_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "uncorrected memory errors"),
        ("gpu_rows_remap_pending", Bad.HIGH, 0, 1, _NO_LIMIT, "a row remap waits for a reset"),
        ("gpu_rows_remap_failed", Bad.HIGH, 0, 1, _NO_LIMIT, "a row remap failed"),
        ("gpu_pcie_replay_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "PCIe replays"),
        ("gpu_nvlink_errors_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "NVLink CRC and recovery errors"),
        ("gpu_xid_code", Bad.NEITHER, 0, 1000, _NO_LIMIT, "last Xid seen, 0 for none"),
    ),
    TargetKind.NODE: (
        ("node_up", Bad.LOW, 0, 1, _NO_LIMIT, "1 while the node's exporter answers"),
        ("node_cpu_used_ratio", Bad.HIGH, 0, 1, _NO_LIMIT, "processor time in use"),
        ("node_memory_used_ratio", Bad.HIGH, 0, 1, 0.95, "memory not available to programs"),
        ("node_memory_used_bytes", Bad.HIGH, 0, 1024 * _TIB, _NO_LIMIT, "memory not available"),
        ("node_swap_used_ratio", Bad.HIGH, 0, 1, 0.9, "swap in use"),
        ("node_open_files_ratio", Bad.HIGH, 0, 1, 0.9, "file handles in use of the maximum"),
        ("node_pressure_cpu_ratio", Bad.HIGH, 0, 1, _NO_LIMIT, "time some task waited for CPU"),
        ("node_pressure_memory_ratio", Bad.HIGH, 0, 1, 0.5, "time some task waited for memory"),
        ("node_pressure_io_ratio", Bad.HIGH, 0, 1, _NO_LIMIT, "time some task waited for I/O"),
        ("node_inlet_temperature_celsius", Bad.HIGH, -20, 80, 35, "air at the inlet"),
        ("node_power_watts", Bad.NEITHER, 0, 1e5, _NO_LIMIT, "whole-node power"),
        ("node_oom_kills_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "processes killed for memory"),
    ),
    TargetKind.PORT: (
        ("port_up", Bad.LOW, 0, 1, _NO_LIMIT, "1 while the link is up"),
        ("port_receive_bytes_total", Bad.NEITHER, 0, _INF, _NO_LIMIT, "bytes received"),
        ("port_transmit_bytes_total", Bad.NEITHER, 0, _INF, _NO_LIMIT, "bytes sent"),
        ("port_errors_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "symbol and CRC errors and drops"),
        ("port_link_down_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "times the link went down"),
    ),
    TargetKind.VOLUME: (
        ("volume_used_ratio", Bad.HIGH, 0, 1, 0.95, "space in use"),
        ("volume_inodes_used_ratio", Bad.HIGH, 0, 1, 0.95, "inodes in use"),
        ("volume_readonly", Bad.HIGH, 0, 1, _NO_LIMIT, "1 while nothing can be written"),
        ("volume_read_latency_s", Bad.HIGH, 0, 3600, _NO_LIMIT, "mean read time"),
        ("volume_write_latency_s", Bad.HIGH, 0, 3600, _NO_LIMIT, "mean write time"),
        ("volume_read_bytes_total", Bad.NEITHER, 0, _INF, _NO_LIMIT, "bytes read"),
        ("volume_written_bytes_total", Bad.NEITHER, 0, _INF, _NO_LIMIT, "bytes written"),
    ),
    TargetKind.JOB: (
        ("job_step_time_s", Bad.HIGH, 0, 86400, _NO_LIMIT, "time of one optimiser step"),
        ("job_steps_total", Bad.LOW, 0, _INF, _NO_LIMIT, "optimiser steps done"),
        ("job_goodput_ratio", Bad.LOW, 0, 1, _NO_LIMIT, "useful share of the job's GPU time"),
        ("job_checkpoint_age_s", Bad.HIGH, 0, 1e8, _NO_LIMIT, "age of the newest checkpoint"),
        ("job_loss", Bad.HIGH, -1e9, 1e9, _NO_LIMIT, "training loss of the newest step"),
        ("job_grad_norm", Bad.HIGH, 0, 1e12, _NO_LIMIT, "norm of the gradient, before clipping"),
        ("job_nan_steps_total", Bad.HIGH, 0, _INF, _NO_LIMIT, "steps whose loss was no number"),
        ("job_queue_depth", Bad.HIGH, 0, 1e9, _NO_LIMIT, "requests that wait in an inference job"),
        ("job_latency_p99_s", Bad.HIGH, 0, 3600, _NO_LIMIT, "99th percentile request latency"),
        ("job_requests_total", Bad.NEITHER, 0, _INF, _NO_LIMIT, "requests served"),
        ("job_replicas", Bad.NEITHER, 0, 1e6, _NO_LIMIT, "replicas that serve"),
    ),
    TargetKind.RANK: (
        ("rank_step_time_s", Bad.HIGH, 0, 86400, _NO_LIMIT, "a rank's own time a step, no waiting"),
        ("rank_data_wait_s", Bad.HIGH, 0, 86400, _NO_LIMIT, "time a step waits for its data"),
        ("rank_collective_time_s", Bad.HIGH, 0, 86400, _NO_LIMIT, "time a step is in collectives"),
    ),
}

CATALOG: Mapping[str, Metric] = {
    row[0]: Metric(row[0], scope, *row[1:]) for scope, rows in _ROWS.items() for row in rows
}
