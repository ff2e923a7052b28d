"""What its causes make of a reading: batched linear mechanisms and what they leave over.

Only normal times are learned from, coefficients are shared by all targets of a metric, and a cause
outside the range it was seen in is not extrapolated: its effect then counts as explained as far
as sign, order in time and size agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints, Window
from core.units import CATALOG
from rca.graph.causal_graph import CausalGraph
from rca.posterior.standing import Bools, Spans, Standing, readings

TRAINED_Z = 6.0  # beyond this a cause has left the range that the normal span covers
CAP_Z = 30.0  # a residual beyond this tells nothing more
PLAIN_Z = 10.0  # two readings this odd are equally odd: their sigmas are not comparable beyond
MIN_ROWS = 60  # readings, over all series, that a fit needs
_SAMPLED_SERIES = 16  # coefficients are shared, so a sample of the series is enough
_MAX_LAGS = 8
_MODEL_ERROR = 0.15  # of what the causes are expected to bring; no mechanism is better known


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """y = x * coefficient + noise, about each series' own means.

    coefficient: (P, L + 1) effect of cause p, ``lag`` readings ago, in units of y per unit of x
    explained:   share of y's variance on the normal span, in [0, 1]; 0 where nothing was fitted
    """

    coefficient: Floats
    explained: float

    @property
    def gain(self) -> Floats:
        """(P,) what a lasting change of each cause makes of y in the end."""
        return np.asarray(self.coefficient.sum(axis=1))


def fit_linear(y: Floats, x: Floats, *, lags: int, ridge: float = 1e-2) -> Linear:
    """Fit one ridge regression, shared by S series, of y on its causes' last readings.

    y: (S, T); x: (S, P, T), any units; NaN allowed in both. Constant causes get 0, and so does
    everything where fewer than MIN_ROWS readings are complete. One Gram matrix of P (L + 1)
    columns; ``ridge`` is relative to its diagonal.
    """
    causes, length = x.shape[1], x.shape[2]
    nothing = Linear(np.zeros((causes, lags + 1)), 0.0)
    if length <= lags:
        return nothing
    shifted = np.stack([x[:, :, lags - lag : length - lag] for lag in range(lags + 1)], axis=2)
    design = shifted.reshape(len(y), causes * (lags + 1), length - lags)
    wanted = y[:, lags:]
    complete = np.isfinite(wanted) & np.isfinite(design).all(axis=1)
    if complete.sum() < MIN_ROWS:
        return nothing
    design = _centred(design, complete[:, None, :])
    wanted = _centred(wanted, complete)
    rows = design.transpose(0, 2, 1).reshape(-1, design.shape[1])
    size = np.sqrt((rows**2).mean(axis=0))
    alive = size > 1e-12 * (1 + size.max())
    if not alive.any() or not (wanted**2).sum() > 0:
        return nothing
    unit = rows[:, alive] / size[alive]
    gram = unit.T @ unit + ridge * len(unit) * np.eye(unit.shape[1])
    solved = np.linalg.solve(gram, unit.T @ wanted.ravel())
    left = wanted.ravel() - unit @ solved
    flat = np.zeros(len(size))
    flat[alive] = solved / size[alive]
    share = 1 - (left**2).sum() / (wanted**2).sum()
    return Linear(flat.reshape(causes, lags + 1), float(np.clip(share, 0.0, 1.0)))


def _centred(value: Floats, complete: Bools) -> Floats:
    """Return each series about its mean over complete readings, 0 at the others."""
    kept = np.where(complete, value, 0.0)
    count = np.maximum(complete.sum(axis=-1, keepdims=True), 1)
    mean = kept.sum(axis=-1, keepdims=True) / count
    return np.where(complete, kept - mean, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Mechanisms:
    """All mechanisms of a graph.

    gain:      (templates,) effect per unit of the cause, 0 for barriers and what was not fitted
    explained: (M,) share of a metric's normal variance that its causes account for
    """

    gain: Floats
    explained: Floats


def fit_mechanisms(graph: CausalGraph, windows: Mapping[str, Window], spans: Spans) -> Mechanisms:
    """Fit every metric on the metrics that cause it, over the normal span."""
    gain, explained = np.zeros(len(graph.templates)), np.zeros(len(graph.metrics))
    for number, name in enumerate(graph.metrics):
        slots = [
            index
            for index, link in enumerate(graph.templates)
            if link.effect == name and not link.barrier
        ]
        if slots:
            fitted = _fit_metric(graph, windows, spans=spans, name=name, slots=slots)
            gain[slots], explained[number] = fitted.gain, fitted.explained
    return Mechanisms(gain, explained)


def _fit_metric(
    graph: CausalGraph,
    windows: Mapping[str, Window],
    *,
    spans: Spans,
    name: str,
    slots: list[int],
) -> Linear:
    """Fit one metric's mechanism on a sample of its series."""
    part, window = graph.span(name), windows[name]
    columns = spans.normal(window.time_s)
    sample = np.unique(
        np.linspace(part.start, part.stop - 1, min(_SAMPLED_SERIES, part.stop - part.start))
    ).astype(np.int64)
    if len(columns) < 2 or not len(sample):
        return Linear(np.zeros((len(slots), 1)), 0.0)
    y = _rows_of(window, sample - part.start, columns)
    x = np.zeros((len(sample), len(slots), y.shape[1]))
    for slot, index in enumerate(slots):
        cause = windows[graph.templates[index].cause]
        if cause.time_s.shape != window.time_s.shape or (cause.time_s != window.time_s).any():
            continue
        x[:, slot] = _mean_cause(graph, cause, index=index, sample=sample, columns=columns)[
            :, -y.shape[1] :
        ]
    step_s = float(window.time_s[1] - window.time_s[0])
    longest_s = max(graph.templates[index].lag_s for index in slots)
    return fit_linear(y, x, lags=int(min(_MAX_LAGS, np.ceil(longest_s / step_s))))


def _mean_cause(
    graph: CausalGraph, window: Window, *, index: int, sample: Ints, columns: Ints
) -> Floats:
    """Return (sample, C) the mean over each sampled effect's causes through one template."""
    links = np.flatnonzero((graph.template == index) & np.isin(graph.effect, sample))
    to = np.searchsorted(sample, graph.effect[links])
    rows = graph.cause[links] - graph.span(window.metric).start
    value = _rows_of(window, rows, columns)
    total = np.zeros((len(sample), value.shape[1]))
    np.add.at(total, to, value)
    count = np.bincount(to, minlength=len(sample))[:, None]
    # A target without this cause says nothing about the cause: a constant, so weight 0.
    return np.where(count > 0, total / np.maximum(count, 1), 0.0)


def _rows_of(window: Window, rows: Ints, columns: Ints) -> Floats:
    """Return (rows, C') readings; a counter's first column is repeated so that C' == C."""
    part = Window(
        window.metric,
        tuple(window.targets[row] for row in rows.tolist()),
        window.time_s,
        window.value[rows],
    )
    value = readings(part, columns)
    if CATALOG[window.metric].counter:
        return np.concatenate([value[:, :1], value], axis=1)
    return value


def residual(graph: CausalGraph, standing: Standing, mechanisms: Mechanisms) -> Floats:
    """(V,) how odd each variable is beyond what its causes account for, signed as ``odd``.

    A barrier's effect is explained by its slowest cause as arithmetic; other effects by the
    fitted gain inside the trained range and by agreement of sign, order and size outside it.
    """
    cause, effect, kind = graph.cause, graph.effect, graph.template
    sign = np.array([link.sign for link in graph.templates], dtype=np.int64)[kind]
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[kind]
    moved = standing.level - standing.centre
    own = np.clip(standing.own, -PLAIN_Z, PLAIN_Z)
    trained = np.clip(moved, -TRAINED_Z * standing.scale, TRAINED_Z * standing.scale)

    count = np.bincount(
        effect * max(1, len(graph.templates)) + kind,
        minlength=graph.size * max(1, len(graph.templates)),
    )[effect * max(1, len(graph.templates)) + kind]
    push = np.nan_to_num(mechanisms.gain[kind] * trained[cause]) / np.maximum(count, 1)
    expected = np.bincount(effect, weights=push, minlength=graph.size).astype(np.float64)
    expected = expected + barrier_wait(graph, moved)
    noise = np.hypot(_noise(graph, standing, mechanisms), _MODEL_ERROR * expected)
    left = (moved - expected) / noise

    same_way = own[cause] * sign * own[effect] > 0
    in_order = ~(standing.onset_s[cause] > standing.onset_s[effect] + 60.0)
    beyond = barrier | (np.abs(standing.own[cause]) > TRAINED_Z)
    ratio = np.where(
        barrier,
        np.nan_to_num(moved[cause] / np.where(moved[effect] == 0, np.nan, moved[effect])),
        np.nan_to_num(np.abs(own[cause]) / np.maximum(np.abs(own[effect]), 1e-9)),
    )
    share = np.where(same_way & in_order & beyond, np.clip(ratio, 0.0, 1.0), 0.0)
    explained = np.zeros(graph.size)
    np.maximum.at(explained, effect, share)

    bad = np.where(standing.own * standing.odd < 0, -1.0, 1.0)
    signed = np.where(np.isfinite(standing.own), left * bad, standing.odd)
    # A cause that is normal explains nothing and adds no suspicion to an effect that is normal.
    limited = np.where(np.abs(signed) > np.abs(standing.odd), standing.odd, signed)
    return np.asarray(np.clip(limited * (1 - explained), -CAP_Z, CAP_Z))


def barrier_wait(graph: CausalGraph, moved: Floats) -> Floats:
    """(V,) seconds that each rank's collectives grow because the job waits for its slowest rank.

    moved: (V,) change of each variable. In a synchronous job the slow rank waits least: its peers'
    collectives last as much longer as its own work does. 0 for every other metric.
    """
    wait = np.zeros(graph.size)
    collective = graph.span("rank_collective_time_s")
    if collective.start == collective.stop:
        return wait
    own = np.zeros(len(graph.gpus) + 1)
    slowest = np.zeros(len(graph.jobs) + 1)
    parts = [graph.span(name) for name in ("rank_step_time_s", "rank_data_wait_s")]
    for part in parts:
        np.add.at(own, graph.place.gpu[part], np.nan_to_num(moved[part]))
    for part in parts:
        np.maximum.at(slowest, graph.place.job[part], own[graph.place.gpu[part]])
    known = (graph.place.gpu[collective] >= 0) & (graph.place.job[collective] >= 0)
    grown = slowest[graph.place.job[collective]] - own[graph.place.gpu[collective]]
    wait[collective] = np.where(known, np.maximum(grown, 0.0), 0.0)
    return wait


def _noise(graph: CausalGraph, standing: Standing, mechanisms: Mechanisms) -> Floats:
    """(V,) scale of what the causes leave over; never below a tenth of the variable's own."""
    left = np.sqrt(np.maximum(1 - mechanisms.explained, 0.01))
    return np.asarray(standing.scale * left[graph.metric])
