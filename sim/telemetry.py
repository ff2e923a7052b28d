"""Readings of a world for just the window that is asked for, its past included.

A reading is a function of the rows that the world keeps and of noise with an address, so it costs
nothing until somebody asks, and a window asked for in two halves is the window asked for whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from core.errors import InputError
from core.target import Target
from core.types import Floats, Ints, Window
from sim.engine.gpu_readings import GAUGES, Gauge, read_nodes
from sim.engine.job_readings import (
    JOBS,
    RANKS,
    SERVICES,
    Job,
    Rank,
    Service,
    ranks_of,
    read_job,
    read_ranks,
    read_service,
)
from sim.engine.node_readings import HOSTS, SHARES, Host, Share, read_host, read_shared
from sim.engine.port_readings import PORTS, Port, read_ports
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE
from sim.names import Names
from sim.scenario import SCRATCH
from sim.world import World

SHARED = "/shared"
GPU_METRICS: Mapping[str, Gauge] = {
    "gpu_utilization_ratio": Gauge.UTILIZATION,
    "gpu_memory_used_ratio": Gauge.MEMORY,
    "gpu_memory_used_bytes": Gauge.MEMORY_BYTES,
    "gpu_temperature_celsius": Gauge.TEMPERATURE,
    "gpu_memory_temperature_celsius": Gauge.MEMORY_TEMPERATURE,
    "gpu_power_watts": Gauge.POWER,
    "gpu_sm_clock_hz": Gauge.CLOCK,
    "gpu_throttle_ratio": Gauge.THROTTLE,
    "gpu_ecc_corrected_total": Gauge.CORRECTED,
    "gpu_ecc_uncorrected_total": Gauge.UNCORRECTED,
    "gpu_rows_remap_pending": Gauge.REMAP_PENDING,
    "gpu_rows_remap_failed": Gauge.REMAP_FAILED,
    "gpu_pcie_replay_total": Gauge.REPLAYS,
    "gpu_nvlink_errors_total": Gauge.NVLINK,
    "gpu_xid_code": Gauge.XID,
}
_HOST: Mapping[str, Host] = {
    "node_up": Host.UP,
    "node_cpu_used_ratio": Host.CPU,
    "node_memory_used_ratio": Host.MEMORY,
    "node_memory_used_bytes": Host.MEMORY_BYTES,
    "node_open_files_ratio": Host.OPEN_FILES,
    "node_pressure_cpu_ratio": Host.PRESSURE_CPU,
    "node_pressure_memory_ratio": Host.PRESSURE_MEMORY,
    "node_pressure_io_ratio": Host.PRESSURE_IO,
    "node_inlet_temperature_celsius": Host.INLET,
    "node_power_watts": Host.POWER,
    "node_oom_kills_total": Host.OOM_KILLS,
}
_VOLUME: Mapping[str, tuple[Host, Share]] = {
    "volume_used_ratio": (Host.SCRATCH, Share.USED),
    "volume_inodes_used_ratio": (Host.INODES, Share.INODES),
    "volume_read_latency_s": (Host.READ_LATENCY, Share.READ_LATENCY),
    "volume_write_latency_s": (Host.WRITE_LATENCY, Share.WRITE_LATENCY),
}
_PORT: Mapping[str, Port] = {
    "port_up": Port.UP,
    "port_receive_bytes_total": Port.RECEIVED,
    "port_transmit_bytes_total": Port.SENT,
    "port_errors_total": Port.ERRORS,
    "port_link_down_total": Port.DOWNS,
}
_JOB: Mapping[str, Job] = {
    "job_step_time_s": Job.STEP_TIME,
    "job_steps_total": Job.STEPS,
    "job_goodput_ratio": Job.GOODPUT,
    "job_checkpoint_age_s": Job.CHECKPOINT_AGE,
}
_SERVICE: Mapping[str, Service] = {
    "job_queue_depth": Service.QUEUE,
    "job_latency_p99_s": Service.LATENCY,
    "job_requests_total": Service.REQUESTS,
    "job_replicas": Service.REPLICAS,
}
_RANK: Mapping[str, Rank] = {
    "rank_step_time_s": Rank.STEP_TIME,
    "rank_data_wait_s": Rank.DATA_WAIT,
    "rank_collective_time_s": Rank.COLLECTIVE,
}
METRICS: tuple[str, ...] = (*GPU_METRICS, *_HOST, *_VOLUME, *_PORT, *_JOB, *_SERVICE, *_RANK)

Reading = tuple[tuple[Target, ...], Floats]


def readings(
    world: World, metrics: Sequence[str], time_s: Floats, *, nodes: Sequence[str] | None = None
) -> tuple[Window, ...]:
    """Return a window for each metric that the world has; others give none.

    time_s: (T,) any times, in order; NaN before the world began and after its now. Targets keep
    their row also where all of it is NaN, but a rank is there only if it ran within the window.
    nodes: only what is on these, so no job and no shared volume; InputError names an unknown one
    """
    if not world.inner.core[0]["keep"]:
        raise InputError(
            f"scenario {world.scenario.name} keeps no rows to make readings of: its telemetry is "
            f'{world.scenario.telemetry!r}; set it to "full".'
        )
    return windows(world.inner, world.names, metrics, time_s, nodes=nodes)


def windows(
    w: Tables,
    names: Names,
    metrics: Sequence[str],
    time_s: Floats,
    *,
    nodes: Sequence[str] | None = None,
) -> tuple[Window, ...]:
    """Return what ``readings`` does of a world's tables."""
    if not len(time_s):
        return ()
    asked = _Asked(w, names, np.asarray(time_s, dtype=np.float64), nodes, metrics)
    return tuple(
        Window(metric, targets, asked.time_s, value)
        for metric, (targets, value) in asked.readings()
        if targets
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked for; each family of metrics is read once, when the first of it is named."""

    w: Tables
    names: Names
    time_s: Floats
    only: Sequence[str] | None
    metrics: Sequence[str]

    def readings(self) -> Iterator[tuple[str, Reading]]:
        """Yield each metric that there is, in the order asked for."""
        for metric in self.metrics:
            if metric in GPU_METRICS:
                place = int(self._gpu_places[GPU_METRICS[metric]])
                yield metric, (self._gpus, self._of_gpus(place))
            elif metric in _HOST:
                yield metric, (self._hosts, self._host[:, _HOST[metric]])
            elif metric in _VOLUME:
                yield metric, self._volume(*_VOLUME[metric])
            elif metric in _PORT:
                yield metric, (self._port_targets, self._ports[_PORT[metric]])
            elif metric in _RANK:
                yield metric, (self._rank_targets, self._ranks[_RANK[metric]])
            elif metric in _JOB and self.only is None:
                yield metric, (self._jobs[0], self._jobs[1][:, _JOB[metric]])
            elif metric in _SERVICE and self.only is None:
                yield metric, (self._services[0], self._services[1][:, _SERVICE[metric]])

    @cached_property
    def _nodes(self) -> Ints:
        if self.only is None:
            return np.arange(len(self.w.nodes), dtype=np.int64)
        return np.array([_node(self.names, name) for name in self.only], dtype=np.int64)

    @cached_property
    def _gpu_places(self) -> Ints:
        wanted = sorted({GPU_METRICS[metric] for metric in self.metrics if metric in GPU_METRICS})
        places = np.full(GAUGES, NONE, dtype=np.int64)
        places[wanted] = np.arange(len(wanted))
        return places

    @cached_property
    def _gpu_values(self) -> Floats:
        """(N, metrics, 8, T)."""
        count = int(self._gpu_places.max()) + 1
        out = np.empty((len(self._nodes), count, GPUS, len(self.time_s)))
        read_nodes(self.w, self._nodes, self.time_s, self._gpu_places, out)
        return out

    @cached_property
    def _gpus(self) -> tuple[Target, ...]:
        if self.only is None:
            return _all_gpus(self.names)
        return tuple(gpu for node in self._nodes.tolist() for gpu in _gpus_of(self.names, node))

    def _of_gpus(self, place: int) -> Floats:
        value = self._gpu_values[:, place].reshape(-1, len(self.time_s))
        if len(value) == len(self._gpus):
            return value
        there = self.names.gpu_at[self._nodes].reshape(-1) >= 0
        present: Floats = value[there]
        return present

    @cached_property
    def _hosts(self) -> tuple[Target, ...]:
        if self.only is None:
            return _all_nodes(self.names)
        return tuple(Target(node=self.names.nodes[node]) for node in self._nodes.tolist())

    @cached_property
    def _host(self) -> Floats:
        """(N, hosts, T)."""
        out = np.empty((len(self._nodes), HOSTS, len(self.time_s)))
        for place, node in enumerate(self._nodes.tolist()):
            read_host(self.w, node, self.time_s, out[place])
        return out

    def _volume(self, local: Host, shared: Share) -> Reading:
        targets = tuple(Target(node=host.node, volume=SCRATCH) for host in self._hosts)
        if self.only is not None:
            return targets, self._host[:, local]
        value = np.concatenate([self._host[:, local], self._shared[shared][None]])
        return (*targets, Target(volume=SHARED)), value

    @cached_property
    def _shared(self) -> Floats:
        """(shares, T)."""
        out = np.empty((SHARES, len(self.time_s)))
        read_shared(self.w, self.time_s, out)
        return out

    @cached_property
    def _port_targets(self) -> tuple[Target, ...]:
        counts = self.w.nodes["nics"][self._nodes].tolist()
        return tuple(
            Target(node=host.node, port=f"mlx5_{nic}:1")
            for host, count in zip(self._hosts, counts, strict=True)
            for nic in range(count)
        )

    @cached_property
    def _ports(self) -> Floats:
        """(ports, S, T)."""
        counts = self.w.nodes["nics"][self._nodes]
        ends = np.cumsum(counts, dtype=np.int64)
        out = np.empty((PORTS, int(counts.sum()), len(self.time_s)))
        for node, end, count in zip(self._nodes.tolist(), ends, counts, strict=True):
            part = np.empty((PORTS, int(count), len(self.time_s)))
            read_ports(self.w, node, self.time_s, part)
            out[:, end - count : end] = part
        return out

    @cached_property
    def _ran(self) -> Ints:
        """(R, 4) as ``ranks_of`` finds them, by job, number and node, each once."""
        return np.unique(ranks_of(self.w, self._nodes, self.time_s), axis=0)

    @cached_property
    def _rank_targets(self) -> tuple[Target, ...]:
        gpus = self.names.gpu_at
        return tuple(
            Target(
                node=self.names.nodes[node],
                gpu=self.names.gpus[gpus[node, slot]],
                job=self.names.job(job),
                rank=str(rank),
            )
            for job, rank, node, slot in self._ran.tolist()
        )

    @cached_property
    def _ranks(self) -> Floats:
        """(ranks, R, T)."""
        out = np.empty((RANKS, len(self._ran), len(self.time_s)))
        read_ranks(self.w, self._ran, self.time_s, out)
        return out

    @cached_property
    def _jobs(self) -> tuple[tuple[Target, ...], Floats]:
        """(J, jobs, T) of the scenario's jobs that are no services."""
        own = [job for job, service in enumerate(self._served) if service == NONE]
        out = np.empty((len(own), JOBS, len(self.time_s)))
        for place, job in enumerate(own):
            read_job(self.w, job, self.time_s, out[place])
        return tuple(Target(job=self.names.job(job)) for job in own), out

    @cached_property
    def _services(self) -> tuple[tuple[Target, ...], Floats]:
        """(J, services, T)."""
        own = [job for job, service in enumerate(self._served) if service != NONE]
        out = np.empty((len(own), SERVICES, len(self.time_s)))
        for place, job in enumerate(own):
            read_service(self.w, job, self.time_s, out[place])
        return tuple(Target(job=self.names.job(job)) for job in own), out

    @property
    def _served(self) -> list[int]:
        """Return of each of the scenario's jobs its row of ``services``, or NONE."""
        served: list[int] = self.w.jobs["service"][: len(self.names.scenario.jobs)].tolist()
        return served


def _node(names: Names, name: str) -> int:
    if name not in names.node_index:
        raise InputError(
            f"readings of node {name!r}: the cluster has none of that name; its nodes are "
            f"{names.nodes[0]} to {names.nodes[-1]}."
        )
    return names.node_index[name]


@lru_cache(maxsize=4)
def _all_gpus(names: Names) -> tuple[Target, ...]:
    return tuple(gpu for node in range(len(names.nodes)) for gpu in _gpus_of(names, node))


@lru_cache(maxsize=4)
def _all_nodes(names: Names) -> tuple[Target, ...]:
    return tuple(Target(node=name) for name in names.nodes)


@lru_cache(maxsize=2**14)
def _gpus_of(names: Names, node: int) -> tuple[Target, ...]:
    """Return the GPUs of a node in the order of their places."""
    there = [gpu for gpu in names.gpu_at[node].tolist() if gpu >= 0]
    return tuple(Target(node=names.nodes[node], gpu=names.gpus[gpu]) for gpu in there)
