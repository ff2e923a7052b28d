"""Readings of jobs and their ranks, made to be looked at one after the other."""

from collections.abc import Mapping, Sequence

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats, Window
from detectors.detector import Detector

START_S = 1_700_000_000.0
COLUMNS = 41


def steps_at(
    time_s: Floats, *, step_s: float, pauses: Sequence[tuple[float, float]] = ()
) -> Floats:
    """Steps done at each time from 0 on; ``pauses``: when each begins and how long it lasts."""
    worked = time_s.copy()
    for begin_s, length_s in pauses:
        worked -= np.clip(time_s - begin_s, 0.0, length_s)
    return np.asarray(np.floor(worked / step_s + 1e-9))


def of_jobs(metric: str, value: Floats, *, every_s: float, jobs: Sequence[str] = ("88",)) -> Window:
    time_s = START_S + every_s * np.arange(value.shape[-1], dtype=np.float64)
    return Window(metric, tuple(Target(job=job) for job in jobs), time_s, np.atleast_2d(value))


def of_ranks(metric: str, value: Floats, *, every_s: float = 15.0, job: str = "88") -> Window:
    """Eight ranks a node."""
    targets = tuple(
        Target(node=f"node-{n // 8}", gpu=f"GPU-{n}", job=job, rank=str(n))
        for n in range(len(value))
    )
    return Window(
        metric, targets, START_S + every_s * np.arange(value.shape[1], dtype=np.float64), value
    )


def cut(windows: Sequence[Window], column: int, width: int = COLUMNS) -> dict[str, Window]:
    part = slice(max(0, column + 1 - width), column + 1)
    return {
        w.metric: Window(w.metric, w.targets, w.time_s[part], w.value[:, part]) for w in windows
    }


def watch(
    detector: Detector,
    windows: Sequence[Window],
    columns: Sequence[int] | None = None,
    *,
    topology: Topology | None = None,
) -> Mapping[int, tuple[Anomaly, ...]]:
    """Column -> what was found when it was the newest; columns without a finding are left out."""
    time_s = windows[0].time_s
    found = {}
    for column in range(len(time_s)) if columns is None else columns:
        now_s = float(time_s[column])
        seen = detector.look(cut(windows, column), topology=topology, now_s=now_s).anomalies
        if seen:
            found[column] = seen
    return found
