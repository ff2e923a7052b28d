"""Series with limits that early warning is measured on: recorded ones, and such with leaks added.

An event is the first reading of a run beyond the limit that lasts, after an hour mostly within it.
S1: real host memory with an added leak. R1: real host memory at 0.90. R2: GPU utilisation, mean of
15 minutes, at the 97th percentile of the first four hours. R4: service metrics, mean of 5 minutes,
at the 95th percentile of the first three days. G1: as S1, on generated host memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.recorded import Panel, gentd26, is_dev, mscm_panel
from core.types import Floats, Ints

DECIDE_MIN = 15
WARM_UP_MIN = 240
# An event lasts 5 minutes, and no more than a tenth of the hour before it is beyond the limit.
LASTS_MIN = 5
QUIET_MIN = 60
QUIET_SHARE = 0.1
MEMORY_LIMIT = 0.90
# A leak takes the level of the hour before it to this, within 2 to 8 hours, and stays there.
LEAK_TO = 0.95
LEAK_MIN = (120, 480)
# A pod whose usual level is above this has no room for a leak.
ROOMY = 0.8
GENERATED_PODS = 60
DAY_MIN = 1440


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Series with limits on a grid of minutes, and where decisions are made.

    name: of the set; value (S, T); limit (S,); pod (S,) whose recording it is; dev (S,)
    at: (G,) readings up to and including which each decision sees
    events: (S) minutes at which events begin, those after the first decision
    """

    name: str
    value: Floats
    limit: Floats
    pod: Ints
    dev: NDArray[np.bool_]
    at: Ints
    events: tuple[Ints, ...]

    @property
    def days(self) -> float:
        """Return the days that one series is decided on."""
        return float(self.value.shape[1] - int(self.at[0])) / DAY_MIN

    @property
    def beyond(self) -> NDArray[np.bool_]:
        """Return (S, G) whether nothing is to be warned of: beyond the limit, or not read."""
        return np.asarray(~(self.value[:, self.at] < self.limit[:, None]))

    def rows(self, keep: NDArray[np.bool_]) -> "Watched":
        """Return some of the series."""
        events = tuple(e for e, kept in zip(self.events, keep, strict=True) if kept)
        return Watched(
            self.name,
            self.value[keep],
            self.limit[keep],
            self.pod[keep],
            self.dev[keep],
            self.at,
            events,
        )


def leaks(panel: Panel, *, seeds: int, name: str = "S1") -> Watched:
    """Add leaks to half of the pods with room for one, anew for each seed.

    Of the first seed all pods are kept, of the others those that leak: the rest would be the same.
    """
    roomy = panel.rows(np.flatnonzero(np.nanmedian(panel.value, axis=1) < ROOMY))
    dev = np.array([is_dev(pod) for pod in roomy.names])
    value, pod = [], []
    for seed in range(seeds):
        leaking, which = _leak(roomy.value, np.random.default_rng(seed))
        keep = np.ones(len(which), bool) if seed == 0 else which
        value.append(leaking[keep])
        pod.append(np.flatnonzero(keep))
    pods = np.concatenate(pod)
    limit = np.full(len(pods), MEMORY_LIMIT)
    return watched_of(name, (np.concatenate(value), limit), pods, dev[pods])


def recorded_sets(folder: Path) -> tuple[Watched, ...]:
    """Return R1, R2 and R4."""
    memory = gentd26(folder, "node_memory_used_ratio")
    busy = gentd26(folder, "gpu_utilization_ratio")
    service = mscm_panel(folder)
    limit = np.full(len(memory.names), MEMORY_LIMIT)
    return (
        _of_panel("R1", memory, memory.value, limit, WARM_UP_MIN),
        _at_percentile("R2", busy, mean_min=15, percentile=97.0, first_min=WARM_UP_MIN),
        _at_percentile("R4", service, mean_min=5, percentile=95.0, first_min=3 * DAY_MIN),
    )


def generated_pods(*, seed: int = 0) -> Panel:
    """Return a day of memory shares: levels that wander, jump at restarts, and breathe a little.

    Sizes are those of real pods' memory: a wander of 0.02 an hour, a restart every other day.
    """
    rng = np.random.default_rng(seed)
    shape = (GENERATED_PODS, DAY_MIN)
    wander = rng.normal(0.0, 1.0, shape).cumsum(axis=1) * rng.lognormal(-6.2, 0.8, (shape[0], 1))
    jump = np.where(rng.uniform(size=shape) < 0.5 / DAY_MIN, rng.normal(0.0, 0.15, shape), 0.0)
    noise = rng.normal(0.0, 1.0, shape) * rng.lognormal(-6.0, 0.8, (shape[0], 1))
    level = rng.uniform(0.2, 0.7, (shape[0], 1))
    value = np.clip(level + wander + jump.cumsum(axis=1) + noise, 0.02, 1.0)
    names = tuple(f"pod-{i:03d}" for i in range(shape[0]))
    time_s: Floats = np.arange(float(DAY_MIN)) * 60.0
    return Panel("generated", "node_memory_used_ratio", names, time_s, value)


def _leak(value: Floats, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the series with straight, slowing or quickening leaks in half of them, and which."""
    value = value.copy()
    leaking = np.zeros(len(value), bool)
    shapes: tuple[Callable[[Floats], Floats], ...] = (lambda u: u, np.sqrt, np.square)
    minute = np.arange(value.shape[1])
    for row in rng.permutation(len(value))[: round(len(value) / 2)]:
        lasts, shape = rng.integers(LEAK_MIN[0], LEAK_MIN[1] + 1), shapes[rng.integers(3)]
        read = np.flatnonzero(np.isfinite(value[row]))
        first, last = read[0] + WARM_UP_MIN, read[-1] - lasts - 1
        if last <= first:
            continue
        start = int(rng.integers(first, last))
        before = value[row, start - 60 : start]
        if not np.isfinite(before).any() or np.nanmedian(before) >= MEMORY_LIMIT - 0.05:
            continue
        grown = shape(np.clip((minute - start) / lasts, 0.0, 1.0))
        value[row] = np.minimum(value[row] + (LEAK_TO - np.nanmedian(before)) * grown, 1.0)
        leaking[row] = True
    return value, leaking


def _at_percentile(
    name: str, panel: Panel, *, mean_min: int, percentile: float, first_min: int
) -> Watched:
    """Limit each series to a percentile of its own beginning; series that hardly move are out."""
    known = np.isfinite(panel.value)
    total = np.cumsum(np.pad(np.where(known, panel.value, 0.0), ((0, 0), (mean_min, 0))), axis=1)
    count = np.cumsum(np.pad(known, ((0, 0), (mean_min, 0))).astype(int), axis=1)
    readings = count[:, mean_min:] - count[:, :-mean_min]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (total[:, mean_min:] - total[:, :-mean_min]) / readings
    mean[readings < max(1, mean_min // 2)] = np.nan
    begin = mean[:, :first_min]
    usable = np.isfinite(begin).sum(axis=1) >= first_min // 2
    usable[usable] = np.nanstd(begin[usable], axis=1) > 0
    rows = np.flatnonzero(usable)
    limit = np.nanpercentile(begin[rows], percentile, axis=1)
    return _of_panel(name, panel.rows(rows), mean[rows], limit, first_min)


def _of_panel(name: str, panel: Panel, value: Floats, limit: Floats, first_min: int) -> Watched:
    dev = np.array([is_dev(series) for series in panel.names])
    return watched_of(name, (value, limit), np.arange(len(value)), dev, first_min)


def watched_of(
    name: str,
    series: tuple[Floats, Floats],
    pod: Ints,
    dev: NDArray[np.bool_],
    first_min: int = WARM_UP_MIN,
    *,
    every_min: int = DECIDE_MIN,
) -> Watched:
    """Find the events of series (S, T) with limits (S,), decided on every so often."""
    value, limit = series
    at = np.arange(first_min, value.shape[1], every_min)
    events = tuple(
        begin[begin >= first_min]
        for begin in (event_minutes(row, top) for row, top in zip(value, limit, strict=True))
    )
    return Watched(name, value, limit, pod, dev, at, events)


def event_minutes(value: Floats, limit: float) -> Ints:
    """Return where runs of readings (T,) beyond the limit begin that are events."""
    over = value >= limit
    edge = np.diff(np.concatenate([[0], over.astype(int), [0]]))
    begin, end = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    before = np.concatenate([[0], np.cumsum(over)])
    since = np.maximum(begin - QUIET_MIN, 0)
    busy = (before[begin] - before[since]) / np.maximum(begin - since, 1)
    return np.asarray(begin[(end - begin >= LASTS_MIN) & (begin > 0) & (busy <= QUIET_SHARE)])
