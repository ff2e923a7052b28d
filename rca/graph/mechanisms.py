"""What its causes make of a cluster's reading: mechanisms shared by all targets of a metric.

Only normal times are learned from, and a cause outside the range it was seen in is not
extrapolated: its effect then counts as explained as far as sign, order in time and size agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from core.target import Target, TargetKind
from core.types import Floats, Ints, Window
from core.units import CATALOG
from rca.graph.causal_graph import CausalGraph
from rca.graph.templates import Template
from rca.posterior.standing import Bools, Spans, Standing, readings
from rca.scm.design import LINEAR, Place, Terms, terms_of
from rca.scm.fit import Fitted, choose, solve
from rca.scm.links import Links, link
from rca.scm.model import TRAINED_Z, folds_of, place_of
from rca.scm.moments import Moments, merged, moments, scaled, with_newest
from rca.scm.scale import spread

CAP_Z = 30.0  # a residual beyond this tells nothing more
PLAIN_Z = 10.0  # two readings this odd are equally odd: their sigmas are not comparable beyond
RIDGE = 1e-2  # of a column's variance: lags of one cause move nearly as one
_SAMPLED_SERIES = 16  # coefficients are shared, so a sample of the series is enough
_MAX_LAGS = 8
_LATE_S = 60.0  # an onset is two readings in a row: so late a cause may still seem to come
_MODEL_ERROR = 0.15  # of what the causes are expected to bring; no mechanism is better known


@dataclass(frozen=True, slots=True)
class _Part:
    """One metric's share of a fit: its templates, its sampled series, and lags up to ``lags``."""

    templates: tuple[Template, ...]
    series: tuple[Target, ...]
    lags: int


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """Rows of sampled effects, each part followed by the means of their causes.

    value: (R, C); links: from mean causes to effects, pooled by template in the parts' order
    """

    parts: tuple[_Part, ...]
    value: Floats
    links: Links


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What a fit of these parts was made of; sums of other parts cannot be added to it."""

    parts: tuple[_Part, ...]
    place: Place
    folds: tuple[Moments, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mechanisms:
    """All mechanisms of a graph; they serve any later graph that has the same templates.

    gain:      by template (1 + knots,): lasting effect per unit of the cause, straight and beyond
               each knot; what was not fitted is not in it
    explained: by metric, share of its normal variance that its causes account for
    knots:     where a mechanism may bend, in scales of the cause
    """

    gain: Mapping[Template, Floats]
    explained: Mapping[str, float]
    knots: tuple[float, ...] = ()
    sums: tuple[_Sums, ...] = ()

    def cover(self, graph: CausalGraph) -> bool:
        """Say whether every link of the graph that is fitted was."""
        return all(each.barrier or each in self.gain for each in graph.templates)


def fit_mechanisms(
    graph: CausalGraph,
    windows: Mapping[str, Window],
    spans: Spans,
    *,
    known: Mechanisms | None = None,
    keep: float = 1.0,
    knots: tuple[float, ...] = (),
) -> Mechanisms:
    """Fit every metric on the metrics that cause it, over the normal span, in one go.

    known: fitted earlier, on rows before these, which now count ``keep`` times: fitting on each
    hour, off the incident path, costs that hour. Where other series are sampled it starts anew.
    knots: where mechanisms may bend, if a back-test wants it; straight ones only on the incident
    path, as bends at every lag cost 8 times as much.
    """
    if known and known.knots != knots:
        known = None
    gain: dict[Template, Floats] = {}
    explained: dict[str, float] = {}
    made = []
    for names in _by_grid(graph, windows):
        stack = _stack(graph, windows, spans=spans, names=names)
        if stack is None:
            continue
        terms = terms_of(stack.links, knots)
        old = (
            next((each for each in known.sums if each.parts == stack.parts), None)
            if known
            else None
        )
        made.append(_sums(stack, terms, old, keep=keep))
        use = choose(made[-1].folds, terms, ridge=RIDGE)
        fitted = solve(reduce(merged, made[-1].folds), terms, ridge=RIDGE, use=use)
        gain |= _gains(stack, terms, fitted, knots=knots)
        explained |= _explained(stack, fitted)
    return Mechanisms(gain, explained, knots, tuple(made))


def _by_grid(graph: CausalGraph, windows: Mapping[str, Window]) -> tuple[tuple[str, ...], ...]:
    """Return the metrics that have causes, those scraped at the same times together.

    Those of jobs by themselves: they come and go, and what is known of the hardware stays.
    """
    groups: dict[tuple[bytes, bool], list[str]] = {}
    caused = {each.effect for each in graph.templates if not each.barrier}
    for name in graph.metrics:
        if name in caused:
            of_job = CATALOG[name].scope in (TargetKind.JOB, TargetKind.RANK)
            groups.setdefault((windows[name].time_s.tobytes(), of_job), []).append(name)
    return tuple(tuple(names) for names in groups.values())


def _stack(
    graph: CausalGraph, windows: Mapping[str, Window], *, spans: Spans, names: tuple[str, ...]
) -> _Stack | None:
    """Lay out the sampled series of metrics of one time grid; None where that has no columns."""
    time_s = windows[names[0]].time_s
    columns = spans.normal(time_s)
    if len(columns) < 2:
        return None
    parts, rows = [], []
    for name in names:
        templates = tuple(t for t in graph.templates if t.effect == name and not t.barrier)
        sample, first = _sample(graph, name), graph.span(name).start
        rows.append(_rows_of(windows[name], sample - first, columns))
        rows += [
            _mean_cause(graph, windows[t.cause], template=t, sample=sample, like=(time_s, columns))
            for t in templates
        ]
        targets = graph.targets[graph.metric_index[name]]
        series = tuple(targets[row] for row in (sample - first).tolist())
        longest_s = max(each.lag_s for each in templates)
        lags = int(min(_MAX_LAGS, np.ceil(longest_s / (time_s[1] - time_s[0]))))
        parts.append(_Part(templates, series, lags))
    return _Stack(tuple(parts), np.concatenate(rows), _links(parts))


def _links(parts: Sequence[_Part]) -> Links:
    """Link the rows of each part: its effects come first, then their causes by template."""
    start, pairs = 0, [np.zeros((0, 2), dtype=np.int64)]
    for part in parts:
        effect = start + np.arange(len(part.series))
        pairs += [
            np.stack([effect + number * len(effect), effect], axis=1)
            for number in range(1, len(part.templates) + 1)
        ]
        start += (len(part.templates) + 1) * len(effect)
    series = [len(part.series) for part in parts for _ in part.templates]
    last = np.repeat([part.lags for part in parts for _ in part.templates], series)
    lag = (np.zeros_like(last), last)
    return link(
        start, np.concatenate(pairs), lag=lag, pool=np.repeat(np.arange(len(series)), series)
    )


def _sample(graph: CausalGraph, name: str) -> Ints:
    """Return variables of a metric, evenly spread over its series."""
    part = graph.span(name)
    count = min(_SAMPLED_SERIES, part.stop - part.start)
    return np.unique(np.linspace(part.start, part.stop - 1, count)).astype(np.int64)


def _sums(stack: _Stack, terms: Terms, old: _Sums | None, *, keep: float) -> _Sums:
    """Sum up the rows, on top of earlier ones where there are any.

    What had no readings then and has some now starts anew: nobody knew where it lies.
    """
    place = place_of(spread(stack.value), stack.value.shape[1])
    if old is None or (place.measured & ~old.place.measured).any():
        return _Sums(stack.parts, place, folds_of(stack.value, terms, place))
    new = moments(stack.value, terms, old.place, slice(0, stack.value.shape[1]))
    before = tuple(scaled(each, keep) for each in old.folds)
    return _Sums(stack.parts, old.place, with_newest(before, new))


def _gains(
    stack: _Stack, terms: Terms, fitted: Fitted, *, knots: tuple[float, ...]
) -> Mapping[Template, Floats]:
    """Return each template's lasting effect: the coefficients all series share, over lags."""
    templates = [each for part in stack.parts for each in part.templates]
    series = np.bincount(stack.links.pool, minlength=len(templates))
    bends = np.array([LINEAR, *knots])
    number = stack.links.pool[terms.link] * len(bends) + np.searchsorted(bends, terms.knot)
    total = np.bincount(number, fitted.coefficient, len(templates) * len(bends))
    gain = total.reshape(len(templates), -1) / np.maximum(series, 1)[:, None]
    return dict(zip(templates, gain, strict=True))


def _explained(stack: _Stack, fitted: Fitted) -> Mapping[str, float]:
    """Return the mean share of variance that the causes of each metric's series account for."""
    shares, start = {}, 0
    for part in stack.parts:
        share = fitted.explained[start : start + len(part.series)]
        shares[part.templates[0].effect] = float(share.mean()) if len(share) else 0.0
        start += (len(part.templates) + 1) * len(part.series)
    return shares


def _mean_cause(
    graph: CausalGraph,
    window: Window,
    *,
    template: Template,
    sample: Ints,
    like: tuple[Floats, Ints],
) -> Floats:
    """Return (sample, C) the mean over each sampled effect's causes through one template.

    like: times and columns of the effect; a cause scraped at others is a constant, so weight 0,
    and so is that of a target without this cause.
    """
    time_s, columns = like
    if window.time_s.shape != time_s.shape or (window.time_s != time_s).any():
        return np.zeros((len(sample), len(columns)))
    index = graph.templates.index(template)
    links = np.flatnonzero((graph.template == index) & np.isin(graph.effect, sample))
    to = np.searchsorted(sample, graph.effect[links])
    rows = graph.cause[links] - graph.span(window.metric).start
    value = _rows_of(window, rows, columns)
    total = np.zeros((len(sample), value.shape[1]))
    np.add.at(total, to, value)
    count = np.bincount(to, minlength=len(sample))[:, None]
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
    cause, effect = graph.cause, graph.effect
    moved = standing.level - standing.centre
    push = pushes(graph, standing, mechanisms)
    expected = np.bincount(effect, weights=push, minlength=graph.size).astype(np.float64)
    expected = expected + barrier_wait(graph, moved)
    noise = np.hypot(_noise(graph, standing, mechanisms), _MODEL_ERROR * expected)
    left = (moved - expected) / noise

    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    ratio = np.nan_to_num(moved[cause] / np.where(moved[effect] == 0, np.nan, moved[effect]))
    share = np.where(
        barrier & _in_order(graph, standing),
        np.clip(ratio, 0.0, 1.0),
        beyond_training(graph, standing),
    )
    explained = np.zeros(graph.size)
    np.maximum.at(explained, effect, share)

    bad = np.where(standing.own * standing.odd < 0, -1.0, 1.0)
    signed = np.where(np.isfinite(standing.own), left * bad, standing.odd)
    # A cause that is normal explains nothing and adds no suspicion to an effect that is normal.
    limited = np.where(np.abs(signed) > np.abs(standing.odd), standing.odd, signed)
    return np.asarray(np.clip(limited * (1 - explained), -CAP_Z, CAP_Z))


def pushes(graph: CausalGraph, standing: Standing, mechanisms: Mechanisms) -> Floats:
    """(E,) what each link makes of its cause's change, in the effect's unit.

    A cause is taken to the end of the range that the mechanism was trained on, no further. Causes
    of one kind act by their mean.
    """
    moved = standing.level - standing.centre
    trained = np.clip(moved, -TRAINED_Z * standing.scale, TRAINED_Z * standing.scale)
    kinds = max(1, len(graph.templates))
    number = graph.effect * kinds + graph.template
    count = np.bincount(number, minlength=graph.size * kinds)[number]
    push = _push(graph, standing, mechanisms, trained[graph.cause])
    return np.asarray(push / np.maximum(count, 1))


def beyond_training(graph: CausalGraph, standing: Standing) -> Floats:
    """(E,) share of each effect that its cause accounts for by agreement, in [0, 1].

    Of causes outside the trained range only, and of no barrier: as far as sign, order in time and
    size agree.
    """
    own = np.clip(standing.own, -PLAIN_Z, PLAIN_Z)
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    ratio = np.abs(own[graph.cause]) / np.maximum(np.abs(own[graph.effect]), 1e-9)
    beyond = ~barrier & (np.abs(standing.own[graph.cause]) > TRAINED_Z)
    share = np.clip(np.nan_to_num(ratio), 0.0, 1.0)
    return np.where(beyond & _in_order(graph, standing), share, 0.0)


def _in_order(graph: CausalGraph, standing: Standing) -> Bools:
    """(E,) whether sign and order in time let a cause have moved its effect."""
    sign = np.array([link.sign for link in graph.templates], dtype=np.int64)[graph.template]
    same_way = standing.own[graph.cause] * sign * standing.own[graph.effect] > 0
    onset_s = standing.onset_s
    return same_way & ~(onset_s[graph.cause] > onset_s[graph.effect] + _LATE_S)


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
    share = np.array([mechanisms.explained.get(name, 0.0) for name in graph.metrics])
    left = np.sqrt(np.maximum(1 - share, 0.01))
    return np.asarray(standing.scale * left[graph.metric])


def _push(graph: CausalGraph, standing: Standing, mechanisms: Mechanisms, moved: Floats) -> Floats:
    """(E,) what each link makes of its cause having moved so far; 0 where nothing was fitted."""
    nothing = np.zeros(1 + len(mechanisms.knots))
    gain = np.array([mechanisms.gain.get(each, nothing) for each in graph.templates])
    each = gain.reshape(-1, len(nothing))[graph.template]
    at = standing.scale[graph.cause][:, None] * np.array(mechanisms.knots)
    bent = np.maximum(moved[:, None] - at, 0.0) - np.maximum(-at, 0.0)
    made = each[:, 0] * moved + (each[:, 1:] * bent).sum(axis=1)
    return np.asarray(np.nan_to_num(made))
