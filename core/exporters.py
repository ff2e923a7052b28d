"""Where Prometheus has each metric of the catalogue: expressions over well-known exporters' names.

Our own node service exports catalogue names with the prefix ``gpumedic_``. The others follow
dcgm-exporter's ``default-counters.csv`` and node_exporter's text format.
"""

from collections.abc import Mapping

OWN_PREFIX = "gpumedic_"

_MIB = 1048576
_REAL_FS = 'fstype!~"tmpfs|overlay|squashfs|ramfs|devtmpfs|fuse.*"'
_REAL_PORT = 'device!~"lo|veth.*|docker.*|cni.*|br-.*"'
_FB_TOTAL = "(DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"
# Clock-event reasons, nvml.h: SW thermal 0x20, HW slowdown 0x8, HW thermal 0x40, power brake 0x80.
_VIOLATION_NS_TO_RATIO = 1e-9

EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "gpu_utilization_ratio": ("DCGM_FI_DEV_GPU_UTIL / 100",),
    "gpu_memory_used_bytes": (f"DCGM_FI_DEV_FB_USED * {_MIB}",),
    "gpu_memory_used_ratio": (f"DCGM_FI_DEV_FB_USED / {_FB_TOTAL}",),
    "gpu_temperature_celsius": ("DCGM_FI_DEV_GPU_TEMP",),
    "gpu_memory_temperature_celsius": ("DCGM_FI_DEV_MEMORY_TEMP",),
    "gpu_power_watts": ("DCGM_FI_DEV_POWER_USAGE",),
    "gpu_sm_clock_hz": ("DCGM_FI_DEV_SM_CLOCK * 1e6",),
    "gpu_throttle_ratio": (
        f"rate(DCGM_FI_DEV_THERMAL_VIOLATION[2m]) * {_VIOLATION_NS_TO_RATIO:g}",
    ),
    "gpu_ecc_corrected_total": ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",),
    "gpu_ecc_uncorrected_total": ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",),
    "gpu_rows_remap_pending": ("DCGM_FI_DEV_ROW_REMAP_PENDING",),
    "gpu_rows_remap_failed": ("DCGM_FI_DEV_ROW_REMAP_FAILURE",),
    "gpu_pcie_replay_total": ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER",),
    "gpu_nvlink_errors_total": ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",),
    "gpu_xid_code": ("DCGM_FI_DEV_XID_ERRORS",),
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
