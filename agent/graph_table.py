"""A table of readings as windows: series named as Prometheus writes them, metric{label="value"}."""

import re
from pathlib import Path

import numpy as np

from agent.collect.labels import target_of
from agent.collect.table import read_table
from agent.even_grid import tidy
from core.errors import InputError
from core.target import Target
from core.types import Window
from core.units import CATALOG

_SERIES = re.compile(r"\s*([a-zA-Z_:][\w:]*)\s*(?:\{(.*)\})?\s*", re.ASCII)
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"', re.ASCII)
_OWN_PREFIX = "gpumedic_"
FORM = 'gpu_temperature_celsius{node="node-1",gpu="GPU-3f2c"}'


def read_windows(
    path: Path, *, time_column: str | None = None
) -> tuple[dict[str, Window], tuple[str, ...]]:
    """Read a CSV or Parquet table of readings; the second value are notes on what was left out.

    A series a column, or the columns series, time and value. InputError where no series is a metric
    of the catalogue with the labels of its target.
    """
    table = read_table(path, time_column=time_column, exact=True)
    rows = tidy(table.time_s, table.value, name=str(path))
    found: dict[str, list[tuple[Target, int]]] = {}
    left_out: list[str] = []
    for row, name in enumerate(table.names):
        known = series_of(name)
        if known is None:
            left_out.append(name)
        else:
            found.setdefault(known[0], []).append((known[1], row))
    if not found:
        raise InputError(
            f"reading {path}: none of its {len(table.names)} series, such as {table.names[0]!r}, "
            f"names a metric of the catalogue and its target. Name them like {FORM}."
        )
    windows = {
        metric: Window(
            metric,
            tuple(target for target, _ in series),
            rows.time_s,
            rows.value[[row for _, row in series]].astype(np.float64),
        )
        for metric, series in found.items()
    }
    return windows, (*table.notes, *rows.notes, *_said(left_out))


def series_of(name: str) -> tuple[str, Target] | None:
    """Return the metric and the target that a series' name tells, None where it does not."""
    match = _SERIES.fullmatch(name)
    if match is None:
        return None
    metric = match[1].removeprefix(_OWN_PREFIX)
    if metric not in CATALOG:
        return None
    labels = {
        label: re.sub(r"\\(.)", r"\1", value) for label, value in _LABEL.findall(match[2] or "")
    }
    target = target_of({"__name__": f"{_OWN_PREFIX}{metric}", **labels}, metric)
    return None if target is None else (metric, target)


def _said(left_out: list[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    return (f"{len(left_out)} series are left out, such as {left_out[0]!r}: name them like {FORM}",)
