"""Prometheus' matrix form to arrays, and the expressions of a metric to one window."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from agent.collect.align import Grid, align, sift
from agent.collect.labels import target_of
from agent.collect.prometheus_settings import Failed
from core.ports import Problem
from core.target import Target
from core.types import Floats, Ints, Window

# A word of PromQL with its selector, range and opening bracket, or a list of label names.
_WORD = re.compile(
    r"\b(?:without|by|on|ignoring)\s*\([^)]*\)"
    r"|(?P<selector>(?<![\w.:])(?P<name>[A-Za-z_:][\w:]*)(?:\{[^}]*\})?)(?P<used>\s*[\[(])?"
)
_NO_NAMES = frozenset({"and", "avg", "bool", "count", "max", "min", "or", "sum", "unless"})


def _none() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Which target each series of an expression's last answer was, so as not to work it out again.

    marks: a hash of each series' labels; kept: (n,) places of those that name a target first
    """

    marks: list[int] = field(default_factory=list)
    targets: tuple[Target, ...] = ()
    kept: Ints = field(default_factory=_none)
    unplaced: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Readings of some targets, each once; place (N,) is a reading's place in ``known.targets``.

    doubled: series left out because one before them has the same target
    """

    known: Series
    place: Ints
    time_s: Floats
    value: Floats
    doubled: int


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What one expression gave, in parts by time."""

    expression: str
    parts: tuple[Matrix, ...]
    warnings: tuple[str, ...]


def names_in(expression: str) -> frozenset[str]:
    """Return the metric names an expression needs.

    >>> sorted(names_in('1 - avg without (cpu) (rate(a{mode="idle"}[2m])) / b'))
    ['a', 'b']
    """
    words = [word for word in _WORD.finditer(expression) if (word["used"] or "").strip() != "("]
    return frozenset(word["name"] for word in words if word["name"]) - _NO_NAMES


def only_fresh(expression: str, within_s: float) -> str:
    """Return the expression with no value older than that, at whole seconds.

    Prometheus carries a value on for five minutes where no scrape fails, and the parameter that
    shortens this is not known to all that speak its API; what every one knows is a range. ``and``
    rather than the range alone, for the markers of a failed scrape end a series at once.

    >>> only_fresh('a{b="c"} / rate(d[2m])', 90)
    '(a{b="c"} and last_over_time(a{b="c"}[90s])) / rate(d[2m])'
    """

    def fresh(word: re.Match[str]) -> str:
        if word["selector"] is None or word["used"] or word["name"] in _NO_NAMES:
            return word[0]
        selector = word["selector"]
        return f"({selector} and last_over_time({selector}[{within_s:.0f}s]))"

    return _WORD.sub(fresh, expression)


def parse_matrix(
    result: Any, metric: str, extra: Mapping[str, str], *, known: Series | None = None
) -> Matrix:
    """Read ``data.result`` of a range query; Failed("shape") where it is something else.

    ``known`` is the last answer's: as long as an expression gives the same series, a series costs
    one hash, and a reading what a step of Python costs; all else is arrays.
    """
    known = known or Series()
    try:
        marks = [hash(tuple(series["metric"].items())) for series in result]
        if marks != known.marks:
            known = _placed(result, metric, extra, known, marks)
        pairs = [result[place]["values"] for place in known.kept]
        counts = [len(given) for given in pairs]
        flat = list(chain.from_iterable(pairs))
        time_s = np.fromiter((float(pair[0]) for pair in flat), np.float64, len(flat))
        value = np.fromiter((float(pair[1]) for pair in flat), np.float64, len(flat))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        found = str(result)[:200]
        raise Failed(
            "shape",
            f"its answer is no matrix of readings ({error!r}): {found!r}. Is it Prometheus?",
        ) from error
    place = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Matrix(known, place, time_s, value, len(marks) - len(counts) - known.unplaced)


def _placed(
    result: Any, metric: str, extra: Mapping[str, str], known: Series, marks: list[int]
) -> Series:
    """Work out which series is which target; of two with the same target the first stands."""
    found = [target_of(series["metric"], metric, extra=extra) for series in result]
    first: dict[Target, int] = {}
    for place, target in enumerate(found):
        if target is not None:
            first.setdefault(target, place)
    targets = tuple(first)
    if targets == known.targets:
        targets = known.targets  # the same tuple, by which the history knows the rows
    return Series(marks, targets, np.array(list(first.values()), np.int64), found.count(None))


def window_of(
    metric: str, grid: Grid, replies: Sequence[Reply], *, source: str
) -> tuple[Window | None, tuple[Problem, ...]]:
    """Lay the replies on the grid: each target has the first expression that gave it a reading.

    The window is cut to the columns between the first reading and the last; None for no reading.
    """
    targets: tuple[Target, ...] = ()
    value = np.zeros((0, grid.count))
    problems: list[Problem] = []
    for reply in replies:
        names, given, found = _on_grid(metric, grid, reply, source)
        problems += found
        there = ~np.isnan(given).all(axis=1)
        if targets:
            before = set(targets)
            there &= np.array([name not in before for name in names], bool)
        if not there.all():
            names, given = tuple(names[place] for place in np.flatnonzero(there)), given[there]
        targets = targets + names if targets else names
        value = np.concatenate([value, given]) if len(value) else given
    if not targets:
        return None, tuple(problems)
    columns = np.flatnonzero(~np.isnan(value).all(axis=0))
    kept = slice(columns[0], columns[-1] + 1)
    return Window(metric, targets, grid.time_s[kept], value[:, kept]), tuple(problems)


def _joined(parts: Sequence[Matrix]) -> tuple[tuple[Target, ...], list[Ints]]:
    """Return the targets of all parts, and the place among them of each part's readings."""
    names = parts[0].known.targets
    if all(part.known.targets is names for part in parts):
        return names, [part.place for part in parts]
    every = dict.fromkeys(name for part in parts for name in part.known.targets)
    rows = {name: row for row, name in enumerate(every)}
    of = [np.array([rows[name] for name in part.known.targets], np.int64) for part in parts]
    return tuple(rows), [row[part.place] for row, part in zip(of, parts, strict=True)]


def _on_grid(
    metric: str, grid: Grid, reply: Reply, source: str
) -> tuple[tuple[Target, ...], Floats, list[Problem]]:
    """Return the reply's targets, their (S, T) readings, and what was wrong with some."""
    names, series = _joined(reply.parts)
    sifted = sift(metric, np.concatenate([part.value for part in reply.parts]))
    time_s = np.concatenate([part.time_s for part in reply.parts])
    value = align(grid, np.concatenate(series), time_s, sifted.value, rows=len(names))
    about = f"{metric} ({reply.expression})"
    problems = []
    if sifted.not_finite:
        text = f"{about}: {sifted.not_finite} readings are NaN or infinite and count as missing."
        problems.append(Problem(source, "not_finite", text))
    if sifted.implausible:
        text = (
            f"{about}: {sifted.implausible} readings cannot be, such as {sifted.example:g}, and "
            "count as missing. Look at what exports them."
        )
        problems.append(Problem(source, "implausible", text))
    for count, code, why in (
        (
            max(part.known.unplaced for part in reply.parts),
            "unplaced",
            "have labels that name no target",
        ),
        (max(part.doubled for part in reply.parts), "doubled", "name a target a second time"),
    ):
        if count:
            text = f"{about}: {count} series {why} and are left out. See prometheus.extra_labels."
            problems.append(Problem(source, code, text))
    return names, value, problems
