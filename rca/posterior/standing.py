"""How far every variable stands from its own past and from its peers, in robust sigmas."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.target import TargetKind
from core.types import Floats, Ints, Window
from core.units import CATALOG, Bad
from rca.graph.causal_graph import CausalGraph

Bools = NDArray[np.bool_]

ODD_Z = 3.0  # from here on a reading is out of the ordinary
MIN_NORMAL = 8  # readings before the onset that make a baseline
MIN_PEERS = 4  # fewer cannot say which of them is the odd one
_BUDGET = 100_000  # readings looked at per metric; more series are looked at in fewer columns
_MIN_COLUMNS = 16
_MAX_ABNORMAL_COLUMNS = 16

# Least scale per unit: what a sensor's own resolution or a single counted error amounts to, so
# that a constant series has a scale at all.
_FLOOR: Mapping[str, float] = {"ratio": 0.01, "°C": 0.5, "W": 5.0, "Hz": 1e7, "s": 1e-3}
_COUNT_FLOOR = 1 / 60  # per second: one error a minute
_BYTES_FLOOR = 2.0**20
# Counters of which a single count is news: one an hour.
_NEVER_NORMAL = frozenset(
    {"gpu_ecc_uncorrected_total", "node_oom_kills_total", "port_link_down_total"}
)


@dataclass(frozen=True, slots=True)
class Spans:
    """Which times are normal and which abnormal, seconds since the epoch.

    guard_s: time before the onset that belongs to neither: what creeps is detected minutes late.
             A fifth of it where the history is too short for that.
    """

    normal_start_s: float
    onset_s: float
    now_s: float
    guard_s: float = 600.0
    abnormal_s: float = 600.0

    def normal(self, time_s: Floats) -> Ints:
        """Return the columns of normal times."""
        since = time_s >= self.normal_start_s
        clear = np.flatnonzero(since & (time_s < self.onset_s - self.guard_s))
        if len(clear) >= 4 * MIN_NORMAL:
            return clear
        return np.flatnonzero(since & (time_s < self.onset_s - self.guard_s / 5))

    def abnormal(self, time_s: Floats) -> Ints:
        """Return the columns of abnormal times; the newest one where none is new enough."""
        end_s = min(self.now_s, self.onset_s + self.abnormal_s)
        inside = np.flatnonzero((time_s >= self.onset_s) & (time_s <= end_s))
        if len(inside):
            return inside
        late = np.flatnonzero((time_s >= self.onset_s - self.guard_s / 5) & (time_s <= self.now_s))
        return late[-1:]


@dataclass(frozen=True, eq=False)
class Standing:
    """One entry per variable, (V,); NaN where the data do not say.

    centre, scale: of the normal span; level: of the abnormal one; in the metric's unit, counters
                   as a rate per second
    own:   (level - centre) / scale
    peer:  the same change against that of its peers: ranks and GPUs of one job, volumes
    odd:   what counts: own, or peer where there is no baseline; above 0 is the bad direction
    onset_s: when it first left its band; NaN where it did not
    silent: was there before, is not now
    """

    centre: Floats
    scale: Floats
    level: Floats
    own: Floats
    peer: Floats
    odd: Floats
    onset_s: Floats
    silent: Bools

    @property
    def measured(self) -> Bools:
        """(V,) whether the data say how odd the variable is."""
        return np.isfinite(self.odd)


def stand(graph: CausalGraph, windows: Mapping[str, Window], spans: Spans) -> Standing:
    """Return where every variable stands; O(V) numpy passes over few columns each."""
    blank = np.full((6, graph.size), np.nan)
    centre, scale, level, peer, odd, onset_s = blank
    silent = np.zeros(graph.size, dtype=bool)
    groups = peer_groups(graph)
    for name in graph.metrics:
        part = graph.span(name)
        baseline = _baseline(windows[name], spans)
        centre[part], scale[part] = baseline
        level[part] = _level(windows[name], spans)
        silent[part] = np.isfinite(centre[part]) & np.isnan(level[part])
        if CATALOG[name].scope is not TargetKind.JOB:
            change = level[part] - np.where(np.isfinite(centre[part]), centre[part], 0.0)
            floor = np.where(np.isfinite(scale[part]), scale[part], floor_of(name))
            peer[part] = peer_z(change, groups[part], floor)
    own = (level - centre) / scale
    sign = np.array([bad_sign(name) for name in graph.metrics])[graph.metric]
    raw = np.where(np.isfinite(own), own, peer)
    odd = np.where(sign == 0, np.abs(raw), raw * sign)
    for name in graph.metrics:
        part = graph.span(name)
        rows = np.flatnonzero(np.abs(own[part]) > ODD_Z)
        if len(rows):
            found = _onset(windows[name], spans, rows=rows, band=(centre[part], scale[part]))
            onset_s[part.start + rows] = found
    return Standing(centre, scale, level, own, peer, odd, onset_s, silent)


def bad_sign(metric: str) -> int:
    """Return +1 where high is bad, -1 where low is, 0 where neither."""
    return {Bad.HIGH: 1, Bad.LOW: -1, Bad.NEITHER: 0}[CATALOG[metric].bad]


def floor_of(metric: str) -> float:
    """Return the least scale of a metric, in its unit (a counter's: per second)."""
    unit = CATALOG[metric].unit
    if unit == "bytes":
        return _BYTES_FLOOR
    if metric in _NEVER_NORMAL:
        return 1 / 3600
    return _FLOOR.get(unit, _COUNT_FLOOR if CATALOG[metric].counter else 0.01)


def readings(window: Window, columns: Ints) -> Floats:
    """Return (S, C) readings of those columns, infinities as NaN.

    A counter gives C - 1 rates per second between neighbouring columns, NaN across a reset.
    """
    value = np.asarray(window.value[:, columns], dtype=np.float64)
    value = np.where(np.isfinite(value) & (np.abs(value) < 1e100), value, np.nan)
    if not CATALOG[window.metric].counter:
        return value
    rate = np.diff(value, axis=1) / np.diff(window.time_s[columns])
    return np.where(rate >= 0, rate, np.nan)


def _thin(columns: Ints, series: int, *, most: int | None = None) -> Ints:
    """Return evenly spaced columns, as many as the budget of readings allows."""
    limit = most or max(_MIN_COLUMNS, _BUDGET // max(1, series))
    if len(columns) <= limit:
        return columns
    return columns[np.linspace(0, len(columns) - 1, limit).astype(np.int64)]


def _baseline(window: Window, spans: Spans) -> tuple[Floats, Floats]:
    """Return (S,) centre and scale of the normal span, NaN with fewer than MIN_NORMAL readings."""
    value = readings(window, _thin(spans.normal(window.time_s), len(window.targets)))
    count = np.isfinite(value).sum(axis=1)
    centre, spread = np.full((2, len(value)), np.nan)
    rows = count >= MIN_NORMAL
    if not rows.any():
        return centre, spread
    ordered = np.sort(value[rows], axis=1)
    last = (count[rows] - 1)[:, None]
    low, middle, high = (
        np.take_along_axis(ordered, np.round(last * share).astype(np.int64), axis=1)[:, 0]
        for share in (0.25, 0.5, 0.75)
    )
    step = np.diff(ordered, axis=1)
    quantum = np.where(step > 0, step, np.inf).min(axis=1)
    deviation = np.nan_to_num(value[rows] - middle[:, None])
    variance = (deviation**2).sum(axis=1) / count[rows]
    centre[rows] = middle
    spread[rows] = np.maximum.reduce(
        [
            np.sqrt(variance),
            (high - low) / 1.35,
            np.where(np.isfinite(quantum) & (quantum < high - low), quantum, 0.0),
            1e-3 * np.abs(middle),
            np.full(len(middle), floor_of(window.metric)),
        ]
    )
    return centre, spread


def _level(window: Window, spans: Spans) -> Floats:
    """Return (S,) the median reading of the abnormal span, the mean rate for a counter."""
    columns = spans.abnormal(window.time_s)
    if CATALOG[window.metric].counter and len(columns):
        columns = np.concatenate([columns[:1] - 1, columns])
        columns = columns[columns >= 0]
    value = readings(window, _thin(columns, len(window.targets), most=_MAX_ABNORMAL_COLUMNS))
    if CATALOG[window.metric].counter:
        count = np.isfinite(value).sum(axis=1)
        return np.where(count > 0, np.nansum(value, axis=1) / np.maximum(count, 1), np.nan)
    return median(value)


def median(value: Floats) -> Floats:
    """Return (S,) the lower median of each row without its NaN; NaN for an empty row."""
    if value.shape[1] == 0:
        return np.full(len(value), np.nan)
    ordered = np.sort(value, axis=1)
    middle = np.maximum(np.isfinite(value).sum(axis=1) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0])


def _onset(window: Window, spans: Spans, *, rows: Ints, band: tuple[Floats, Floats]) -> Floats:
    """Return when each of these rows first left its band for two readings in a row."""
    since_s = spans.onset_s - spans.guard_s
    columns = np.flatnonzero((window.time_s >= since_s) & (window.time_s <= spans.now_s))
    part = Window(
        window.metric,
        tuple(window.targets[row] for row in rows.tolist()),
        window.time_s,
        window.value[rows],
    )
    value = readings(part, columns)
    time_s = window.time_s[columns][-value.shape[1] :] if value.shape[1] else np.zeros(0)
    if not len(time_s):
        return np.full(len(rows), np.nan)
    centre, scale = band[0][rows][:, None], band[1][rows][:, None]
    outside = np.abs(value - centre) > ODD_Z * scale
    lasting = outside.copy()
    lasting[:, :-1] &= outside[:, 1:]
    return np.where(lasting.any(axis=1), time_s[lasting.argmax(axis=1)], np.nan)


def peer_groups(graph: CausalGraph) -> Ints:
    """(V,) variables of one metric with the same number are exchangeable: they do the same job."""
    job_of_node = np.full(len(graph.nodes) + 1, -1, dtype=np.int64)
    job_of_node[graph.node_job[::-1, 0]] = graph.node_job[::-1, 1]
    return np.where(graph.place.job >= 0, graph.place.job, job_of_node[graph.place.node])


def peer_z(change: Floats, group: Ints, floor: Floats | float) -> Floats:
    """Distance of each entry from the median of its group, in robust sigmas of the group.

    change: (S,) any unit; floor: least sigma. A group of fewer than MIN_PEERS is compared with all
    entries; where even those are too few the answer is NaN.
    """
    known = np.isfinite(change)
    if known.sum() < MIN_PEERS:
        return np.full(len(change), np.nan)
    everyone, own = np.zeros(len(change), dtype=np.int64), group + 1
    few = np.bincount(own, weights=known)[own] < MIN_PEERS
    away = change - np.where(few, group_median(change, everyone), group_median(change, own))
    spread = np.abs(away)
    sigma = 1.4826 * np.where(few, group_median(spread, everyone), group_median(spread, own))
    return np.asarray(away / np.maximum(sigma, floor))


def group_median(value: Floats, group: Ints) -> Floats:
    """(S,) the lower median of each entry's group, NaN left out; groups are numbered from 0."""
    by = np.lexsort((value, group))
    sorted_group, count = group[by], np.bincount(group, weights=np.isfinite(value))
    first = np.searchsorted(sorted_group, np.arange(len(count)))
    middle = first + np.maximum(count.astype(np.int64) - 1, 0) // 2
    ordered = np.append(value[by], np.nan)
    return np.asarray(np.where(count > 0, ordered[np.minimum(middle, len(value))], np.nan)[group])
