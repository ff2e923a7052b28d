"""One look at a stretch of a world's time: what held for every node and job at every instant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.cluster import JobPhase
from core.target import Target
from core.types import Floats, Ints
from sim.cluster import NO_JOB
from sim.draws import Purpose, normal, uniform
from sim.jobs import PHASES
from sim.progress import stalled_at
from sim.scenario import GPUS_PER_NODE
from sim.state import State
from sim.thermal import Load, slowdown
from sim.trail import Rows

_DAY_S = 86400.0
_WARMEST_S = 15 * 3600.0  # mid-afternoon, UTC
_DROPOUT_RATIO = 0.002
_SCRAPE_S = 15.0
_WANDER_S = 300.0  # readings of one sensor resemble each other over minutes
_QUICK, _SLOW = 0.6, 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """The ranks that ran within a look, each at the place it ran at.

    gpu: (S,) index of the rank's GPU; reporting: (S, T) 1 while it made steps there, else NaN
    own_s, slowest_s: (S, T) compute time of a step, its own and its job's slowest rank's
    data_wait_s, collective_s: (S, 1) what its job's steps spend there at the least
    """

    targets: tuple[Target, ...]
    gpu: Ints
    reporting: Floats
    own_s: Floats
    slowest_s: Floats
    data_wait_s: Floats
    collective_s: Floats


class Look:
    """Rows of nodes (N, T) and jobs (J, T), and noise that depends on nothing but its address.

    time_s: (T,) seconds since the epoch; ``seen`` is False before the world began and after now
    """

    def __init__(self, state: State, *, time_s: Floats) -> None:
        self.state = state
        began_s = state.scenario.start_s - state.scenario.history_s
        self.time_s = time_s
        self.age_s = time_s - began_s
        self.seen = (time_s >= began_s) & (time_s <= state.now_s)
        self.node_ids = np.arange(len(state.shape.nodes), dtype=np.int64)
        self.gpu_ids = np.arange(len(state.shape.gpus), dtype=np.int64)
        self.job_ids = np.arange(len(state.placement), dtype=np.int64)

    @cached_property
    def nodes(self) -> Rows:
        """(N, T) what held for each node."""
        return self.state.nodes.at(self.node_ids, self.time_s)

    @cached_property
    def jobs(self) -> Rows:
        """(J, T) what held for each job."""
        return self.state.jobs.at(self.job_ids, self.time_s)

    @cached_property
    def day(self) -> Floats:
        """(T,) -1 in the coldest hour of the night to 1 in the warmest of the day."""
        return np.cos(2 * np.pi * (self.time_s - _WARMEST_S) / _DAY_S)

    @cached_property
    def scraped(self) -> Floats:
        """(N, T) 1 where the node's exporter answered, else NaN."""
        ticks = (self.time_s // _SCRAPE_S).astype(np.int64)
        luck = uniform(
            self.state.seed, purpose=Purpose.DROPOUT, stream=0, entity=self.node_ids, tick=ticks
        )
        answered = self.nodes["up"] & (luck >= _DROPOUT_RATIO) & self.seen
        return np.where(answered, 1.0, np.nan)

    @cached_property
    def gpu_scraped(self) -> Floats:
        """(G, T) 1 where the GPU answered, else NaN."""
        return self.per_gpu(np.where(self.nodes["alive"], self.scraped[..., None], np.nan))

    @cached_property
    def in_process(self) -> NDArray[np.bool_]:
        """(J, T) where the job's processes run and count steps, be they hung or not."""
        running: NDArray[np.bool_] = self.jobs["phase"] == PHASES.index(JobPhase.RUNNING)
        return running

    @cached_property
    def ranks(self) -> Ranks:
        """Every rank that ran within the look, by job and number."""
        rows, state = self.nodes, self.state
        ran = (rows["job"] != NO_JOB) & (rows["load"] == Load.COMPUTING) & self.seen
        node, when = np.nonzero(ran)
        found = np.stack([rows["job"][ran], rows["rank"][ran], node], axis=1)
        places, place = np.unique(found, axis=0, return_inverse=True)
        there = np.zeros((len(places), len(self.time_s)), dtype=np.bool_)
        there[place.reshape(-1), when] = True
        job, first_rank, node = places.T
        specs = [state.spec(j) for j in job.tolist()]
        compute = np.array([spec.compute_s for spec in specs])[:, None, None]
        alive = there[..., None] & rows["alive"][node]
        own = compute * state.shape.gpu_slowness[node][:, None] * slowdown(rows["clock"][node])
        scraped = self.spread(self.scraped[node])
        return Ranks(
            targets=tuple(
                target
                for spec, rank, host in zip(specs, first_rank.tolist(), node.tolist(), strict=True)
                for target in self._rank_targets(spec.id, rank, host)
            ),
            gpu=(node[:, None] * GPUS_PER_NODE + np.arange(GPUS_PER_NODE)).reshape(-1),
            reporting=np.where(self.per_gpu(alive), scraped, np.nan),
            own_s=self.per_gpu(own),
            slowest_s=self.spread(self.jobs["compute_s"][job]),
            data_wait_s=self.spread(_column([spec.data_wait_s for spec in specs])),
            collective_s=self.spread(_column([spec.collective_s for spec in specs])),
        )

    @cached_property
    def stalled(self) -> Floats:
        """(N, T) 1 where the node's ranks wait for a checkpoint to be captured, else 0."""
        if not len(self.job_ids):
            return np.zeros(self.nodes.shape)
        stalled = stalled_at(self.jobs, self.state.cycle.column(), self.time_s)
        return self.of_job(stalled, otherwise=0.0)

    @cached_property
    def duty(self) -> Floats:
        """(N, T) share of a step its job's slowest rank computes; 1 where no job steps."""
        step = self.jobs["step_s"]
        share = np.where(np.isfinite(step), self.jobs["compute_s"] / step, 1.0)
        return self.of_job(share, otherwise=1.0)

    def of_job(self, value: Floats, *, otherwise: float) -> Floats:
        """(N, T) of each node the (J, T) value of the job it computes for."""
        job, load = self.nodes["job"], self.nodes["load"]
        busy = (job != NO_JOB) & (load == Load.COMPUTING)
        if not len(self.job_ids):
            return np.full(job.shape, otherwise)
        return np.where(busy, value[job, np.arange(len(self.time_s))[None, :]], otherwise)

    def per_gpu(self, value: Floats) -> Floats:
        """Reorder (N, T, 8) to (G, T)."""
        return np.moveaxis(value, 2, 1).reshape(-1, len(self.time_s))

    def by_load(self, values: tuple[float, float, float, float]) -> Floats:
        """(N, T) one value for each of idle, starting, waiting, computing."""
        level: Floats = np.array(values)[self.nodes["load"]]
        return level

    def spread(self, value: Floats) -> Floats:
        """(G, T) of each GPU its node's (N, T) value."""
        return np.repeat(value, GPUS_PER_NODE, axis=0)

    def noise(self, stream: int, entity: Ints) -> Floats:
        """(S, T) of deviation near 1: half of it quick, half wandering over minutes."""
        quick = self._normal(2 * stream, entity, np.floor(self.time_s).astype(np.int64))
        place = self.time_s / _WANDER_S
        first, last = int(np.floor(place.min())), int(np.floor(place.max())) + 1
        knots = self._normal(2 * stream + 1, entity, np.arange(first, last + 1))
        left = np.floor(place).astype(np.int64) - first
        share = place - np.floor(place)
        slow = knots[:, left] * (1 - share) + knots[:, left + 1] * share
        return _QUICK * quick + _SLOW * slow

    def still(self, stream: int, entity: Ints) -> Floats:
        """(S, 1) a normal number of each entity that stays the same for ever."""
        return self._normal(2 * stream, entity, np.zeros(1, dtype=np.int64))

    def _rank_targets(self, job: str, first_rank: int, node: int) -> list[Target]:
        """Return the targets of the eight ranks that a job has on a node."""
        shape = self.state.shape
        uuids = shape.gpus[node * GPUS_PER_NODE : (node + 1) * GPUS_PER_NODE]
        return [
            Target(node=shape.nodes[node], gpu=uuid, job=job, rank=str(first_rank + number))
            for number, uuid in enumerate(uuids)
        ]

    def _normal(self, stream: int, entity: Ints, tick: Ints) -> Floats:
        return normal(
            self.state.seed, purpose=Purpose.READING, stream=stream, entity=entity, tick=tick
        )


def _column(values: Sequence[float]) -> Floats:
    """Return (S, 1), also where S is 0."""
    return np.array(values, dtype=np.float64).reshape(-1, 1)


Reading = tuple[tuple[Target, ...], Floats]
Read = Callable[[Look, int], Reading]
