"""Recorded telemetry played back against a clock: as a source, as a page to scrape, as a file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.collect.align import Grid
from agent.collect.labels import own_labels
from agent.collect.reading import Reading, Snapshot, sample
from core.clock import Clock
from core.errors import InputError
from core.exporters import OWN_PREFIX
from core.ports import Collected, Query
from core.target import Target, TargetKind
from core.types import Floats, Ints, Window
from core.units import CATALOG

if TYPE_CHECKING:
    import pyarrow

CSV_ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a recorded series is in the catalogue: its name, and what to multiply it by."""

    metric: str
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Columns:
    """How a long table is laid out: a row is one reading.

    series, time, value: columns; time is a time stamp, or a whole number of steps
    metric: column that tells the metrics apart; "": the table has one
    metrics: recorded name ("" where ``metric`` is "") -> what it is in the catalogue
    step_s: seconds between readings
    """

    series: str
    time: str
    value: str
    step_s: float
    metrics: Mapping[str, Mapped]
    metric: str = ""


# The GPU pods of Alibaba's GenAI trace; its published grid is taken as one minute a step.
GENAI_PODS = Columns(
    series="pod",
    time="step",
    value="value",
    step_s=60.0,
    metric="metric",
    metrics={
        "host_mem_frac": Mapped("node_memory_used_ratio"),
        "gpu_util_pct": Mapped("gpu_utilization_ratio", 0.01),
        "gpu_mem_bytes": Mapped("gpu_memory_used_bytes"),
    },
)


def read_recording(path: Path, columns: Columns) -> tuple[Window, ...]:
    """Return a recorded table (parquet, csv, csv.gz) as one window a metric, gaps as NaN.

    InputError names what the file has instead of what ``columns`` asks for.
    """
    table = _table(path)
    wanted = [columns.series, columns.time, columns.value, *filter(None, [columns.metric])]
    if missing := [name for name in wanted if name not in table.column_names]:
        raise InputError(
            f"reading {path}: it has no column {missing[0]!r}, only "
            f"{', '.join(table.column_names)}. Name the columns it has."
        )
    metric = table[columns.metric].to_numpy() if columns.metric else np.full(len(table), "")
    series = table[columns.series].to_numpy().astype(str)
    position = _positions(table[columns.time].to_numpy(), columns, path)
    value = table[columns.value].to_numpy().astype(np.float64)
    windows = []
    for name, mapped in columns.metrics.items():
        rows = metric == name
        if rows.any():
            windows.append(
                _window(mapped, series[rows], position[rows], value[rows], columns.step_s)
            )
    if not windows:
        found = ", ".join(sorted(set(metric.tolist())))
        raise InputError(f"reading {path}: it has none of the wanted metrics, only {found}.")
    return tuple(windows)


def shift_to(windows: Sequence[Window], *, start_s: float) -> float:
    """Return the shift that lets the recording begin at ``start_s``."""
    return start_s - min(float(window.time_s[0]) for window in windows if window.time_s.size)


@dataclass(slots=True)
class ReplaySource:
    """Plays recorded windows as if they happened now: recorded time + ``shift_s`` is now.

    Nothing later than the clock's now is given. A reading stands until the next is due; a gap in
    the recording is a gap in the replay, and after its end there is nothing.
    """

    frames: tuple[Window, ...]
    clock: Clock
    shift_s: float = 0.0
    name: str = field(default="replay")

    async def read(self, query: Query) -> Collected:
        """Return the recorded readings on the query's grid."""
        grid = Grid.of(query)
        time_s = grid.time_s
        time_s = time_s[time_s <= self.clock.now_s()]
        windows = []
        for frame in self.frames:
            if frame.metric in query.metrics and time_s.size:
                value = _at(frame, time_s - self.shift_s)
                if not np.isnan(value).all():
                    windows.append(Window(frame.metric, frame.targets, time_s, value))
        return Collected(tuple(windows))


@dataclass(slots=True)
class ReplayExporter:
    """A reader for ``agent.node.NodeService``: a real Prometheus scrapes the replay's present."""

    frames: tuple[Window, ...]
    clock: Clock
    shift_s: float = 0.0
    name: str = field(default="replay")

    def snapshot(self) -> Snapshot:
        """Return what the recording says of now."""
        now_s = np.array([self.clock.now_s() - self.shift_s])
        return Snapshot(
            tuple(
                Reading(frame.metric, target, float(value))
                for frame in self.frames
                for target, value in zip(frame.targets, _at(frame, now_s)[:, 0], strict=True)
                if not math.isnan(value)
            )
        )


def openmetrics(frames: Sequence[Window], *, shift_s: float = 0.0) -> Iterator[str]:
    """Yield the lines ``promtool tsdb create-blocks-from openmetrics`` takes, ends included.

    Keep what it makes two or three hours old: newer blocks overlap what Prometheus holds in memory.
    """
    for frame in frames:
        name = OWN_PREFIX + frame.metric
        kind = "counter" if name.endswith("_total") else "gauge"
        yield f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}\n"
        stamps = [f"{time_s + shift_s:.3f}" for time_s in frame.time_s]
        for target, row in zip(frame.targets, frame.value, strict=True):
            labels = own_labels(target)
            for column in np.flatnonzero(np.isfinite(row)):
                yield f"{sample(name, labels, row[column])} {stamps[column]}\n"
    yield "# EOF\n"


def _at(frame: Window, recorded_s: Floats) -> Floats:
    """Return (S, T) readings that stood at these recorded times, NaN outside the recording."""
    if frame.time_s.size == 0:
        return np.full((len(frame.targets), len(recorded_s)), np.nan)
    step_s = float(np.diff(frame.time_s).min()) if frame.time_s.size > 1 else 60.0
    # Half a millisecond: times near 1.7e9 s are no finer than 2.4e-7 s, and sums of them less so.
    place = np.searchsorted(frame.time_s, recorded_s + 5e-4, side="right") - 1
    value = frame.value[:, np.maximum(place, 0)].astype(np.float64)
    stale = recorded_s - frame.time_s[np.maximum(place, 0)] >= step_s
    value[:, (place < 0) | stale] = np.nan
    return value


def _window(
    mapped: Mapped, series: np.ndarray[Any, Any], position: Ints, value: Floats, step_s: float
) -> Window:
    names, row = np.unique(series, return_inverse=True)
    first = int(position.min())
    out = np.full((len(names), int(position.max()) - first + 1), np.nan)
    out[row, position - first] = value * mapped.factor
    time_s = np.arange(first, first + out.shape[1], dtype=np.float64) * step_s
    targets = tuple(_target(mapped.metric, str(name)) for name in names)
    return Window(mapped.metric, targets, time_s, out)


def _target(metric: str, series: str) -> Target:
    """Return a target of the metric's scope that bears the series' name."""
    match CATALOG[metric].scope:
        case TargetKind.GPU:
            return Target(node=series, gpu=f"GPU-{series}")
        case TargetKind.PORT:
            return Target(node=series, port="eth0")
        case TargetKind.VOLUME:
            return Target(node=series, volume="/")
        case TargetKind.JOB:
            return Target(job=series)
        case TargetKind.RANK:
            return Target(job="recorded", rank=series)
        case _:
            return Target(node=series)


def _positions(time: np.ndarray[Any, Any], columns: Columns, path: Path) -> Ints:
    """Return each reading's whole number of steps since the epoch, or the recording's own zero."""
    if np.issubdtype(time.dtype, np.datetime64):
        seconds = time.astype("datetime64[ns]").astype(np.int64) / 1e9
        return np.rint(seconds / columns.step_s).astype(np.int64)
    if np.issubdtype(time.dtype, np.integer):
        return time.astype(np.int64)
    raise InputError(
        f"reading {path}: column {columns.time!r} holds {time.dtype}, and must hold time stamps "
        "or whole numbers of steps."
    )


def _table(path: Path) -> "pyarrow.Table":
    # 100 ms that only a replay pays.
    import pyarrow  # noqa: PLC0415
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        if path.name.endswith(CSV_ENDINGS):
            return csv.read_csv(path)
        return parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(
            f"reading {path}: {error}. It must be a parquet or csv file with a row a reading."
        ) from error
