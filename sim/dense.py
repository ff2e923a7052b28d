"""Every reading of every GPU of a cluster, block by block: what a lazy window has, in float32.

The kernel is the lazy one's, so a value asked for in either way is the same; what makes it quick is
that nothing is built around it. A block is some nodes for some hours: it fits a core's cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from sim.engine.gpu_readings import GAUGES, Gauge, read_nodes
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE

STEP_S = 60.0
_NODES, _TICKS = 16, 240


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Readings of neighbouring nodes, the first of which has the index ``first``.

    time_s: (T,); value: (nodes, gauges, 8, T) in base units, NaN where nothing was scraped and for
    a place of a node that has no GPU. ``value`` holds until the next block is asked for.
    """

    first: int
    time_s: Floats
    value: NDArray[np.float32]


def dense(
    w: Tables,
    *,
    start_s: float,
    end_s: float,
    step_s: float = STEP_S,
    gauges: Sequence[Gauge] = tuple(Gauge),
) -> Iterator[Block]:
    """Yield the GPUs' readings at the multiples of ``step_s`` from a time on, its end left out.

    Blocks come in order of time, all nodes of four hours at 60 s before the next.
    """
    wanted = np.full(GAUGES, NONE, dtype=np.int64)
    wanted[list(gauges)] = np.arange(len(gauges))
    ticks = np.arange(int(np.ceil(start_s / step_s)), int(np.ceil(end_s / step_s)))
    nodes = np.arange(len(w.nodes), dtype=np.int64)
    room = np.empty(_NODES * len(gauges) * GPUS * _TICKS, dtype=np.float32)
    for begin in range(0, len(ticks), _TICKS):
        time_s = ticks[begin : begin + _TICKS].astype(np.float64) * step_s
        for first in range(0, len(nodes), _NODES):
            some = nodes[first : first + _NODES]
            shape = (len(some), len(gauges), GPUS, len(time_s))
            value = room[: int(np.prod(shape))].reshape(shape)
            read_nodes(w, some, time_s, wanted, value)
            yield Block(first, time_s, value)
