"""Rolling origins: what a forecaster sees of recorded series, and what came after."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.evaluations.recorded import Panel, gentd26, mscm_panel, nab_panel
from core.types import Floats, Ints

HORIZON_S = 7200.0
# A window is scored when its newest hour is half read, half of it is read at all, and half of the
# next hour came.
SHARE_READ = 0.5
# Errors are divided by the window's standard deviation. Windows in which a series stood still, so
# that its spread is below this share of its usual one, would be divided by next to nothing.
STILL_SHARE = 0.02
TINY_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class Source:
    """One data set: how to read it, readings a window holds, and origins a series has."""

    panel: Callable[[Path], Panel]
    length: int
    origins: int


# As in the measurements that the goals come from: 8 hours, 7 days and 3 days of history.
SOURCES: Mapping[str, Source] = {
    "G1": Source(lambda folder: gentd26(folder, "gpu_utilization_ratio"), 480, 10),
    "G2": Source(lambda folder: gentd26(folder, "gpu_memory_used_bytes"), 480, 10),
    "G3": Source(lambda folder: gentd26(folder, "node_memory_used_ratio"), 480, 10),
    "N": Source(nab_panel, 2016, 20),
    "M": Source(mscm_panel, 4320, 23),
}


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """W windows of one metric.

    past: (W, T) what is seen, NaN where not read; future: (W, H) what came, HORIZON_S long
    series: (W,) row of the panel; turn: (W,) which of its origins, 0 the first
    gap: columns between two origins of a series, at least
    """

    name: str
    metric: str
    step_s: float
    past: Floats
    future: Floats
    series: Ints
    turn: Ints
    gap: int

    @property
    def spread(self) -> Floats:
        """Return (W,) what errors are divided by."""
        return np.asarray(np.nanstd(self.past, axis=1))

    @property
    def time_s(self) -> Floats:
        """Return (T,) times of the past; the first is 0."""
        return np.arange(self.past.shape[1], dtype=np.float64) * self.step_s

    def rows(self, keep: Ints) -> "Windows":
        """Return some of the windows."""
        return Windows(
            self.name,
            self.metric,
            self.step_s,
            self.past[keep],
            self.future[keep],
            self.series[keep],
            self.turn[keep],
            self.gap,
        )


def windows(name: str, panel: Panel, source: Source) -> Windows:
    """Cut a panel's series into windows at origins spread evenly over each series."""
    steps = round(HORIZON_S / panel.step_s)
    cut: list[tuple[Floats, Floats, int, int]] = []
    gap = steps
    for row, value in enumerate(panel.value):
        known = np.flatnonzero(np.isfinite(value))
        end = int(known[-1]) + 1 if known.size else 0
        first = min(source.length, end // 2)
        places = np.linspace(first, max(first, end - steps), source.origins).astype(int)
        gap = min(gap, int(np.diff(places).min(initial=steps)))
        for turn, origin in enumerate(places):
            past = np.full(source.length, np.nan)
            seen = value[max(0, origin - source.length) : origin]
            past[source.length - len(seen) :] = seen
            future = np.full(steps, np.nan)
            come = value[origin : origin + steps]
            future[: len(come)] = come
            if _usable(past, future, min(source.length, first), panel.step_s):
                cut.append((past, future, row, turn))
    made = Windows(
        name,
        panel.metric,
        panel.step_s,
        np.array([one[0] for one in cut]).reshape(-1, source.length),
        np.array([one[1] for one in cut]).reshape(-1, steps),
        np.array([one[2] for one in cut], dtype=np.int64),
        np.array([one[3] for one in cut], dtype=np.int64),
        gap,
    )
    return made.rows(_moving(made))


def _usable(past: Floats, future: Floats, length: int, step_s: float) -> bool:
    hour = round(3600.0 / step_s)
    known = np.isfinite(past)
    return bool(
        known[-hour:].sum() >= SHARE_READ * hour
        and known.sum() >= SHARE_READ * length
        and np.isfinite(future[:hour]).sum() >= SHARE_READ * hour
        and np.nanstd(past) > TINY_SHARE * max(float(np.nanmax(np.abs(past))), 1e-12)
    )


def _moving(made: Windows) -> Ints:
    """Return the windows whose spread is not next to nothing beside the series' usual one."""
    spread = made.spread
    usual = np.ones(len(spread))
    for row in np.unique(made.series):
        own = made.series == row
        usual[own] = np.median(spread[own])
    return np.flatnonzero(spread > STILL_SHARE * usual)
