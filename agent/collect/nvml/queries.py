"""What is asked of every GPU, as data: the call, and the readings that its answer holds.

Numbers of clocks, thresholds and fields are those of nvml.h. A field is one value of
``nvmlDeviceGetFieldValues``, which brings all of them in one call.
"""

from dataclasses import dataclass

from agent.collect.reading import Labels

_PERCENT, _MILLI, _MEGA, _NANO = 1e-2, 1e-3, 1e6, 1e-9
_SHUTDOWN, _SLOWDOWN, _MEMORY_MAX, _GPU_MAX = 0, 1, 2, 3
_GRAPHICS, _SM, _MEMORY, _VIDEO = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Part:
    """One reading out of an answer.

    of:   the structure's attribute, or the place in a list; None: the answer itself
    unit: the answer's unit in the metric's base unit
    """

    metric: str
    of: str | int | None = None
    unit: float = 1.0
    labels: Labels = ()


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity: each is there once
class Query:
    """One call on a GPU's handle.

    calls: names of nvidia-ml-py, the first that this driver knows is used
    once:  the answer changes by a reset or a new driver only
    """

    calls: tuple[str, ...]
    parts: tuple[Part, ...]
    args: tuple[object, ...] = ()
    once: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One value of ``nvmlDeviceGetFieldValues``; a link's where it is asked for each of them."""

    id: int
    metric: str
    unit: float = 1.0
    labels: Labels = ()


def _one(call: str, metric: str, unit: float = 1.0, *args: object, once: bool = False) -> Query:
    return Query((call,), (Part(metric, unit=unit),), args, once)


MEMORY_V2 = 0x02000028  # nvmlMemory_v2: what the driver keeps for itself is counted apart

QUERIES: tuple[Query, ...] = (
    Query(
        ("nvmlDeviceGetUtilizationRates",),
        (
            Part("gpu_utilization_ratio", "gpu", _PERCENT),
            Part("gpu_memory_busy_ratio", "memory", _PERCENT),
        ),
    ),
    Query(("nvmlDeviceGetEncoderUtilization",), (Part("gpu_encoder_busy_ratio", 0, _PERCENT),)),
    Query(("nvmlDeviceGetDecoderUtilization",), (Part("gpu_decoder_busy_ratio", 0, _PERCENT),)),
    Query(
        ("nvmlDeviceGetMemoryInfo",),
        (
            Part("gpu_memory_total_bytes", "total"),
            Part("gpu_memory_reserved_bytes", "reserved"),
            Part("gpu_memory_used_bytes", "used"),
            Part("gpu_memory_free_bytes", "free"),
        ),
        (MEMORY_V2,),
    ),
    Query(
        ("nvmlDeviceGetBAR1MemoryInfo",),
        (
            Part("gpu_bar1_total_bytes", "bar1Total"),
            Part("gpu_bar1_used_bytes", "bar1Used"),
        ),
    ),
    _one("nvmlDeviceGetPowerUsage", "gpu_power_watts", _MILLI),
    _one("nvmlDeviceGetEnforcedPowerLimit", "gpu_power_limit_watts", _MILLI),
    _one(
        "nvmlDeviceGetPowerManagementDefaultLimit",
        "gpu_power_limit_default_watts",
        _MILLI,
        once=True,
    ),
    Query(
        ("nvmlDeviceGetPowerManagementLimitConstraints",),
        (
            Part("gpu_power_limit_min_watts", 0, _MILLI),
            Part("gpu_power_limit_max_watts", 1, _MILLI),
        ),
        once=True,
    ),
    _one("nvmlDeviceGetTotalEnergyConsumption", "gpu_energy_joules_total", _MILLI),
    _one("nvmlDeviceGetClockInfo", "gpu_sm_clock_hz", _MEGA, _SM),
    _one("nvmlDeviceGetClockInfo", "gpu_graphics_clock_hz", _MEGA, _GRAPHICS),
    _one("nvmlDeviceGetClockInfo", "gpu_memory_clock_hz", _MEGA, _MEMORY),
    _one("nvmlDeviceGetClockInfo", "gpu_video_clock_hz", _MEGA, _VIDEO),
    _one("nvmlDeviceGetMaxClockInfo", "gpu_sm_clock_max_hz", _MEGA, _SM, once=True),
    _one("nvmlDeviceGetMaxClockInfo", "gpu_memory_clock_max_hz", _MEGA, _MEMORY, once=True),
    _one("nvmlDeviceGetPerformanceState", "gpu_performance_state"),
    _one("nvmlDeviceGetPersistenceMode", "gpu_persistence_mode"),
    _one("nvmlDeviceGetTemperature", "gpu_temperature_celsius", 1.0, 0),
    _one("nvmlDeviceGetMarginTemperature", "gpu_temperature_margin_celsius"),
    _one(
        "nvmlDeviceGetTemperatureThreshold",
        "gpu_temperature_shutdown_celsius",
        1.0,
        _SHUTDOWN,
        once=True,
    ),
    _one(
        "nvmlDeviceGetTemperatureThreshold",
        "gpu_temperature_slowdown_celsius",
        1.0,
        _SLOWDOWN,
        once=True,
    ),
    _one(
        "nvmlDeviceGetTemperatureThreshold",
        "gpu_memory_temperature_max_celsius",
        1.0,
        _MEMORY_MAX,
        once=True,
    ),
    _one(
        "nvmlDeviceGetTemperatureThreshold",
        "gpu_temperature_max_celsius",
        1.0,
        _GPU_MAX,
        once=True,
    ),
    _one("nvmlDeviceGetFanSpeed", "gpu_fan_speed_ratio", _PERCENT),
    Query(
        ("nvmlDeviceGetEccMode",),
        (Part("gpu_ecc_enabled", 0), Part("gpu_ecc_enabled_after_reset", 1)),
        once=True,
    ),
    Query(
        ("nvmlDeviceGetRowRemapperHistogram",),
        tuple(
            Part("gpu_row_remap_banks", left, labels=(("spare_rows", left),))
            for left in ("max", "high", "partial", "low", "none")
        ),
    ),
    _one("nvmlDeviceGetCurrPcieLinkGeneration", "gpu_pcie_generation"),
    _one("nvmlDeviceGetCurrPcieLinkWidth", "gpu_pcie_width"),
    _one("nvmlDeviceGetMaxPcieLinkGeneration", "gpu_pcie_generation_max", once=True),
    _one("nvmlDeviceGetMaxPcieLinkWidth", "gpu_pcie_width_max", once=True),
)

CLOCK_EVENT_CALLS = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",  # its name before driver 535
)
# Bit of nvmlDeviceGetCurrentClocksEventReasons -> word.
CLOCK_EVENTS: tuple[tuple[int, str], ...] = (
    (0x1, "idle"),
    (0x2, "clocks_set"),
    (0x4, "power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal"),
    (0x40, "hw_thermal"),
    (0x80, "power_brake"),
    (0x100, "display"),
)

# Margins count down to the limit for work; clocks are taken back, and the GPU is switched off, at
# these margins, which are below zero.
SHUTDOWN_OFFSET = "gpu_temperature_shutdown_offset_celsius"
SLOWDOWN_OFFSET = "gpu_temperature_slowdown_offset_celsius"
RECOVERY = "gpu_recovery_action"
LINKS = "gpu_nvlinks"
HELD_BACK = "gpu_throttle_s_total"


def _held(reason: str) -> Labels:
    return (("reason", reason),)


FIELDS: tuple[Field, ...] = (
    Field(3, "gpu_ecc_corrected_total"),
    Field(4, "gpu_ecc_uncorrected_total"),
    Field(5, "gpu_ecc_corrected_lifetime_total"),
    Field(6, "gpu_ecc_uncorrected_lifetime_total"),
    Field(29, "gpu_pages_retired", labels=(("cause", "single_bit"),)),
    Field(30, "gpu_pages_retired", labels=(("cause", "double_bit"),)),
    Field(31, "gpu_pages_retired_pending"),
    Field(38, "gpu_nvlink_flit_crc_errors_total"),
    Field(45, "gpu_nvlink_data_crc_errors_total"),
    Field(52, "gpu_nvlink_replays_total"),
    Field(59, "gpu_nvlink_recoveries_total"),
    Field(74, HELD_BACK, _NANO, _held("power_cap")),
    Field(75, HELD_BACK, _NANO, _held("thermal")),
    Field(76, HELD_BACK, _NANO, _held("sync_boost")),
    Field(77, HELD_BACK, _NANO, _held("board_limit")),
    Field(79, HELD_BACK, _NANO, _held("reliability")),
    Field(269, HELD_BACK, _NANO, _held("sw_thermal")),
    Field(270, HELD_BACK, _NANO, _held("hw_thermal")),
    Field(271, HELD_BACK, _NANO, _held("power_brake")),
    Field(82, "gpu_memory_temperature_celsius"),
    Field(91, LINKS),
    Field(94, "gpu_pcie_replay_total"),
    Field(142, "gpu_rows_remapped", labels=(("cause", "corrected"),)),
    Field(143, "gpu_rows_remapped", labels=(("cause", "uncorrected"),)),
    Field(144, "gpu_rows_remap_pending"),
    Field(145, "gpu_rows_remap_failed"),
    Field(169, "gpu_pcie_recoveries_total"),
    Field(173, "gpu_pcie_correctable_errors_total"),
    Field(179, "gpu_pcie_nonfatal_errors_total"),
    Field(180, "gpu_pcie_fatal_errors_total"),
    Field(193, SHUTDOWN_OFFSET),
    Field(194, SLOWDOWN_OFFSET),
    Field(230, RECOVERY),
)

# Asked of each NVLink by its number; the last five count since NVLink 5 (Blackwell).
LINK_FIELDS: tuple[Field, ...] = (
    Field(165, "gpu_nvlink_state"),
    Field(161, "gpu_nvlink_link_replays_total"),
    Field(162, "gpu_nvlink_link_recoveries_total"),
    Field(163, "gpu_nvlink_link_crc_errors_total"),
    Field(208, "gpu_nvlink_receive_errors_total"),
    Field(214, "gpu_nvlink_recoveries_failed_total"),
    Field(219, "gpu_nvlink_effective_errors_total"),
    Field(221, "gpu_nvlink_symbol_errors_total"),
)
