"""GPUs by their own names, where a scheduler knows them by number only.

Slurm says which of a node's GPUs a job has by their places in the list of device files; readings
name a GPU by its UUID. Where the readings tell each GPU's device file too, the scheduler's look is
given their names: then a GPU's readings are held against those of its own job, a fault is tied to
the rank on it, and an order may name it.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from core.clock import Clock
from core.cluster import ClusterState
from core.details import GPU_MINOR
from core.ports import MetricSource, Query
from core.topology import Topology
from core.types import Window

# GPUs are seldom replaced. A look back shows also those that have stopped answering since.
LEARN_EVERY_S, BACK_S, STEP_S = 600.0, 600.0, 60.0
RETRY_S = 30.0  # exporters start at the same time as we do
DEADLINE_S = 10.0

Places = Mapping[str, Mapping[int, str]]
"""Node -> number of the device file -> UUID."""


@dataclass(slots=True)
class GpuNames:
    """The UUIDs that readings give a scheduler's numbered GPUs.

    What was learnt is kept while a GPU does not answer.
    """

    sources: Sequence[MetricSource]
    clock: Clock
    _places: dict[str, dict[int, str]] = field(default_factory=dict)
    _homes: dict[str, tuple[str, int]] = field(default_factory=dict)
    _again_s: float = -math.inf
    _numbered: tuple[str, ...] | None = None
    _named: tuple[str, ...] = ()

    async def given_to(self, state: ClusterState) -> ClusterState:
        """Return the scheduler's look with the GPUs' own names."""
        topology = state.topology
        if self.clock.monotonic_s() >= self._again_s:
            await self._learn(frozenset(topology.nodes))
            self._numbered = None
        if topology.gpus != self._numbered:
            self._numbered, self._named = topology.gpus, names_of(topology, self._places)
        return replace(state, topology=replace(topology, gpus=self._named))

    async def _learn(self, nodes: Set[str]) -> None:
        """Ask which GPU is which; where nobody answers, what was known stays."""
        now_s, known = self.clock.now_s(), len(self._homes)
        self._again_s = self.clock.monotonic_s() + RETRY_S
        query = Query((GPU_MINOR,), now_s - BACK_S, now_s, STEP_S)
        for source in self.sources:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    self._note((await source.read(query)).windows, nodes)
            except Exception:  # noqa: S112  # it is told where its readings are gathered
                continue
        if len(self._homes) == known > 0:
            self._again_s = self.clock.monotonic_s() + LEARN_EVERY_S

    def _note(self, windows: Iterable[Window], nodes: Set[str]) -> None:
        """Take what is told last of each GPU; one that was moved is at its old place no more.

        nodes: the scheduler's; exporters may tell of one under other names as well
        """
        for window in windows:
            for _, node, minor, uuid in sorted(_told(window)):
                if node not in nodes:
                    continue
                before = self._homes.get(uuid)
                if before is not None and self._places[before[0]].get(before[1]) == uuid:
                    del self._places[before[0]][before[1]]
                self._homes[uuid] = (node, minor)
                self._places.setdefault(node, {})[minor] = uuid


def names_of(topology: Topology, places: Places) -> tuple[str, ...]:
    """Return the GPUs' names: UUIDs on nodes where as many are known as the scheduler counts.

    Its n-th is then the one with the n-th device file.
    """
    rows_of: dict[int, list[int]] = {}
    for row, node in enumerate(topology.gpu_node.tolist()):
        rows_of.setdefault(node, []).append(row)
    names = list(topology.gpus)
    for node, rows in rows_of.items():
        known = places.get(topology.nodes[node], {})
        if len(known) == len(rows):
            for row, minor in zip(rows, sorted(known), strict=True):
                names[row] = known[minor]
    return tuple(names)


def _told(window: Window) -> Iterable[tuple[int, str, int, str]]:
    """Yield when each GPU was last told of (column), its node, device file and UUID."""
    for target, values in zip(window.targets, window.value, strict=True):
        there = np.flatnonzero(np.isfinite(values))
        if len(there):
            yield int(there[-1]), target.node, int(values[there[-1]]), target.gpu
