"""Recorded telemetry with a column a machine, in windows: a month of a cluster fits in no memory.

Acme's published tables (``NODE_CPU_UTILIZATION.csv``, ``GPU_TEMP.csv``) are laid out so: a row a
time, the first column ``Time``, then one for each node. Tables with a row a reading are the
agent's replay's.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.errors import InputError
from core.target import Target, TargetKind
from core.types import Floats, Window
from core.units import CATALOG
from sim.checks import nearest
from sim.traces.records import open_records
from sim.traces.row import BadCell, Counts, Row, need, parsed

TIME = "Time"
_ROWS = 512


def wide_windows(
    path: Path | str,
    metric: str,
    *,
    step_s: float,
    factor: float = 1.0,
    counts: Counts | None = None,
    skip_bad: bool = False,
) -> Iterator[Window]:
    """Yield a wide table as windows of ``metric``, at most 512 steps each; an empty cell is NaN.

    step_s: seconds between rows; a row that is missing is NaN
    factor: what a cell is multiplied by, for the metric's base unit: 0.01 for per cent
    InputError for a metric that is not in the catalogue, rows out of order, a cell that is none.
    """
    if metric not in CATALOG:
        raise InputError(f"replaying {path} as {metric!r}: {nearest(metric, CATALOG)}")
    records = open_records(Path(path))
    need(records, (TIME,), what="telemetry with a column a machine")
    names = [name for name in records.columns if name != TIME]
    targets = tuple(_target(metric, name) for name in names)
    last_s = -math.inf

    def readings(row: Row) -> tuple[float, list[float]]:
        nonlocal last_s
        time_s = row.time_s(TIME)
        if time_s <= last_s:
            raise BadCell(TIME, row.cell(TIME), "a later time than the row before it")
        last_s = time_s
        return time_s, [row.number(name, least=-math.inf, missing=math.nan) for name in names]

    first, time_s, held = -1, np.empty(0), np.empty((0, 0))
    rows = parsed(records, readings, counts or Counts(), skip_bad=skip_bad)
    for _, (at_s, values) in rows:
        step = round(at_s / step_s)
        if first < 0 or step >= first + _ROWS:
            if first >= 0:
                yield _window(metric, targets, time_s, held)
            first = step
            time_s = step_s * np.arange(first, first + _ROWS, dtype=np.float64)
            held = np.full((len(targets), _ROWS), np.nan)
        held[:, step - first] = factor * np.array(values)
    if first >= 0:
        yield _window(metric, targets, time_s, held)


def _window(metric: str, targets: tuple[Target, ...], time_s: Floats, value: Floats) -> Window:
    """Return the part up to the last row that is there."""
    filled = np.flatnonzero(~np.isnan(value).all(axis=0))
    end = int(filled[-1]) + 1 if len(filled) else 0
    return Window(metric, targets, time_s[:end].copy(), value[:, :end].copy())


def _target(metric: str, name: str) -> Target:
    is_gpu = CATALOG[metric].scope is TargetKind.GPU
    return Target(node=name, gpu=f"GPU-{name}") if is_gpu else Target(node=name)
