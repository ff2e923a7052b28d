"""A moment's readings of one machine, and the text a Prometheus scrapes them as."""

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import is_
from typing import Protocol

import numpy as np

from agent.collect.labels import own_labels
from core.clock import Clock
from core.details import METRICS
from core.exporters import OWN_PREFIX
from core.ports import Collected, Problem, Query
from core.target import Target
from core.types import Window

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one metric on one target, in the metric's base unit.

    labels: what tells readings of one metric on one target apart, such as a link's number
    """

    metric: str
    target: Target
    value: float
    labels: Labels = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A reading that could not be had, and why; ``*`` in the metric: all that begin so."""

    metric: str
    target: Target
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What could be read at one moment, and what could not.

    missing: single readings, which no one need act on; a problem somebody should
    """

    readings: tuple[Reading, ...]
    problems: tuple[Problem, ...] = ()
    missing: tuple[Missing, ...] = ()


class Reader(Protocol):
    """Something that can be read now; a part that cannot is a Problem, nothing is raised."""

    @property
    def name(self) -> str:
        """Return the name in messages."""
        ...

    def snapshot(self) -> Snapshot:
        """Read everything once; blocks for as long as the slowest part's deadline."""
        ...


def windows_of(readings: Iterable[Reading], query: Query, *, now_s: float) -> tuple[Window, ...]:
    """Return the readings as windows of one column, at the query's last grid point.

    A snapshot is of now: for a query that ended more than a step ago there is none.
    """
    time_s = math.floor(query.end_s / query.step_s + 1e-9) * query.step_s
    if time_s < query.start_s or query.end_s < now_s - query.step_s:
        return ()
    by_metric: dict[str, dict[Target, float]] = {}
    for reading in readings:
        if reading.metric in query.metrics:
            by_metric.setdefault(reading.metric, {})[reading.target] = reading.value
    column = np.array([time_s])
    return tuple(
        Window(metric, tuple(values), column, np.array(list(values.values()))[:, None])
        for metric, values in by_metric.items()
    )


class ReaderSource:
    """A reader of this machine as a MetricSource: each read is of now, in a thread of its own."""

    def __init__(self, reader: Reader, *, clock: Clock) -> None:
        self.name = reader.name
        self._reader, self._clock = reader, clock

    async def read(self, query: Query) -> Collected:
        """Return now's readings at the query's last grid point."""
        given = await asyncio.to_thread(self._reader.snapshot)
        windows = windows_of(given.readings, query, now_s=self._clock.now_s())
        return Collected(windows, given.problems)


class Exposition:
    """Prometheus' text format, each metric under ``gpumedic_`` and its catalogue name.

    The lines of a metric whose readings are those of the text before, the same objects, are kept.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[Reading], str]] = {}

    def text(self, readings: Iterable[Reading]) -> str:
        """Return the text."""
        by_metric: dict[str, list[Reading]] = {}
        for reading in readings:
            by_metric.setdefault(reading.metric, []).append(reading)
        self._kept = {
            metric: (given, self._family(metric, given))
            for metric, given in sorted(by_metric.items())
        }
        return "".join(text for _, text in self._kept.values())

    def _family(self, metric: str, given: list[Reading]) -> str:
        before, text = self._kept.get(metric, ((), ""))
        if len(before) == len(given) and all(map(is_, before, given)):
            return text
        return "\n".join(_lines(metric, given)) + "\n"


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Return one line of the text format, without its end."""
    return f"{name}{{{_inside(labels.items())}}} {_number(value)}"


def _lines(metric: str, readings: Iterable[Reading]) -> Iterator[str]:
    name = OWN_PREFIX + metric
    known = METRICS.get(metric)
    if known is not None:
        yield f"# HELP {name} {known.text}"
    yield f"# TYPE {name} {'counter' if metric.endswith('_total') else 'gauge'}"
    for reading in readings:
        inside = _of_target(reading.target)
        if reading.labels:
            more = _inside(reading.labels)
            inside = f"{inside},{more}" if inside else more
        yield f"{name}{{{inside}}} {_number(reading.value)}"


@lru_cache(maxsize=4096)  # a page has hundreds of readings of each target
def _of_target(target: Target) -> str:
    return _inside(own_labels(target).items())


def _inside(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
