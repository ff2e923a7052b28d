"""How one kind of reading moves another: the known mechanisms of a GPU cluster, as data."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache


class Join(StrEnum):
    """Which two targets a mechanism connects.

    A volume that no node owns is shared and touches everything the join could reach.
    """

    GPU = "same gpu"
    NODE = "same node"
    VOLUME = "same volume"
    JOB = "same job"
    NODE_JOB = "a job on the node"


@dataclass(frozen=True, slots=True)
class Template:
    """``cause`` moves ``effect``.

    sign:       +1 they move together, -1 against each other
    lag_s:      longest time the effect may come after the cause
    strength:   1 for a mechanism as known; less for every unmeasured reading it is bridged over
    barrier:    the effect is the maximum over its causes (the slowest rank sets the step); this
                is arithmetic and never a regression
    provenance: where the link comes from
    over:       readings nobody measures that the link is bridged over
    """

    cause: str
    effect: str
    join: Join
    sign: int = 1
    lag_s: float = 15.0
    strength: float = 1.0
    barrier: bool = False
    provenance: str = "mechanism"
    over: tuple[str, ...] = ()


UNMEASURED_HOP = 0.3  # facts: a hop over an unmeasured reading keeps 0.05 to 0.3 of its weight

_THERMAL_S, _BUFFER_S, _STORAGE_S = 60.0, 120.0, 120.0

_G, _N, _V, _J, _NJ = Join.GPU, Join.NODE, Join.VOLUME, Join.JOB, Join.NODE_JOB

# Heat, clocks, compute | NVLink and ports -> collectives | storage, memory, processors -> data |
# the barrier and what follows from it | errors and silence that stop a job | inference.
TEMPLATES: tuple[Template, ...] = (
    Template("gpu_utilization_ratio", "gpu_power_watts", _G),
    Template("gpu_utilization_ratio", "gpu_sm_clock_hz", _G),
    Template("gpu_power_watts", "gpu_temperature_celsius", _G, lag_s=_THERMAL_S),
    Template("node_inlet_temperature_celsius", "gpu_temperature_celsius", _N, lag_s=_THERMAL_S),
    Template(
        "node_inlet_temperature_celsius", "gpu_memory_temperature_celsius", _N, lag_s=_THERMAL_S
    ),
    Template("gpu_temperature_celsius", "gpu_throttle_ratio", _G, lag_s=_THERMAL_S),
    Template("gpu_memory_temperature_celsius", "gpu_throttle_ratio", _G, lag_s=_THERMAL_S),
    Template("gpu_throttle_ratio", "gpu_sm_clock_hz", _G, -1),
    Template("gpu_sm_clock_hz", "rank_step_time_s", _G, -1),
    Template("gpu_pcie_replay_total", "rank_step_time_s", _G),
    Template("gpu_nvlink_errors_total", "rank_collective_time_s", _G),
    Template("port_errors_total", "rank_collective_time_s", _N),
    Template("port_link_down_total", "port_up", _N, -1),
    Template("port_up", "rank_collective_time_s", _N, -1),
    Template("volume_used_ratio", "volume_write_latency_s", _V, lag_s=_STORAGE_S),
    Template("volume_used_ratio", "volume_read_latency_s", _V, lag_s=_STORAGE_S),
    Template("volume_read_latency_s", "node_pressure_io_ratio", _N),
    Template("volume_write_latency_s", "node_pressure_io_ratio", _N),
    Template("volume_read_latency_s", "rank_data_wait_s", _N, lag_s=_BUFFER_S),
    Template("node_pressure_io_ratio", "rank_data_wait_s", _N, lag_s=_BUFFER_S),
    Template("node_memory_used_ratio", "node_swap_used_ratio", _N, lag_s=_STORAGE_S),
    Template("node_memory_used_ratio", "node_pressure_memory_ratio", _N),
    Template("node_swap_used_ratio", "node_pressure_memory_ratio", _N),
    Template("node_pressure_memory_ratio", "rank_data_wait_s", _N, lag_s=_BUFFER_S),
    Template("node_cpu_used_ratio", "node_pressure_cpu_ratio", _N),
    Template("node_pressure_cpu_ratio", "rank_data_wait_s", _N, lag_s=_BUFFER_S),
    Template("rank_step_time_s", "job_step_time_s", _J, barrier=True),
    Template("rank_data_wait_s", "job_step_time_s", _J, barrier=True),
    Template("rank_collective_time_s", "job_step_time_s", _J, barrier=True),
    Template("job_step_time_s", "job_steps_total", _J, -1),
    Template("job_step_time_s", "job_goodput_ratio", _J, -1),
    Template("gpu_ecc_uncorrected_total", "gpu_rows_remap_pending", _G),
    Template("gpu_ecc_uncorrected_total", "gpu_rows_remap_failed", _G),
    Template("gpu_ecc_uncorrected_total", "job_steps_total", _NJ, -1),
    Template("gpu_rows_remap_failed", "job_steps_total", _NJ, -1),
    Template("gpu_xid_code", "job_steps_total", _NJ, -1),
    Template("node_up", "job_steps_total", _NJ),
    Template("job_requests_total", "job_queue_depth", _J),
    Template("job_replicas", "job_queue_depth", _J, -1),
    Template("job_queue_depth", "job_latency_p99_s", _J),
)

METRICS: frozenset[str] = frozenset(
    name for template in TEMPLATES for name in (template.cause, template.effect)
)


@lru_cache(maxsize=64)
def templates_over(present: frozenset[str]) -> tuple[Template, ...]:
    """Return the templates between measured metrics, bridged over those that are not.

    A chain whose middle nobody measures becomes one weaker link that says what it skipped, so
    that a blind spot neither cuts a path nor passes for a measurement.
    """
    links = {(link.cause, link.effect, link.join): link for link in TEMPLATES}
    for absent in sorted(METRICS - present):
        causes = [link for link in links.values() if link.effect == absent]
        effects = [link for link in links.values() if link.cause == absent]
        links = {key: link for key, link in links.items() if absent not in key[:2]}
        for bridge in (_bridge(first, then) for first in causes for then in effects):
            key = (bridge.cause, bridge.effect, bridge.join)
            if key not in links or links[key].strength < bridge.strength:
                links[key] = bridge
    return tuple(links.values())


def _bridge(first: Template, then: Template) -> Template:
    """Join two links over the reading between them."""
    return replace(
        first,
        effect=then.effect,
        join=_compose(first.join, then.join),
        sign=first.sign * then.sign,
        lag_s=first.lag_s + then.lag_s,
        strength=first.strength * then.strength * UNMEASURED_HOP,
        barrier=False,
        provenance="bridged",
        over=(*first.over, first.effect, *then.over),
    )


def _compose(first: Join, then: Join) -> Join:
    """Return the join of two in a row: the coarser, and the node's jobs once one is a job's."""
    if first is then:
        return first
    if Join.JOB in (first, then) or Join.NODE_JOB in (first, then):
        return Join.NODE_JOB
    return Join.NODE


def order(names: Collection[str], links: Collection[Template]) -> tuple[str, ...]:
    """Return the names with every cause before its effects; ValueError names a cycle's members."""
    waiting = {name: {link.cause for link in links if link.effect == name} for name in names}
    done: list[str] = []
    while waiting:
        ready = sorted(name for name, causes in waiting.items() if not causes & waiting.keys())
        if not ready:
            raise ValueError(f"the links form a cycle among {', '.join(sorted(waiting))}")
        done.extend(ready)
        for name in ready:
            del waiting[name]
    return tuple(done)
