"""A reading beyond its limit, until it is clearly back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from core.topology import Topology
from core.types import Anomaly, Floats, Ints, Severity, Window
from core.units import CATALOG, Bad, Metric
from detectors.detector import Symptoms
from detectors.words import amount, duration

DETECTOR = "static"
# Halfway from the limit to the end of what is plausible.
CRITICAL_SCORE = 0.75
NOWHERE = -1


@dataclass(frozen=True, slots=True)
class StaticLimits:
    """Says each series that is beyond its limit now and has been for ``hold_s``.

    limits:        metric -> limit, over the catalogue's; NaN switches one off
    release_ratio: a series is back when it is this share of the limit inside of it (hysteresis)
    fresh_s:       a series with nothing newer says nothing about now
    """

    limits: Mapping[str, float]
    hold_s: float = 30.0
    release_ratio: float = 0.02
    fresh_s: float = 120.0

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each lasting excess."""
        every = (self._excesses(window, now_s) for window in windows.values())
        return Symptoms(anomalies=tuple(chain.from_iterable(every)))

    def _excesses(self, window: Window, now_s: float) -> Iterator[Anomaly]:
        metric = CATALOG[window.metric]
        limit = self.limits.get(window.metric, metric.limit)
        if np.isnan(limit) or metric.bad is Bad.NEITHER or not window.value.size:
            return
        ratio = self.release_ratio
        start, end = beyond(window.value, limit, bad=metric.bad, release_ratio=ratio)
        time_s = window.time_s
        lasting = (start != NOWHERE) & (time_s[end] - time_s[start] >= self.hold_s)
        for row in np.flatnonzero(lasting & (now_s - time_s[end] <= self.fresh_s)):
            yield _anomaly(window, int(row), (int(start[row]), int(end[row])), limit)


def beyond(value: Floats, limit: float, *, bad: Bad, release_ratio: float) -> tuple[Ints, Ints]:
    """Return (S,) columns where a present excess began, -1 for none, and of the newest reading.

    An excess begins at the limit and ends only inside of the release level, so that a reading that
    trembles around the limit is one excess.
    """
    sign = -1.0 if bad is Bad.LOW else 1.0
    known = np.isfinite(value)
    newest = value.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    start = np.full(len(value), NOWHERE)
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero((sign * value >= sign * limit).any(axis=1))
        part = sign * value[rows]
        over = part >= sign * limit
        inside = part < sign * limit - release_ratio * abs(limit)
    column = np.arange(value.shape[1])
    released = np.max(np.where(inside, column, NOWHERE), axis=1, initial=NOWHERE)
    over &= column > released[:, None]
    start[rows] = np.where(over.any(axis=1), np.argmax(over, axis=1), NOWHERE)
    return start, newest


def _anomaly(window: Window, row: int, span: tuple[int, int], limit: float) -> Anomaly:
    metric, target = CATALOG[window.metric], window.targets[row]
    value = float(window.value[row, span[1]])
    start_s, end_s = (float(window.time_s[column]) for column in span)
    score = _score(value, limit, metric)
    low = metric.bad is Bad.LOW
    return Anomaly(
        target=target,
        metric=window.metric,
        start_s=start_s,
        end_s=end_s,
        value=value,
        lower=limit if low else metric.low,
        upper=metric.high if low else limit,
        score=score,
        detector=DETECTOR,
        severity=Severity.CRITICAL if score >= CRITICAL_SCORE else Severity.WARNING,
        text=f"{metric.text} of {target} is {amount(value, window.metric)}, limit "
        f"{amount(limit, window.metric)}, for {duration(end_s - start_s)}",
    )


def _score(value: float, limit: float, metric: Metric) -> float:
    """Return 0.5 at the limit, rising to 1 at the end of what is plausible (or twice the limit)."""
    end = metric.low if metric.bad is Bad.LOW else metric.high
    room = abs(end - limit) if np.isfinite(end) else abs(limit)
    excess = max(0.0, (limit - value) if metric.bad is Bad.LOW else (value - limit))
    return float(0.5 + 0.5 * min(1.0, excess / room)) if room else 1.0
