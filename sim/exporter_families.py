"""The sample names of dcgm-exporter and node_exporter, and how each comes from our catalogue.

Each is the inverse of an expression in ``core.exporters``. Names, types, units and help follow
dcgm-exporter's ``default-counters.csv`` and the text format of node_exporter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from core.types import Floats

DCGM, NODE, JOBS = "dcgm-exporter", "node-exporter", "jobs"

_MIB = 2.0**20
_NS = 1e9
# Of a node's file handles and of a volume; of both only shares matter.
_HANDLES = 2.0**40
_INODES = 2.0**40
_VOLUME_BYTES = 2.0**44
# One node has many more processors; what is read is their mean, and each is a line of the page.
_PROCESSORS = 4


@dataclass(frozen=True, slots=True)
class Family:
    """Samples of one name.

    of:     the catalogue metrics it is made of; ``make`` gets their (S, T) readings in order
    summed: ``make`` gets the one metric's sum over time instead and how long that was, both in
            seconds: what a share of time is to a counter of it
    more:   one sample of each target for each of these sets of further labels; where there are
            several, ``make`` returns the rows of one set after those of another
    """

    name: str
    exporter: str
    form: str
    text: str
    of: tuple[str, ...]
    make: Callable[..., Floats] | None = None
    summed: bool = False
    more: tuple[Mapping[str, str], ...] = ({},)


def _gauge(
    name: str, text: str, of: str | tuple[str, ...], make: Callable[..., Floats] | None = None
) -> Family:
    metrics = (of,) if isinstance(of, str) else of
    return Family(name, _exporter(name), "gauge", text, metrics, make)


def _counter(name: str, text: str, of: str) -> Family:
    return Family(name, _exporter(name), "counter", text, (of,))


def _seconds(name: str, text: str, of: str, scale: float = 1.0) -> Family:
    """Return a counter of the time that a share of time adds up to."""

    def make(summed_s: Floats, _: Floats) -> Floats:
        return summed_s * scale

    return Family(name, _exporter(name), "counter", text, (of,), make, summed=True)


def _processor_seconds(busy_s: Floats, all_s: Floats) -> Floats:
    """Return the seconds of each processor in idle, and then in user mode: all alike."""
    return np.concatenate([*[all_s - busy_s] * _PROCESSORS, *[busy_s] * _PROCESSORS])


def _exporter(name: str) -> str:
    return DCGM if name.startswith("DCGM_") else NODE


def _size(used: Floats, share: Floats) -> Floats:
    """Return the size in bytes of a memory of which ``used`` is that share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.round(used / share), 1.0)


def _frame_buffer_used(used: Floats, share: Floats) -> Floats:
    return share * _size(used, share) / _MIB


def _frame_buffer_free(used: Floats, share: Floats) -> Floats:
    return (1 - share) * _size(used, share) / _MIB


_FRAME_BUFFER = ("gpu_memory_used_bytes", "gpu_memory_used_ratio")
_MEMORY = ("node_memory_used_bytes", "node_memory_used_ratio")

_GPU = (
    _gauge("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz).", "gpu_sm_clock_hz",
           lambda hz: hz / 1e6),
    _gauge("DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature (in C).",
           "gpu_memory_temperature_celsius"),
    _gauge("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", "gpu_temperature_celsius"),
    _gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", "gpu_power_watts"),
    _gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", "gpu_utilization_ratio",
           lambda ratio: np.round(ratio * 100)),
    _gauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", _FRAME_BUFFER,
           _frame_buffer_used),
    _gauge("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).", _FRAME_BUFFER,
           _frame_buffer_free),
    _gauge("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.", "gpu_xid_code"),
    _gauge("DCGM_FI_DEV_ROW_REMAP_PENDING", "Whether a remapping of rows is pending.",
           "gpu_rows_remap_pending"),
    _gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", "Whether remapping of rows has failed.",
           "gpu_rows_remap_failed"),
    _counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Single-bit volatile ECC errors.",
             "gpu_ecc_corrected_total"),
    _counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Double-bit volatile ECC errors.",
             "gpu_ecc_uncorrected_total"),
    _counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "PCIe retries.", "gpu_pcie_replay_total"),
    _counter("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLink flow-control CRC errors.",
             "gpu_nvlink_errors_total"),
    _seconds("DCGM_FI_DEV_THERMAL_VIOLATION", "Throttling duration due to heat (in ns).",
             "gpu_throttle_ratio", _NS),
)  # fmt: skip

_HOST = (
    Family(
        name="node_cpu_seconds_total",
        exporter=NODE,
        form="counter",
        text="Seconds the CPUs spent in each mode.",
        of=("node_cpu_used_ratio",),
        make=_processor_seconds,
        summed=True,
        more=tuple(
            {"cpu": str(number), "mode": mode}
            for mode in ("idle", "user")
            for number in range(_PROCESSORS)
        ),
    ),
    _gauge("node_memory_MemTotal_bytes", "Memory information field MemTotal_bytes.", _MEMORY,
           lambda used, share: _size(used, share) + 0 * share),
    _gauge("node_memory_MemAvailable_bytes", "Memory information field MemAvailable_bytes.",
           _MEMORY, lambda used, share: np.round((1 - share) * _size(used, share))),
    _gauge("node_memory_SwapTotal_bytes", "Memory information field SwapTotal_bytes.",
           "node_memory_used_ratio", lambda share: 0 * share),
    _gauge("node_memory_SwapFree_bytes", "Memory information field SwapFree_bytes.",
           "node_memory_used_ratio", lambda share: 0 * share),
    _gauge("node_filefd_allocated", "File descriptor statistics: allocated.",
           "node_open_files_ratio", lambda share: np.round(share * _HANDLES)),
    _gauge("node_filefd_maximum", "File descriptor statistics: maximum.",
           "node_open_files_ratio", lambda share: 0 * share + _HANDLES),
    _seconds("node_pressure_cpu_waiting_seconds_total",
             "Seconds that processes have waited for CPU time.", "node_pressure_cpu_ratio"),
    _seconds("node_pressure_memory_waiting_seconds_total",
             "Seconds that processes have waited for memory.", "node_pressure_memory_ratio"),
    _seconds("node_pressure_io_waiting_seconds_total",
             "Seconds that processes have waited due to I/O congestion.", "node_pressure_io_ratio"),
    _counter("node_vmstat_oom_kill", "/proc/vmstat information field oom_kill.",
             "node_oom_kills_total"),
    _gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", "volume_used_ratio",
           lambda share: 0 * share + _VOLUME_BYTES),
    _gauge("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.",
           "volume_used_ratio", lambda share: np.round((1 - share) * _VOLUME_BYTES)),
    _gauge("node_filesystem_files", "Filesystem total file nodes.", "volume_inodes_used_ratio",
           lambda share: 0 * share + _INODES),
    _gauge("node_filesystem_files_free", "Filesystem total free file nodes.",
           "volume_inodes_used_ratio", lambda share: np.round((1 - share) * _INODES)),
    _gauge("node_infiniband_state_id", "State of the InfiniBand port.", "port_up",
           lambda up: np.where(up > 0, 4.0, np.where(up == 0, 1.0, np.nan))),
    _counter("node_infiniband_port_data_received_bytes_total", "Bytes received.",
             "port_receive_bytes_total"),
    _counter("node_infiniband_port_data_transmitted_bytes_total", "Bytes transmitted.",
             "port_transmit_bytes_total"),
    _counter("node_infiniband_symbol_error_total", "Minor link errors detected.",
             "port_errors_total"),
    _counter("node_infiniband_link_downed_total",
             "Times the link failed to recover from an error and went down.",
             "port_link_down_total"),
)  # fmt: skip

FAMILIES: tuple[Family, ...] = (*_GPU, *_HOST)
