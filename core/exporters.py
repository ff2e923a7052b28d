"""Where Prometheus has each metric of the catalogue: expressions over well-known exporters' names.

Our own node service exports catalogue names with the prefix ``gpumedic_``. The others follow
dcgm-exporter's ``default-counters.csv`` and node_exporter's text format.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.details import GPU_MINOR
from core.units import CATALOG

OWN_PREFIX = "gpumedic_"

_MIB = 1048576
_REAL_FS = 'fstype!~"tmpfs|overlay|squashfs|ramfs|devtmpfs|fuse.*"'
_REAL_PORT = 'device!~"lo|veth.*|docker.*|cni.*|br-.*"'
_FB_TOTAL = "(DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"


@dataclass(frozen=True, slots=True)
class Dcgm:
    """One name of dcgm-exporter's, and the metric of ours that says the same.

    unit:    what 1 of its unit is in ours
    labels:  which of our readings it is, where they differ by more than the GPU
    counter: whether its type is that, else gauge
    """

    name: str
    metric: str
    unit: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    counter: bool = False


def _held(name: str, reason: str) -> Dcgm:
    """Return the name of the nanoseconds that a reason held the clocks back."""
    labels = (("reason", reason),)
    return Dcgm(f"DCGM_FI_DEV_{name}_VIOLATION", "gpu_throttle_s_total", 1e-9, labels, counter=True)


# Read in both directions: by the controller where dcgm-exporter runs, and on our own page where
# its names are asked for ([host] dcgm_names), for dashboards that know them.
DCGM: tuple[Dcgm, ...] = (
    Dcgm("DCGM_FI_DEV_SM_CLOCK", "gpu_sm_clock_hz", 1e6),
    Dcgm("DCGM_FI_DEV_MEM_CLOCK", "gpu_memory_clock_hz", 1e6),
    Dcgm("DCGM_FI_DEV_GPU_TEMP", "gpu_temperature_celsius"),
    Dcgm("DCGM_FI_DEV_MEMORY_TEMP", "gpu_memory_temperature_celsius"),
    Dcgm("DCGM_FI_DEV_POWER_USAGE", "gpu_power_watts"),
    Dcgm("DCGM_FI_DEV_POWER_MGMT_LIMIT", "gpu_power_limit_watts"),
    Dcgm("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "gpu_energy_joules_total", 1e-3, counter=True),
    Dcgm("DCGM_FI_DEV_GPU_UTIL", "gpu_utilization_ratio", 0.01),
    Dcgm("DCGM_FI_DEV_MEM_COPY_UTIL", "gpu_memory_busy_ratio", 0.01),
    Dcgm("DCGM_FI_DEV_ENC_UTIL", "gpu_encoder_busy_ratio", 0.01),
    Dcgm("DCGM_FI_DEV_DEC_UTIL", "gpu_decoder_busy_ratio", 0.01),
    Dcgm("DCGM_FI_DEV_FB_USED", "gpu_memory_used_bytes", _MIB),
    Dcgm("DCGM_FI_DEV_FB_FREE", "gpu_memory_free_bytes", _MIB),
    Dcgm("DCGM_FI_DEV_FB_RESERVED", "gpu_memory_reserved_bytes", _MIB),
    Dcgm("DCGM_FI_DEV_XID_ERRORS", "gpu_xid_code"),
    Dcgm("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "gpu_pcie_replay_total", counter=True),
    Dcgm("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "gpu_ecc_corrected_total", counter=True),
    Dcgm("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "gpu_ecc_uncorrected_total", counter=True),
    Dcgm("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "gpu_ecc_corrected_lifetime_total", counter=True),
    Dcgm("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "gpu_ecc_uncorrected_lifetime_total", counter=True),
    Dcgm("DCGM_FI_DEV_RETIRED_SBE", "gpu_pages_retired", 1.0, (("cause", "single_bit"),), True),
    Dcgm("DCGM_FI_DEV_RETIRED_DBE", "gpu_pages_retired", 1.0, (("cause", "double_bit"),), True),
    Dcgm("DCGM_FI_DEV_RETIRED_PENDING", "gpu_pages_retired_pending"),
    Dcgm(
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
        *("gpu_rows_remapped", 1.0, (("cause", "corrected"),), True),
    ),
    Dcgm(
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        *("gpu_rows_remapped", 1.0, (("cause", "uncorrected"),), True),
    ),
    Dcgm("DCGM_FI_DEV_ROW_REMAP_PENDING", "gpu_rows_remap_pending"),
    Dcgm("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gpu_rows_remap_failed"),
    Dcgm(
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        "gpu_nvlink_flit_crc_errors_total",
        counter=True,
    ),
    Dcgm(
        "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
        "gpu_nvlink_data_crc_errors_total",
        counter=True,
    ),
    Dcgm("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "gpu_nvlink_replays_total", counter=True),
    Dcgm(
        "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "gpu_nvlink_recoveries_total",
        counter=True,
    ),
    _held("POWER", "power_cap"),
    _held("THERMAL", "thermal"),
    _held("SYNC_BOOST", "sync_boost"),
    _held("BOARD_LIMIT", "board_limit"),
    _held("RELIABILITY", "reliability"),
)


def _of_dcgm(each: Dcgm) -> str:
    return each.name if each.unit == 1 else f"{each.name} * {each.unit:.10g}"


def _minors() -> str:
    """Return what gives dcgm-exporter's label of a GPU's device file as a number.

    16: the most GPUs that a machine is sold with (HGX-2, DGX-2)
    """
    name = "DCGM_FI_DEV_GPU_TEMP"
    return " or ".join(f'{name}{{device="nvidia{minor}"}} * 0 + {minor}' for minor in range(16))


EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    **{each.metric: (_of_dcgm(each),) for each in DCGM if each.metric in CATALOG},
    GPU_MINOR: (_minors(),),
    "gpu_memory_used_ratio": (f"DCGM_FI_DEV_FB_USED / {_FB_TOTAL}",),
    "gpu_throttle_ratio": ("rate(DCGM_FI_DEV_THERMAL_VIOLATION[2m]) * 1e-09",),
    "gpu_nvlink_errors_total": ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",),
    "node_up": ('up{job=~".*node.*"}',),
    "node_cpu_used_ratio": (
        '1 - avg without (cpu, mode) (rate(node_cpu_seconds_total{mode="idle"}[2m]))',
    ),
    "node_memory_used_ratio": ("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",),
    "node_memory_used_bytes": ("node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes",),
    "node_swap_used_ratio": ("1 - node_memory_SwapFree_bytes / (node_memory_SwapTotal_bytes > 0)",),
    "node_open_files_ratio": ("node_filefd_allocated / node_filefd_maximum",),
    "node_pressure_cpu_ratio": ("rate(node_pressure_cpu_waiting_seconds_total[2m])",),
    "node_pressure_memory_ratio": ("rate(node_pressure_memory_waiting_seconds_total[2m])",),
    "node_pressure_io_ratio": ("rate(node_pressure_io_waiting_seconds_total[2m])",),
    "node_oom_kills_total": ("node_vmstat_oom_kill",),
    "port_up": (f"node_network_up{{{_REAL_PORT}}}", "node_infiniband_state_id == bool 4"),
    "port_receive_bytes_total": (
        f"node_network_receive_bytes_total{{{_REAL_PORT}}}",
        "node_infiniband_port_data_received_bytes_total",
    ),
    "port_transmit_bytes_total": (
        f"node_network_transmit_bytes_total{{{_REAL_PORT}}}",
        "node_infiniband_port_data_transmitted_bytes_total",
    ),
    "port_errors_total": (
        f"node_network_receive_errs_total{{{_REAL_PORT}}}",
        "node_infiniband_symbol_error_total",
    ),
    "port_link_down_total": (
        f"node_network_carrier_down_changes_total{{{_REAL_PORT}}}",
        "node_infiniband_link_downed_total",
    ),
    "volume_used_ratio": (
        f"1 - node_filesystem_avail_bytes{{{_REAL_FS}}} / node_filesystem_size_bytes{{{_REAL_FS}}}",
    ),
    "volume_inodes_used_ratio": (
        f"1 - node_filesystem_files_free{{{_REAL_FS}}} / (node_filesystem_files{{{_REAL_FS}}} > 0)",
    ),
    "volume_readonly": (f"node_filesystem_readonly{{{_REAL_FS}}}",),
}

# Which labels name a part of a target, first found wins. Prometheus' own ``job`` label is the
# scrape job and never names a training job.
LABELS: Mapping[str, tuple[str, ...]] = {
    "node": ("node", "Hostname", "nodename", "instance"),
    "gpu": ("UUID", "uuid", "gpu_uuid"),
    "port": ("port_name", "device"),
    "volume": ("volume", "mountpoint"),
    "job": ("job_id", "slurm_job_id", "hpc_job", "jobid"),
    "rank": ("rank",),
}


def expressions(metric: str) -> tuple[str, ...]:
    """Return the PromQL expressions that may yield the metric, our own exporter's first."""
    return (OWN_PREFIX + metric, *EXPRESSIONS.get(metric, ()))
