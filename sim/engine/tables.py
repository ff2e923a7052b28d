"""The tables of a simulated cluster: everything that changes in a world, and nothing else.

A table is a structured array; a world is a named tuple of them. An event is a row of ``heap``. So
a fork is a copy of arrays, a saved world is the arrays in a file, and compiled code reads and
writes both. Times are seconds since the epoch, in whole 1/1024 s: sums of GPU-seconds are exact.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.engine.rows_cluster import CORE, DOMAIN, HEAP, SAID, SITE
from sim.engine.rows_faults import FAULT, FAULT_CLASS, ORDER, PLANNED, TROUBLE
from sim.engine.rows_jobs import DONE, JOB, JOB_LOG, MIX, MODEL, SERVICE, SERVICE_LOG, TRACE
from sim.engine.rows_machines import GPU_TYPE, NODE, NODE_LOG

Table = NDArray[Any]
Array = Any  # an array that compiled code fills or reads, beside a world's own


class _Tables(NamedTuple):
    core: Table
    site: Table
    heap: Table
    types: Table
    nodes: Table
    jobs: Table
    done: Table
    queue: Table  # (Q,) i4 waiting jobs, first to be served first
    buckets: Table  # (GPUS + 1,) i4 first ready node with that many free GPUs; 0: first spare
    mix: Table
    trace: Table
    models: Table
    services: Table
    classes: Table
    planned: Table
    faults: Table
    arrivals: Table  # (entities of the class's scope, classes) f8 next arrival, epoch; inf
    drawn: Table  # the same shape, i4: how many were drawn
    domains: Table
    members: Table  # (M,) i4 nodes of the domains
    said: Table
    troubles: Table
    orders: Table
    node_log: Table
    job_log: Table
    service_log: Table
    node_last: Table  # (N,) i8 newest row of each node in node_log
    job_last: Table  # (J,) i8 newest row of each job in job_log, NONE


class Tables(_Tables):
    """All tables of one world; ``core`` and ``site`` have one row.

    Compiled code gets one address for them all (``handle``), not 28 arrays.
    """

    @cached_property
    def book(self) -> Table:
        """(28, 3) i8 where each table is, its rows and its columns; as compiled code reads them."""
        lines = np.zeros((len(self), 3), dtype=np.int64)
        for line, (name, table) in zip(lines, self._asdict().items(), strict=True):
            if table.dtype != SCHEMA[name] or not table.flags.c_contiguous:
                raise TypeError(f"table {name} has rows {table.dtype}, or not one after the other")
            line[:] = (table.ctypes.data, len(table), table.shape[1] if table.ndim == 2 else 1)
        return lines

    @cached_property
    def address(self) -> int:
        """Return where ``book`` is."""
        return int(self.book.ctypes.data)


_I4, _I8, _F8 = np.dtype("i4"), np.dtype("i8"), np.dtype("f8")

# The type of a row of each table. ``arrivals`` and ``drawn`` have a column for each fault class.
SCHEMA: Mapping[str, np.dtype[Any]] = {
    "core": CORE,
    "site": SITE,
    "heap": HEAP,
    "types": GPU_TYPE,
    "nodes": NODE,
    "jobs": JOB,
    "done": DONE,
    "queue": _I4,
    "buckets": _I4,
    "mix": MIX,
    "trace": TRACE,
    "models": MODEL,
    "services": SERVICE,
    "classes": FAULT_CLASS,
    "planned": PLANNED,
    "faults": FAULT,
    "arrivals": _F8,
    "drawn": _I4,
    "domains": DOMAIN,
    "members": _I4,
    "said": SAID,
    "troubles": TROUBLE,
    "orders": ORDER,
    "node_log": NODE_LOG,
    "job_log": JOB_LOG,
    "service_log": SERVICE_LOG,
    "node_last": _I8,
    "job_last": _I8,
}
# Rows of these are never changed once written: a fork shares them.
SHARED = frozenset(
    {"types", "mix", "trace", "models", "classes", "planned", "members"}
    | {"done", "said", "node_log", "job_log", "service_log"}
)
# How many rows of a growing table are in use stands in ``core`` under this name.
USED: Mapping[str, str] = {
    "heap": "heap_n",
    "jobs": "jobs_n",
    "done": "done_n",
    "queue": "queue_n",
    "faults": "faults_n",
    "said": "said_n",
    "troubles": "troubles_n",
    "orders": "orders_n",
    "node_log": "node_log_n",
    "job_log": "job_log_n",
    "service_log": "service_log_n",
}
