"""Who makes a reading grow that a forecast sees crossing its limit."""

import math
from collections.abc import Iterable

import numpy as np

from core.durations import lasting
from core.types import Breach, Floats, Ints, Window
from core.units import CATALOG
from rca.faults.catalogue import FAULT_OF_METRIC
from rca.posterior.case import Case
from rca.posterior.common_cause import groups_of
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.readings import subject
from rca.posterior.standing import ODD_Z, bad_sign, floor_of, readings
from rca.words import say_target, say_value

_FORECAST_WEIGHT = 4.0  # nats at probability 1
_GROWTH_CAP = 2.0
_PASSED_ON = 2.0
_SIBLING = 0.3
_CLEAR = 10.0  # a trend this many times its own noise is plain to see
_MIN_READINGS = 5
_HOUR_S = 3600.0


def growth(window: Window, rows: Ints, columns: Ints) -> tuple[Floats, Floats]:
    """Return (rows,) slope per second and the rise over the span in sigmas of what is left.

    Least squares, NaN left out; NaN with fewer than 5 readings. A counter's is its rate's slope.
    """
    part = Window(
        window.metric,
        tuple(window.targets[row] for row in rows.tolist()),
        window.time_s,
        window.value[rows],
    )
    value = readings(part, columns)
    if value.shape[1] < _MIN_READINGS:
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    time_s = window.time_s[columns][-value.shape[1] :]
    span_s = float(time_s[-1] - time_s[0])
    there = np.isfinite(value)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    when = np.where(there, time_s - time_s[0], 0.0)
    when = np.where(there, when - when.sum(axis=1, keepdims=True) / count, 0.0)
    size = np.where(there, value, 0.0)
    size = np.where(there, size - size.sum(axis=1, keepdims=True) / count, 0.0)
    spread = (when**2).sum(axis=1)
    slope = (when * size).sum(axis=1) / np.where(spread > 0, spread, np.nan)
    left = np.sqrt(((size - slope[:, None] * when) ** 2).sum(axis=1) / count[:, 0])
    enough = there.sum(axis=1) >= _MIN_READINGS
    rise = slope * span_s / np.maximum(left, floor_of(window.metric))
    return np.where(enough, slope, np.nan), np.where(enough, rise, np.nan)


def from_breaches(case: Case) -> Iterable[Hypothesis]:
    """Yield who makes each expected breach: its own target, what is above it, what they share."""
    for breach in case.incident.breaches:
        fault = FAULT_OF_METRIC.get(breach.metric)
        if fault is None:
            continue
        window = case.windows.get(breach.metric)
        part = case.graph.span(breach.metric)
        own = case.graph.variables_of(breach.target)
        own = own[(own >= part.start) & (own < part.stop)]
        target = subject(case, int(own[0])) if len(own) else breach.target
        candidate = Hypothesis(target, fault, own)
        candidate.add(Kind.FORECAST, _say_breach(breach), _FORECAST_WEIGHT * breach.probability)
        yield candidate
        if window is None or not len(own):
            continue
        slope, rise = growth(window, np.arange(len(window.targets)), _recent(case, window))
        row = int(own[0]) - part.start
        sign = bad_sign(breach.metric) or 1
        if math.isfinite(rise[row]):
            candidate.add(
                Kind.FORECAST,
                f"{breach.metric} moved {_say_pace(breach.metric, slope[row])} over the last "
                f"{lasting(case.spans.now_s - case.spans.normal_start_s)}",
                _GROWTH_CAP * math.tanh((sign * rise[row] - ODD_Z) / _CLEAR),
            )
        yield from _shared(case, breach, candidate, sign * rise)
        yield from _above(case, breach, candidate, int(own[0]))
        _add_sibling(case, candidate, int(own[0]))


def _say_breach(breach: Breach) -> str:
    wait = lasting(breach.expected_s - breach.made_at_s)
    return (
        f"forecast: {breach.metric} {say_value(breach.metric, breach.value)} crosses "
        f"{say_value(breach.metric, breach.limit)} in {wait} (p = {breach.probability:.2f}, "
        f"{breach.model})"
    )


def _say_pace(metric: str, slope: float) -> str:
    sign = "+" if slope >= 0 else ""
    return f"{sign}{say_value(metric, slope * _HOUR_S)} an hour"


def _recent(case: Case, window: Window) -> Ints:
    return np.flatnonzero(
        (window.time_s >= case.spans.normal_start_s) & (window.time_s <= case.spans.now_s)
    )


def _shared(case: Case, breach: Breach, own: Hypothesis, rise: Floats) -> Iterable[Hypothesis]:
    """Yield the place most of whose series of the metric grow alike."""
    number = case.graph.span(breach.metric).start
    variable = int(own.variables[0]) - number
    for group in groups_of(case, breach.metric, rise):
        if variable + number not in group.members:
            continue
        text = (
            f"{group.affected} of {group.measured} series of {breach.metric} on "
            f"{say_target(group.target)} grow alike"
        )
        own.add(Kind.FORECAST, text, -_PASSED_ON)
        shared = Hypothesis(group.target, own.fault, group.members)
        shared.add(Kind.FORECAST, _say_breach(breach), _FORECAST_WEIGHT * breach.probability)
        shared.add(Kind.FORECAST, text, _PASSED_ON)
        yield shared
        return


def _above(case: Case, breach: Breach, own: Hypothesis, variable: int) -> Iterable[Hypothesis]:
    """Yield the direct causes of the reading that move the way that would make it grow."""
    graph = case.graph
    sign = bad_sign(breach.metric) or 1
    for link in np.flatnonzero(graph.effect == variable).tolist():
        cause = int(graph.cause[link])
        template = graph.templates[int(graph.template[link])]
        fault = FAULT_OF_METRIC.get(template.cause)
        slope, rise = _growth_of(case, cause)
        if fault is None or not sign * template.sign * rise > ODD_Z:
            continue
        target = subject(case, cause)
        text = f"{template.cause} of {say_target(target)}, which drives it, moves "
        text += _say_pace(template.cause, slope)
        own.add(Kind.FORECAST, text, -_PASSED_ON)
        above = Hypothesis(target, fault, np.array([cause]))
        above.add(Kind.FORECAST, _say_breach(breach), _FORECAST_WEIGHT * breach.probability)
        above.add(Kind.FORECAST, text, _GROWTH_CAP)
        yield above


def _growth_of(case: Case, variable: int) -> tuple[float, float]:
    """Return one variable's slope per second and its rise in sigmas."""
    name = case.graph.metrics[int(case.graph.metric[variable])]
    row = variable - case.graph.span(name).start
    window = case.windows[name]
    slope, rise = growth(window, np.array([row]), _recent(case, window))
    return float(slope[0]), float(rise[0])


def _add_sibling(case: Case, candidate: Hypothesis, variable: int) -> None:
    """Add the series on the same node that grows most plainly, as a hint where to look."""
    graph = case.graph
    node = graph.place.node[variable]
    beside = np.flatnonzero((graph.place.node == node) & (node >= 0))
    best: tuple[float, int, float] | None = None
    for other in beside[beside != variable].tolist():
        if CATALOG[graph.metrics[int(graph.metric[other])]].unit == "s":
            continue
        slope, rise = _growth_of(case, other)
        if rise > ODD_Z and (best is None or rise > best[0]):
            best = (rise, other, slope)
    if best is not None:
        name = graph.metrics[int(graph.metric[best[1]])]
        where = say_target(graph.target(best[1]))
        candidate.add(
            Kind.FORECAST,
            f"beside it grows {name} of {where}, {_say_pace(name, best[2])}",
            _SIBLING,
        )
