"""Room in the tables: compiled code says which is short, and Python makes it twice as long.

One event may write at most a few rows for each node (a rack loses power, a job of all nodes ends),
so before each event every growing table has that much room.
"""

import numpy as np

from sim.engine.jit import compiled
from sim.engine.tables import Table, Tables
from sim.engine.words import NONE

_ROWS_PER_NODE = 3
_ROWS_MORE = 256
GROWING = (
    "heap",
    "jobs",
    "queue",
    "faults",
    "said",
    "node_log",
    "job_log",
    "service_log",
    "troubles",
    "done",
    "orders",
)


@compiled
def is_short(w: Tables) -> bool:
    """Say whether a table could overflow within one event; ``core.short`` says which, from 1."""
    core = w.core[0]
    margin = _ROWS_PER_NODE * len(w.nodes) + _ROWS_MORE
    short = 0
    if len(w.heap) - core["heap_n"] < margin:
        short = 1
    elif len(w.jobs) - core["jobs_n"] + core["jobs_free"] < _ROWS_MORE:
        short = 2
    elif len(w.queue) - core["queue_n"] < _ROWS_MORE:
        short = 3
    elif len(w.faults) - core["faults_n"] < margin:
        short = 4
    elif core["said"] and len(w.said) - core["said_n"] < margin:
        short = 5
    elif core["keep"] and len(w.node_log) - core["node_log_n"] < margin:
        short = 6
    elif core["keep"] and len(w.job_log) - core["job_log_n"] < margin:
        short = 7
    elif core["keep"] and len(w.service_log) - core["service_log_n"] < _ROWS_MORE:
        short = 8
    elif len(w.troubles) - core["troubles_n"] < _ROWS_MORE:
        short = 9
    elif len(w.done) - core["done_n"] < _ROWS_MORE:
        short = 10
    elif len(w.orders) - core["orders_n"] < _ROWS_MORE:
        short = 11
    core["short"] = short
    return short != 0


def with_room(w: Tables) -> Tables:
    """Return the tables with room for one more event, whatever it is; most often the same."""
    while is_short(w):
        name = GROWING[int(w.core[0]["short"]) - 1]
        w = w._replace(**{name: _longer(getattr(w, name), len(w.nodes))})
        if name == "jobs":
            last = np.full(len(w.jobs), NONE, dtype=np.int64)
            last[: len(w.job_last)] = w.job_last
            w = w._replace(job_last=last)
    return w


def _longer(table: Table, nodes: int) -> Table:
    grown = np.zeros(2 * len(table) + _ROWS_PER_NODE * nodes + _ROWS_MORE, dtype=table.dtype)
    grown[: len(table)] = table
    return grown
