"""What a node's network ports show: whether they are up, what passed, what was lost.

A node's fault of the network shows on one of its ports, always the same; a leaf switch that is down
on all. Counters are summed over the node's rows from the world's beginning.
"""

import math
from enum import IntEnum
from typing import Any

import numpy as np

from core.types import Floats, Ints
from sim.engine import noise
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.read_look import Look, Real, first_of, look_at
from sim.engine.tables import Tables
from sim.engine.words import Effect, Load, Purpose


class Port(IntEnum):
    """Rows of what ``read_ports`` writes; the names are ``sim.telemetry``'s."""

    UP = 0
    RECEIVED = 1
    SENT = 2
    ERRORS = 3
    DOWNS = 4


PORTS = len(Port)
_STREAM = 6
_BUSY_SHARE = 0.2  # of a port's bandwidth while a job computes: assumption
_ERRORS_PER_S = 200.0  # of a port that has lost all but nothing of its bandwidth: assumption


@compiled_with_arrays
def read_ports(w: Tables, node: int, time_s: Floats, out: Floats) -> None:
    """Write (5, ports, T), a row for each of ``Port``; NaN where nothing was scraped."""
    look = look_at(w, node, time_s)
    chain = _chain(w.node_log, w.node_last[node])
    nics = w.nodes[node]["nics"]
    bad = bad_port(w.core[0]["seed"], node, nics)
    for nic in range(nics):
        _read_port(w, node, (chain, look), nic == bad, out[:, nic])


@compiled
def bad_port(seed: np.uint64, node: int, nics: int) -> int:
    """Return the port that a node's faults of the network show on."""
    root = noise.source(seed, Purpose.READING, _STREAM, node)
    return int(noise.chance(root, 0) * nics)


@compiled_with_arrays
def _chain(log: Any, newest: int) -> Ints:
    """Return a node's rows, oldest first."""
    count, row = 1, newest
    while not first_of(log, row):
        row = log[row]["before"]
        count += 1
    rows = np.empty(count, dtype=np.int64)
    row = newest
    for place in range(count):
        rows[count - 1 - place] = row
        row = log[row]["before"]
    return rows


@compiled_with_arrays
def _read_port(w: Tables, node: int, seen: tuple[Ints, Look], bad: bool, out: Floats) -> None:
    chain, look = seen
    log, real = w.node_log, look.real
    rate = float(w.nodes[node]["nic_bytes_per_s"])
    bytes_at, errors_at = np.zeros(len(chain)), np.zeros(len(chain))
    downs_at = np.zeros(len(chain), dtype=np.int64)
    for place in range(1, len(chain)):
        before, shown = log[chain[place - 1]], log[chain[place]]
        lasted_s = shown["start_s"] - before["start_s"]
        bytes_at[place] = bytes_at[place - 1] + lasted_s * _bytes_per_s(before, rate, bad)
        errors_at[place] = errors_at[place - 1] + lasted_s * _errors_per_s(before, bad)
        fell = bad and shown["network"] == 0 and before["network"] > 0
        downs_at[place] = downs_at[place - 1] + (1 if fell else 0)
    for at in range(len(look.row)):
        place = np.searchsorted(chain, look.row[at])
        shown, true_s = log[look.row[at]], real[Real.TRUE, at]
        since_s = max(true_s - shown["start_s"], 0.0)
        leaf, falls = _leaf(w, w.nodes[node]["leaf"], true_s)
        is_up = leaf and not (bad and shown["network"] == 0)
        moved = np.floor(bytes_at[place] + since_s * _bytes_per_s(shown, rate, bad))
        lost = np.floor(errors_at[place] + since_s * _errors_per_s(shown, bad))
        out[Port.UP, at] = (1.0 if is_up else 0.0) * real[Real.SEEN, at]
        out[Port.RECEIVED, at] = moved * real[Real.SEEN, at]
        out[Port.SENT, at] = moved * real[Real.SEEN, at]
        out[Port.ERRORS, at] = lost * real[Real.SEEN, at]
        out[Port.DOWNS, at] = (downs_at[place] + falls) * real[Real.SEEN, at]


@compiled
def _bytes_per_s(shown: Any, rate: float, bad: bool) -> float:
    if not shown["up"] or shown["load"] != Load.COMPUTING:
        return 0.0
    return float(_BUSY_SHARE * rate * (shown["network"] if bad else 1.0))


@compiled
def _errors_per_s(shown: Any, bad: bool) -> float:
    if not bad or not 0.0 < shown["network"] < 1.0:
        return 0.0
    return float(_ERRORS_PER_S * (1.0 - shown["network"]))


@compiled
def _leaf(w: Tables, leaf: int, time_s: float) -> tuple[bool, int]:
    """Say whether a leaf switch is up, and how many times it fell until then."""
    is_up, falls = True, 0
    for row in range(w.core[0]["faults_n"]):
        fault = w.faults[row]
        if fault["entity"] != leaf or w.classes[fault["class"]]["effect"] != Effect.LEAF_DOWN:
            continue
        if fault["onset_s"] <= time_s:
            falls += 1
            if math.isnan(fault["mended_s"]) or time_s < fault["mended_s"]:
                is_up = False
    return is_up, falls
