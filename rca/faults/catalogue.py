"""The faults that a diagnosis can name, the readings they break and the events that betray them."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.target import TargetKind

K = TargetKind


@dataclass(frozen=True, slots=True)
class Fault:
    """One class of fault.

    scope:   what it sits on; a group of these (rack, switch, cluster) may share a cause
    metrics: the readings whose mechanism it breaks; the strongest speaks for it
    prior:   log odds against "nothing we can name", before any evidence, in nats
    text:    the words of a sentence about a target: "node-7: cooling is degraded"
    """

    name: str
    scope: TargetKind
    metrics: tuple[str, ...]
    prior: float
    text: str


# Priors: incidents have their cause in GPU and memory trouble more often than in the rest (Llama 3,
# table 5: 30 % GPU, 17 % HBM, 13 % software, 8 % network); all stay near -3.5 so that one weak
# reading alone never beats "unknown".
_RARE, _USUAL, _COMMON = -4.0, -3.5, -3.0

_ROWS = (
    Fault("gpu_fallen_off_bus", K.GPU, (), _USUAL, "the GPU has fallen off the bus"),
    Fault(
        "gpu_ecc_uncorrectable",
        K.GPU,
        ("gpu_ecc_uncorrected_total",),
        _COMMON,
        "GPU memory has uncorrectable errors",
    ),
    Fault(
        "gpu_row_remap",
        K.GPU,
        ("gpu_rows_remap_pending", "gpu_rows_remap_failed"),
        _USUAL,
        "GPU memory rows wait for a remap or could not be remapped",
    ),
    Fault(
        "gpu_nvlink_errors", K.GPU, ("gpu_nvlink_errors_total",), _USUAL, "NVLink reports errors"
    ),
    Fault("gpu_pcie_errors", K.GPU, ("gpu_pcie_replay_total",), _RARE, "PCIe replays packets"),
    Fault("gpu_hang", K.GPU, (), _USUAL, "the GPU or its firmware hangs"),
    Fault("gpu_power_fault", K.GPU, (), _RARE, "the GPU lacks auxiliary power"),
    Fault(
        "gpu_slow",
        K.GPU,
        ("gpu_sm_clock_hz", "gpu_throttle_ratio", "rank_step_time_s"),
        _USUAL,
        "the GPU is slow and nothing measured explains why",
    ),
    Fault(
        "gpu_memory_leak",
        K.GPU,
        ("gpu_memory_used_ratio", "gpu_memory_used_bytes"),
        _USUAL,
        "GPU memory keeps filling",
    ),
    Fault(
        "cooling_degraded",
        K.GPU,
        (
            "gpu_temperature_celsius",
            "gpu_memory_temperature_celsius",
            "node_inlet_temperature_celsius",
        ),
        _COMMON,
        "cooling is degraded",
    ),
    Fault(
        "cpu_contention",
        K.NODE,
        ("node_pressure_cpu_ratio", "node_cpu_used_ratio"),
        _USUAL,
        "programs compete for the processors",
    ),
    Fault(
        "memory_leak",
        K.NODE,
        (
            "node_memory_used_ratio",
            "node_memory_used_bytes",
            "node_swap_used_ratio",
            "node_pressure_memory_ratio",
            "node_oom_kills_total",
        ),
        _COMMON,
        "memory keeps filling",
    ),
    Fault(
        "file_handle_leak", K.NODE, ("node_open_files_ratio",), _RARE, "file handles keep filling"
    ),
    Fault("node_silent", K.NODE, ("node_up",), _COMMON, "the node does not answer"),
    Fault(
        "network_port_errors",
        K.PORT,
        ("port_errors_total",),
        _COMMON,
        "the network port has errors",
    ),
    Fault(
        "network_link_down",
        K.PORT,
        ("port_up", "port_link_down_total"),
        _COMMON,
        "the network link is down",
    ),
    Fault(
        "network_slow",
        K.RANK,
        ("rank_collective_time_s",),
        _RARE,
        "collectives are slow and no port shows why",
    ),
    Fault(
        "volume_filling",
        K.VOLUME,
        ("volume_used_ratio", "volume_inodes_used_ratio"),
        _COMMON,
        "the volume is filling up",
    ),
    Fault(
        "storage_slow",
        K.VOLUME,
        ("volume_read_latency_s", "volume_write_latency_s", "node_pressure_io_ratio"),
        _COMMON,
        "storage is slow",
    ),
    Fault(
        "data_loading_slow",
        K.RANK,
        ("rank_data_wait_s",),
        _RARE,
        "ranks wait for data and nothing measured explains why",
    ),
    Fault(
        "inference_overload",
        K.JOB,
        ("job_queue_depth", "job_latency_p99_s"),
        _USUAL,
        "more requests arrive than the replicas serve",
    ),
    Fault("software_error", K.JOB, (), _USUAL, "the job's own program failed"),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ROWS}

FAULT_OF_METRIC: Mapping[str, str] = {
    metric: fault.name for fault in _ROWS for metric in fault.metrics
}


@dataclass(frozen=True, slots=True)
class Sign:
    """An event speaks for a fault: ``weight`` is the log-likelihood ratio against its base rate."""

    fault: str
    weight: float


_NVLINK = Sign("gpu_nvlink_errors", 7.0)
_HANG = Sign("gpu_hang", 6.5)
_PROGRAM = Sign("software_error", 5.0)
# Follow-up Xids: the vendor says to ignore them unless alone.
_AFTERMATH = Sign("software_error", 2.0)

# NVIDIA's Xid catalogue: immediate action "reset GPU" or a hardware work flow is the GPU's fault,
# "restart application" is the program's until a reading says otherwise.
XID_SIGNS: Mapping[str, Sign] = {
    "79": Sign("gpu_fallen_off_bus", 9.0),
    "48": Sign("gpu_ecc_uncorrectable", 8.0),
    "95": Sign("gpu_ecc_uncorrectable", 8.0),
    "140": Sign("gpu_ecc_uncorrectable", 8.0),
    "94": Sign("gpu_ecc_uncorrectable", 7.0),
    "92": Sign("gpu_ecc_uncorrectable", 2.0),
    "63": Sign("gpu_row_remap", 6.0),
    "64": Sign("gpu_row_remap", 7.5),
    "54": Sign("gpu_power_fault", 8.0),
    **dict.fromkeys(("74", "136", *(str(code) for code in range(144, 151))), _NVLINK),
    **dict.fromkeys(("46", "62", "109", "110", "119", "120"), _HANG),
    **dict.fromkeys(("8", "11", "13", "25", "31", "32", "39", "40", "41", "69"), _PROGRAM),
    **dict.fromkeys(("43", "45"), _AFTERMATH),
}

# Kinds of event that are not an Xid. Only the first of its chain is a cause: a job that failed
# says little about why, so its weight stays below what any named hardware fault brings.
KIND_SIGNS: Mapping[str, Sign] = {
    "silent": Sign("node_silent", 6.0),
    "node_silent": Sign("node_silent", 6.0),
    "node_down": Sign("node_silent", 7.0),
    "gpu_lost": Sign("gpu_fallen_off_bus", 7.0),
    "gpu_suspect": Sign("gpu_hang", 6.5),
    "gpu_unreachable": Sign("gpu_fallen_off_bus", 6.0),
    "ecc_uncorrected": Sign("gpu_ecc_uncorrectable", 8.0),
    "ecc_dbe": Sign("gpu_ecc_uncorrectable", 8.0),
    "row_remap": Sign("gpu_row_remap", 6.5),
    "nvlink": _NVLINK,
    "sxid": _NVLINK,
    "link_down": Sign("network_link_down", 7.0),
    "pcie_error": Sign("gpu_fallen_off_bus", 3.0),
    "volume_full": Sign("volume_filling", 7.0),
    "oom": Sign("memory_leak", 6.0),
    "oom_kill": Sign("memory_leak", 6.0),
    "job_failed": Sign("software_error", 3.0),
    "job_stopped": Sign("software_error", 3.0),
}


_SILENT_GPU = Sign("gpu_fallen_off_bus", 5.0)


def sign_of(kind: str, code: str, on: TargetKind) -> Sign | None:
    """Return what an event of that kind and code on such a target speaks for; None for nothing.

    What falls silent tells by what it is: a node is away, a GPU is off the bus, a job has ended.
    """
    if kind == "xid":
        return XID_SIGNS.get(code.strip())
    sign = KIND_SIGNS.get(kind)
    if sign is None or sign.fault != "node_silent" or on is TargetKind.NODE:
        return sign
    return _SILENT_GPU if on is TargetKind.GPU else None
