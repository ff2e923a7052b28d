"""How often each class of fault comes in the families of clusters, and how long repairs take there.

Shares are published ones where there are any: the mean of five fleets' mixes. What no public count
has gets a tenth together, assumed. Only shares matter here; how many faults a life has is
the family's.
"""

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any

from sim.catalogue import fault_class, profile
from sim.engine.words import Scope
from sim.scenario import Scenario

Weights = tuple[tuple[str, float], ...]
_FLEETS = ("llama3", "fthsdp", "infinitehbd", "byterobust", "c4")
# Longest repair that counts in the mean: no life is longer, and some repairs take months.
_MOST_REPAIR_S = 3 * 86_400.0
_BY_DOMAIN = (Scope.LEAF, Scope.RACK, Scope.POWER, Scope.COOLING)

# Left out: what others announce, what strikes telemetry alone, services' own, and the classes that
# the held-out mix adds.
_TAUGHT = (
    "gpu_fallen_off_bus",
    "gpu_compute_fault",
    "gpu_ecc_uncorrectable",
    "gpu_hbm",
    "gpu_sram",
    "gpu_row_remap",
    "gpu_ecc_growth",
    "gpu_gsp",
    "gpu_hang",
    "gpu_nvlink_errors",
    "gpu_illegal_access",
    "gpu_cuda_error",
    "gpu_fail_slow",
    "node_reboot",
    "kernel_panic",
    "host_board",
    "host_memory",
    "host_maintenance",
    "nic_failure",
    "port_flap",
    "network_cable",
    "infiniband_error",
    "cooling_degraded",
    "software_bug",
    "nccl_watchdog",
    "nan_loss",
    "leaf_switch",
)
_TAUGHT_ASSUMED = (
    "loader_memory_leak",
    "volume_filling",
    "cpu_contention",
    "silent_hang",
    "loader_starved",
    "storage_slow",
    "power_cap",
)
_NEW = (
    "gpu_power_fault",
    "gpu_thermal_interface",
    "gpu_row_remap_failed",
    "gpu_pcie_errors",
    "power_supply",
    "host_cpu",
    "host_disk",
    "driver_fault",
    "filesystem_mount",
    "noisy_neighbour",
    "remote_storage_error",
    "container_error",
    "spine_congestion",
    "cooling_unit",
)
_OF_DOMAINS = ("leaf_switch", "leaf_switch_flap", "rack_power", "cooling_unit", "power_cap")


def published(names: Iterable[str]) -> Mapping[str, float]:
    """Return each class's mean share of the faults of five fleets; 0 where none counted it."""
    fleets = [profile(name).rates for name in _FLEETS]
    return {
        name: sum(rates.get(name, 0.0) / sum(rates.values()) for rates in fleets) / len(fleets)
        for name in names
    }


def _weights(counted: Mapping[str, float], added: Iterable[str], *, share: float) -> Weights:
    """Return shares with those of ``added`` all alike and together ``share`` of the counted."""
    new = tuple(added)
    each = share * sum(counted.values()) / len(new)
    return tuple({**counted, **dict.fromkeys(new, each)}.items())


_COUNTED = published(_TAUGHT)
_TRACE = {name: rate for name, rate in profile("infinitehbd").rates.items() if name in _COUNTED}
BASE = _weights(_COUNTED, _TAUGHT_ASSUMED, share=0.1)
# Half of the faults are of classes that training never meets; the others as the largest single
# trace of hardware faults has them.
NEW_CLASSES = _weights(_TRACE, _NEW, share=1.0)
# A quarter of the faults strikes whole racks at once.
DOMAIN_CLASSES = _weights(dict(BASE), _OF_DOMAINS, share=1 / 3)


def is_transient(name: str) -> bool:
    """Say whether faults of a class mostly end by themselves, by a restart or by a reboot."""
    parameters = _of(name)
    ends = max(parameters["restart_mends"].value, parameters["reboot_mends"].value)
    return bool(parameters["lasts_alone"].value) or ends >= 0.9


def units_of(name: str, *, nodes: int, racks: int) -> int:
    """Return how many units a rate of the class counts for: nodes or domains; a rack is each."""
    scope = fault_class(name).scope
    if scope in _BY_DOMAIN:
        return racks
    return 1 if scope in (Scope.STORAGE, Scope.FLEET) else nodes


def a_day(scenario: Scenario) -> float:
    """Return the mean number of faults a day that a scenario's own rates make."""
    nodes, racks = scenario.nodes, scenario.racks
    return sum(rate * units_of(name, nodes=nodes, racks=racks) for name, rate in scenario.rates)


def site_repair_s(scenario: Scenario) -> float:
    """Return the mean time that a crew takes where one is wanted, each cut at three days, s."""
    total, weighed = 0.0, 0.0
    for name, rate in scenario.rates:
        if _wants_crew(name):
            median_s, sigma = _of(name)["lasts"].value
            mean_s = _cut_mean(median_s * scenario.site.repair_scale, sigma, _MOST_REPAIR_S)
            total, weighed = total + rate, weighed + rate * mean_s
    return weighed / total


def _wants_crew(name: str) -> bool:
    on_node = fault_class(name).scope in (Scope.GPU, Scope.NODE)
    return on_node and not _of(name)["lasts_alone"].value


def _cut_mean(median: float, sigma: float, most: float) -> float:
    """Return the mean of min(X, most), X lognormal."""
    if sigma == 0:
        return min(median, most)
    normal, at = NormalDist(), (math.log(most / median)) / sigma
    mean = median * math.exp(sigma**2 / 2)
    return mean * normal.cdf(at - sigma) + most * (1.0 - normal.cdf(at))


def _of(name: str) -> Mapping[str, Any]:
    return fault_class(name).parameters
