"""Readings that a node shows for people and dashboards, beside those of the catalogue.

The controller watches the catalogue's metrics (``core.units``); nothing is decided by these, so
that one more costs a line on a node's page and nothing on a cluster's. Names follow its rules.
"""

import math
from collections.abc import Mapping

from core.target import TargetKind
from core.units import CATALOG, Bad, Metric

GPU_MINOR = "gpu_minor"  # by it alone, a scheduler's number of a GPU is joined with its UUID

_ROWS: Mapping[TargetKind, tuple[tuple[str, str], ...]] = {
    TargetKind.NODE: (("node_driver_info", "always 1; versions of the driver"),),
    TargetKind.GPU: (
        ("gpu_answers", "1 while the GPU answers NVML"),
        ("gpu_info", "always 1; what the GPU is"),
        (GPU_MINOR, "number of its device file, /dev/nvidiaN"),
        ("gpu_memory_busy_ratio", "share of time that memory was read or written"),
        ("gpu_encoder_busy_ratio", "share of time that the video encoder ran"),
        ("gpu_decoder_busy_ratio", "share of time that the video decoder ran"),
        ("gpu_memory_total_bytes", "frame buffer there is"),
        ("gpu_memory_reserved_bytes", "frame buffer that the driver keeps for itself"),
        ("gpu_memory_free_bytes", "frame buffer not in use"),
        ("gpu_bar1_total_bytes", "memory that can be mapped over PCIe"),
        ("gpu_bar1_used_bytes", "memory that is mapped over PCIe"),
        ("gpu_power_limit_watts", "power limit in force"),
        ("gpu_power_limit_default_watts", "power limit after a reset"),
        ("gpu_power_limit_min_watts", "lowest power limit that can be set"),
        ("gpu_power_limit_max_watts", "highest power limit that can be set"),
        ("gpu_energy_joules_total", "energy used since the driver was loaded"),
        ("gpu_graphics_clock_hz", "graphics clock"),
        ("gpu_memory_clock_hz", "memory clock"),
        ("gpu_video_clock_hz", "video clock"),
        ("gpu_sm_clock_max_hz", "highest streaming-multiprocessor clock"),
        ("gpu_memory_clock_max_hz", "highest memory clock"),
        ("gpu_performance_state", "0 is fastest, 15 slowest"),
        ("gpu_persistence_mode", "1 where the driver stays loaded without a client"),
        ("gpu_clock_event", "1 while this reason sets the clocks"),
        ("gpu_throttle_s_total", "time that this reason held the clocks back"),
        ("gpu_temperature_margin_celsius", "degrees below the limit for work"),
        ("gpu_temperature_max_celsius", "limit for work"),
        ("gpu_temperature_slowdown_celsius", "clocks are taken back from here on"),
        ("gpu_temperature_shutdown_celsius", "the GPU switches itself off here"),
        ("gpu_temperature_slowdown_offset_celsius", "margin at which clocks are taken back"),
        ("gpu_temperature_shutdown_offset_celsius", "margin at which the GPU switches off"),
        ("gpu_temperature_slowdown_margin_celsius", "degrees left until clocks are taken back"),
        ("gpu_temperature_shutdown_margin_celsius", "degrees left until the GPU switches off"),
        ("gpu_memory_temperature_max_celsius", "limit for the memory"),
        ("gpu_fan_speed_ratio", "fan speed of the highest"),
        ("gpu_ecc_enabled", "1 while memory errors are corrected"),
        ("gpu_ecc_enabled_after_reset", "the same after the next reset"),
        ("gpu_ecc_corrected_lifetime_total", "corrected memory errors since it was made"),
        ("gpu_ecc_uncorrected_lifetime_total", "uncorrected memory errors since it was made"),
        ("gpu_rows_remapped", "memory rows replaced, by the kind of error"),
        ("gpu_row_remap_banks", "memory banks by the spare rows that they have left"),
        ("gpu_pages_retired", "memory pages taken out, by the kind of error"),
        ("gpu_pages_retired_pending", "1 while pages wait for a reset to be taken out"),
        ("gpu_nvlinks", "NVLinks there are"),
        ("gpu_nvlinks_up", "NVLinks that are up"),
        ("gpu_nvlink_state", "0 down, 1 up, 2 asleep, 3 up without traffic"),
        ("gpu_nvlink_flit_crc_errors_total", "checksum errors in flow control, all links"),
        ("gpu_nvlink_data_crc_errors_total", "checksum errors in data, all links"),
        ("gpu_nvlink_replays_total", "packets sent again, all links"),
        ("gpu_nvlink_recoveries_total", "times a link was brought up again, all links"),
        ("gpu_nvlink_link_replays_total", "packets sent again"),
        ("gpu_nvlink_link_recoveries_total", "times the link was brought up again"),
        ("gpu_nvlink_link_crc_errors_total", "checksum errors"),
        ("gpu_nvlink_receive_errors_total", "packets received with errors"),
        ("gpu_nvlink_recoveries_failed_total", "times the link did not come up again"),
        ("gpu_nvlink_effective_errors_total", "errors left after correction"),
        ("gpu_nvlink_symbol_errors_total", "symbol errors"),
        ("gpu_pcie_generation", "PCIe generation in use; lower at rest"),
        ("gpu_pcie_generation_max", "PCIe generation possible here"),
        ("gpu_pcie_width", "PCIe lanes in use"),
        ("gpu_pcie_width_max", "PCIe lanes possible here"),
        ("gpu_pcie_recoveries_total", "times the PCIe link left work to recover"),
        ("gpu_pcie_correctable_errors_total", "correctable PCIe errors"),
        ("gpu_pcie_nonfatal_errors_total", "PCIe errors that were not fatal"),
        ("gpu_pcie_fatal_errors_total", "fatal PCIe errors"),
        ("gpu_fabric_state", "0 none, 1 not started, 2 in progress, 3 joined"),
        ("gpu_fabric_health", "0 unknown, 1 healthy, 2 unhealthy, 3 limited"),
        ("gpu_recovery_action", "what the driver says would mend it, 0 for nothing"),
        ("gpu_processes", "processes on the GPU"),
        ("gpu_job_processes", "processes of a job on the GPU"),
        ("gpu_power_period_s", "time in which its work repeats itself, by its power"),
        ("gpu_mig_enabled", "1 while the GPU is divided into instances"),
        ("gpu_instance_memory_total_bytes", "memory of a MIG instance"),
        ("gpu_instance_memory_used_bytes", "memory in use of a MIG instance"),
    ),
}

DETAILS: Mapping[str, Metric] = {
    name: Metric(name, scope, Bad.NEITHER, -math.inf, math.inf, math.nan, text)
    for scope, rows in _ROWS.items()
    for name, text in rows
}

# All that readings can be of.
METRICS: Mapping[str, Metric] = {**CATALOG, **DETAILS}
