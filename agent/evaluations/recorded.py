"""Reads recorded telemetry that lies beside a checkout; its README names origin and licence.

Whatever is learned (weights, thresholds) is learned on the ``dev`` series of a panel and scored on
the ``hold_out`` series. Which is which follows from the series' name alone, so that every
evaluation, on any part of the data, agrees.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.types import Floats

TELEMETRY = "telemetry"
GENTD26 = "gentd26_gpu_pods_1min.parquet"
NAB = "nab_machine_5min.parquet"
NAB_WINDOWS = "nab_label_windows.json"
MSCM = "mscm_1min.parquet"
MSCM_HOURLY = "mscm_1hour.parquet"

# GenTD26's metrics under the catalogue's names, and what brings them to its units.
GENTD26_METRICS = {
    "gpu_utilization_ratio": ("gpu_util_pct", 0.01),
    "gpu_memory_used_bytes": ("gpu_mem_bytes", 1.0),
    "node_memory_used_ratio": ("host_mem_frac", 1.0),
}
# The published grid is 57 s for 1,441 points, its times shifted; taken as the minutes of one day.
GENTD26_STEP_S = 60.0
_HASH = re.compile(r"[0-9a-f]{10}")
# One series in so many is for development; the other three quarters are scored.
DEV_SHARE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Series of one kind on a common even grid.

    name:   of the data set; names: (S,) of the series
    metric: the catalogue's name, or the name of the data set where the catalogue has none
    time_s: (T,) seconds; absolute where the series share a clock, since each series' own first
            reading where they do not
    value:  (S, T) NaN where nothing was read, and before a series begins and after it ends
    """

    name: str
    metric: str
    names: tuple[str, ...]
    time_s: Floats
    value: Floats

    @property
    def step_s(self) -> float:
        """Return the spacing of the grid."""
        return float(self.time_s[1] - self.time_s[0])

    def rows(self, keep: Sequence[int] | NDArray[np.integer]) -> "Panel":
        """Return some of the series."""
        names = tuple(self.names[row] for row in keep)
        return Panel(self.name, self.metric, names, self.time_s, self.value[np.asarray(keep, int)])

    def dev(self) -> "Panel":
        """Return the series that may be learned from."""
        return self.rows([row for row, name in enumerate(self.names) if is_dev(name)])

    def hold_out(self) -> "Panel":
        """Return the series that are scored: none of them is in ``dev``."""
        return self.rows([row for row, name in enumerate(self.names) if not is_dev(name)])


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One series as recorded, with what experts marked as anomalous.

    time_s: (T,) increasing, spacing as recorded; value: (T,); windows: (W, 2) from, to, inclusive
    """

    name: str
    time_s: Floats
    value: Floats
    windows: Floats

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Return (T,) whether a reading lies in a window."""
        held = (self.time_s[:, None] >= self.windows[:, 0]) & (
            self.time_s[:, None] <= self.windows[:, 1]
        )
        return np.asarray(held.any(axis=1))


def is_dev(name: str) -> bool:
    """Say whether a series may be learned from: by the first digit of its hash, or of its name's.

    A pod's name is a hash already.
    """
    digits = (
        name
        if _HASH.fullmatch(name)
        else hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    )
    return int(digits[0], 16) % DEV_SHARE == 0


def gentd26(folder: Path, metric: str) -> Panel:
    """Return serving pods' telemetry: one day of minutes; ``metric`` is of GENTD26_METRICS."""
    from pyarrow import parquet  # noqa: PLC0415

    published, factor = GENTD26_METRICS[metric]
    table = parquet.read_table(
        folder / TELEMETRY / GENTD26, filters=[("metric", "==", published)]
    ).combine_chunks()
    pods, step = table["pod"].to_numpy().astype(str), table["step"].to_numpy().astype(np.int64)
    names, row = np.unique(pods, return_inverse=True)
    value = np.full((len(names), int(step.max()) + 1), np.nan)
    value[row, step] = table["value"].to_numpy() * factor
    time_s = np.arange(value.shape[1], dtype=np.float64) * GENTD26_STEP_S
    return Panel("gentd26", metric, tuple(map(str, names)), time_s, value)


def nab(folder: Path) -> tuple[Labelled, ...]:
    """Return the Numenta benchmark's machine series with its label windows, as recorded."""
    windows = json.loads((folder / TELEMETRY / NAB_WINDOWS).read_text())
    found = []
    for name, time_s, value, _ in _series(folder / TELEMETRY / NAB):
        edges = np.array(windows.get(name, ()), dtype="datetime64[us]").reshape(-1, 2)
        spans = edges.astype(np.int64) / 1e6
        found.append(Labelled(name, time_s, value, spans))
    return tuple(found)


def nab_panel(folder: Path) -> Panel:
    """Return those of the Numenta benchmark's series that were read every 5 minutes."""
    return _panel("nab", ((s.name, s.time_s, s.value) for s in nab(folder)), step_s=300.0)


def mscm(folder: Path, *, hourly: bool = False) -> tuple[Labelled, ...]:
    """Return Microsoft's cloud-monitoring series as recorded; a window holds adjacent labels."""
    found = []
    for name, time_s, value, label in _series(folder / TELEMETRY / _mscm_file(hourly)):
        edge = np.diff(np.concatenate([[0], label, [0]]))
        first, last = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1
        found.append(Labelled(name, time_s, value, np.column_stack([time_s[first], time_s[last]])))
    return tuple(found)


def mscm_panel(folder: Path, *, hourly: bool = False) -> Panel:
    """Return Microsoft's cloud-monitoring series: minutes over 11 days, or hours over weeks."""
    read = ((s.name, s.time_s, s.value) for s in mscm(folder, hourly=hourly))
    return _panel("mscm", read, step_s=3600.0 if hourly else 60.0)


def _mscm_file(hourly: bool) -> str:
    return MSCM_HOURLY if hourly else MSCM


def _series(file: Path) -> Iterator[tuple[str, Floats, Floats, NDArray[np.int64]]]:
    """Yield each series of a long table: name, seconds, values, labels (0 where it has none)."""
    from pyarrow import parquet  # noqa: PLC0415

    table = parquet.read_table(file).combine_chunks()
    series = table["series"].to_numpy().astype(str)
    time_s = table["ts"].to_numpy().astype("datetime64[ns]").astype(np.int64) / 1e9
    value = table["value"].to_numpy().astype(np.float64)
    labelled = "label" in table.column_names
    label = table["label"].to_numpy() if labelled else np.zeros(len(value))
    for name in np.unique(series):
        own = np.flatnonzero(series == name)
        own = own[np.argsort(time_s[own], kind="stable")]
        yield str(name), time_s[own], value[own], label[own].astype(np.int64)


def _panel(name: str, series: Iterator[tuple[str, Floats, Floats]], *, step_s: float) -> Panel:
    """Lay out series of one step, each from its own first reading on; others are left out."""
    kept = [
        (own, np.rint((time_s - time_s[0]) / step_s).astype(np.int64), value)
        for own, time_s, value in series
        if abs(float(np.median(np.diff(time_s))) - step_s) <= step_s / 2
    ]
    length = max((int(at[-1]) + 1 for _, at, _ in kept), default=0)
    laid = np.full((len(kept), length), np.nan)
    for row, (_, at, value) in enumerate(kept):
        laid[row, at] = value
    return Panel(
        name,
        name,
        tuple(own for own, _, _ in kept),
        np.arange(length, dtype=np.float64) * step_s,
        laid,
    )
