"""Answer an expression at points of time, straight from what the exporters would have shown.

A sample is that of an exporter's tick. As in Prometheus, a selector gives a series' sample at or
before the time; one that was not there at the last scrape is gone at once, as a stale marker makes
it; and ``rate`` counts a decrease as a reset and extrapolates to its range's ends.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from agent.lab.promql import (
    COMPARISONS,
    Aggregate,
    BadExpression,
    Binary,
    Call,
    Expression,
    Matcher,
    Number,
    Selector,
)
from core.types import Floats, Ints
from sim.exporter import Exporters, Labels, Raw

_NAME = "__name__"
# Of the mean distance of samples: a series is taken to go on for so much beyond its first or last.
_BEYOND = 1.1
_NEARLY = 1e-6
_SIGNS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
}
_AGGREGATES: Mapping[str, Callable[[Floats], Floats]] = {
    "sum": lambda value: np.nansum(value, axis=0),
    "avg": lambda value: np.nansum(value, axis=0) / np.sum(~np.isnan(value), axis=0),
    "min": lambda value: np.nanmin(value, axis=0),
    "max": lambda value: np.nanmax(value, axis=0),
    "count": lambda value: np.sum(~np.isnan(value), axis=0).astype(np.float64),
}


@dataclass(slots=True)
class Evaluation:
    """One query: the times it is asked for, (T,), and the samples it has looked at."""

    exporters: Exporters
    time_s: Floats
    _seen: dict[Selector, tuple[Ints, Raw]] = field(default_factory=dict)

    def result(self, expression: Expression) -> Raw:
        """Return the (S, T) result; a number is one series without labels."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self._value(expression)
        if isinstance(found, Raw):
            return found
        return Raw(({},), np.full((1, len(self.time_s)), found))

    def _value(self, expression: Expression) -> Raw | float:
        match expression:
            case Number(value):
                return value
            case Selector(range_s=0.0):
                found = self._samples(expression)
                return Raw(found.raw.labels, found.raw.value[:, found.high])
            case Selector():
                raise BadExpression(
                    'invalid expression type "range vector" for range query, must be Scalar or '
                    "instant Vector"
                )
            case Call("rate", over):
                return self._rate(over)
            case Call(_, over):
                return self._last(over)
            case Aggregate():
                return self._aggregate(expression)
            case Binary():
                return self._binary(expression)

    def _samples(self, selector: Selector) -> "_Samples":
        """Return the samples that a selector takes in at the times, each once."""
        every_s = self.exporters.every_s
        last = np.floor(self.time_s / every_s + _NEARLY).astype(np.int64)
        first = np.ceil((self.time_s - selector.range_s) / every_s - _NEARLY).astype(np.int64)
        first = np.minimum(first, last)
        longest = int((last - first).max(initial=0))
        wanted = np.unique(np.concatenate([last - back for back in range(longest + 1)]))
        key = replace(selector, range_s=0.0)
        known = self._seen.get(key)
        if known is None or not np.isin(wanted, known[0]).all():
            raw = self.exporters.raw(selector.name, wanted)
            known = self._seen[key] = (wanted, _of(raw, selector.matchers))
        ticks, raw = known
        return _Samples(ticks, raw, np.searchsorted(ticks, first), np.searchsorted(ticks, last))

    def _last(self, over: Selector) -> Raw:
        found = self._samples(over)
        last = _latest(found.raw.value)[:, found.high]
        value = np.take_along_axis(found.raw.value, np.maximum(last, 0), axis=1)
        return Raw(found.raw.labels, np.where(last >= found.low, value, np.nan))

    def _rate(self, over: Selector) -> Raw:
        """Return the increase a second, extrapolated as ``extrapolatedRate`` in Prometheus does.

        Source: prometheus/promql/functions.go, version 2: the range has both its ends.
        """
        found, every_s = self._samples(over), self.exporters.every_s
        value, ends = found.raw.value, found.raw.value.shape[1] - 1
        last = np.maximum(_latest(value)[:, found.high], 0)
        first = np.minimum(ends - _latest(value[:, ::-1])[:, ends - found.low], ends)
        enough = (last > first) & (first >= found.low) & (last <= found.high)
        at_first = np.take_along_axis(value, first, axis=1)
        grown = np.take_along_axis(_with_no_reset(value), last, axis=1)
        grown -= np.take_along_axis(_with_no_reset(value), first, axis=1)
        counts = np.cumsum(~np.isnan(value), axis=1)
        count = np.take_along_axis(counts, last, axis=1)
        count -= np.take_along_axis(counts, first, axis=1)
        sampled_s = (found.ticks[last] - found.ticks[first]) * every_s
        mean_s = sampled_s / count
        start_s = found.ticks[first] * every_s - (self.time_s - over.range_s)
        end_s = self.time_s - found.ticks[last] * every_s
        to_zero_s = np.where(grown > 0, sampled_s * at_first / grown, np.inf)
        start_s = np.minimum(start_s, to_zero_s)
        reach_s = sampled_s + np.where(start_s < _BEYOND * mean_s, start_s, mean_s / 2)
        reach_s += np.where(end_s < _BEYOND * mean_s, end_s, mean_s / 2)
        rate = grown * reach_s / sampled_s / over.range_s
        return Raw(_nameless(found.raw.labels), np.where(enough, rate, np.nan))

    def _aggregate(self, wanted: Aggregate) -> Raw:
        given = self._vector(wanted.of)
        groups: dict[Hashable, list[int]] = {}
        kept = [_kept(labels, wanted) for labels in given.labels]
        for row, labels in enumerate(kept):
            groups.setdefault(_mark(labels), []).append(row)
        value = np.full((len(groups), len(self.time_s)), np.nan)
        for place, rows in enumerate(groups.values()):
            there = ~np.isnan(given.value[rows]).all(axis=0)
            value[place, there] = _AGGREGATES[wanted.kind](given.value[rows][:, there])
        return Raw(tuple(kept[rows[0]] for rows in groups.values()), value)

    def _binary(self, wanted: Binary) -> Raw | float:
        right, left = self._value(wanted.right), self._value(wanted.left)  # the longer range first
        if wanted.sign == "and":
            return _both(left, right)
        if isinstance(left, Raw) and isinstance(right, Raw):
            left, right = _matched(left, right)
        labels = left.labels if isinstance(left, Raw) else getattr(right, "labels", ())
        values = [np.asarray(getattr(side, "value", side)) for side in (left, right)]
        found = np.asarray(_SIGNS[wanted.sign](values[0], values[1]), dtype=np.float64)
        if wanted.sign in COMPARISONS:
            missing = np.isnan(values[0]) | np.isnan(values[1])
            if not wanted.as_bool:
                vector = values[0] if isinstance(left, Raw) else values[1]
                return Raw(labels, np.where((found > 0) & ~missing, vector, np.nan))
            found = np.where(missing, np.nan, found)
        if not labels and not isinstance(left, Raw) and not isinstance(right, Raw):
            return float(found)
        return Raw(_nameless(labels), found)

    def _vector(self, expression: Expression) -> Raw:
        found = self._value(expression)
        if not isinstance(found, Raw):
            raise BadExpression("expected type instant vector in aggregation, got scalar")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Samples (S, U) at ticks (U,), and of each time (T,) the places of its first and last tick."""

    ticks: Ints
    raw: Raw
    low: Ints
    high: Ints


def _of(raw: Raw, matchers: Iterable[Matcher]) -> Raw:
    """Return the series that fit all matchers."""
    rows = [
        row
        for row, labels in enumerate(raw.labels)
        if all(matcher.holds(labels.get(matcher.label, "")) for matcher in matchers)
    ]
    return raw if len(rows) == len(raw.labels) else Raw(_chosen(raw.labels, rows), raw.value[rows])


def _latest(value: Floats) -> Ints:
    """Return the place of the last sample at or before each place; -1 before the first."""
    places = np.where(np.isnan(value), -1, np.arange(value.shape[1]))
    return np.maximum.accumulate(places, axis=1)


def _with_no_reset(value: Floats) -> Floats:
    """Return a counter as it would be had it never begun anew; gaps stay gaps."""
    before = _latest(value)[:, :-1]
    there = before >= 0
    held = np.take_along_axis(value, np.maximum(before, 0), axis=1)
    fell = there & (value[:, 1:] < held)
    lost = np.zeros_like(value)
    lost[:, 1:] = np.cumsum(np.where(fell, held, 0.0), axis=1)
    return value + lost


def _chosen(labels: tuple[Labels, ...], rows: Iterable[int]) -> tuple[Labels, ...]:
    return tuple(labels[row] for row in rows)


def _nameless(labels: tuple[Labels, ...]) -> tuple[Labels, ...]:
    return tuple({name: of[name] for name in of if name != _NAME} for of in labels)


def _kept(labels: Labels, wanted: Aggregate) -> Labels:
    return {
        name: text
        for name, text in labels.items()
        if name != _NAME and (name in wanted.labels) is not wanted.without
    }


def _mark(labels: Labels) -> Hashable:
    """Return what two series must have alike to be matched."""
    return frozenset((name, text) for name, text in labels.items() if name != _NAME)


def _places(vector: Raw) -> dict[Hashable, int]:
    return {_mark(labels): row for row, labels in enumerate(vector.labels)}


def _both(left: Raw | float, right: Raw | float) -> Raw:
    """Return what of the left has the right beside it."""
    if not isinstance(left, Raw) or not isinstance(right, Raw):
        raise BadExpression('set operator "and" not allowed in binary scalar expression')
    if left.labels == right.labels:
        return Raw(left.labels, np.where(np.isnan(right.value), np.nan, left.value))
    places = _places(right)
    pairs = [(row, places.get(_mark(labels))) for row, labels in enumerate(left.labels)]
    rows = [(row, other) for row, other in pairs if other is not None]
    mine, other = [row for row, _ in rows], [place for _, place in rows]
    value = np.where(np.isnan(right.value[other]), np.nan, left.value[mine])
    return Raw(_chosen(left.labels, mine), value)


def _matched(left: Raw, right: Raw) -> tuple[Raw, Raw]:
    """Return the series that both sides have, one to one, in the left's order."""
    if len(left.labels) == len(right.labels) and all(
        _mark(one) == _mark(other) for one, other in zip(left.labels, right.labels, strict=True)
    ):
        return left, right
    places = _places(right)
    rows = [row for row, labels in enumerate(left.labels) if _mark(labels) in places]
    others = [places[_mark(left.labels[row])] for row in rows]
    labels = _chosen(left.labels, rows)
    return Raw(labels, left.value[rows]), Raw(labels, right.value[others])
