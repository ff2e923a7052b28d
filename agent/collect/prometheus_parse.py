"""Prometheus' matrix form to arrays, and the expressions of a metric to one window."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_NO_NAMES = frozenset(
    [
        "and",
        "avg",
        "bool",
        "bottomk",
        "count",
        "group",
        "max",
        "min",
        "or",
        "quantile",
        "stddev",
        "stdvar",
        "sum",
        "topk",
        "unless",
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Readings of some targets, each once; series (N,) is the place in ``targets``.

    unplaced, doubled: series left out for labels that name no target, or one named before
    """

    targets: tuple[Target, ...]
    series: Ints
    time_s: Floats
    value: Floats
    unplaced: int
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


def parse_matrix(result: Any, metric: str, extra: Mapping[str, str]) -> Matrix:
    """Read ``data.result`` of a range query; Failed("shape") where it is something else.

    Costs one Python step a series and two a reading, which is JSON's price; all else is arrays.
    """
    targets: dict[Target, int] = {}
    counts: list[int] = []
    times: list[Any] = []
    values: list[Any] = []
    unplaced = doubled = 0
    try:
        for series in result:
            target = target_of(series["metric"], metric, extra=extra)
            if target is None or target in targets:
                unplaced += target is None
                doubled += target is not None
                continue
            pairs = series["values"]
            targets[target] = len(targets)
            counts.append(len(pairs))
            times += [pair[0] for pair in pairs]
            values += [pair[1] for pair in pairs]
        time_s = np.fromiter(map(float, times), np.float64, len(times))
        value = np.fromiter(map(float, values), np.float64, len(values))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        found = str(result)[:200]
        raise Failed(
            "shape",
            f"its answer is no matrix of readings ({error!r}): {found!r}. Is it Prometheus?",
        ) from error
    series_of = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Matrix(tuple(targets), series_of, time_s, value, unplaced, doubled)


def window_of(
    metric: str, grid: Grid, replies: Sequence[Reply], *, source: str
) -> tuple[Window | None, tuple[Problem, ...]]:
    """Lay the replies on the grid: each target has the first expression that gave it a reading.

    The window is cut to the columns between the first reading and the last; None for no reading.
    """
    targets: dict[Target, int] = {}
    rows: list[Floats] = []
    problems: list[Problem] = []
    for reply in replies:
        names, value, found = _on_grid(metric, grid, reply, source)
        problems += found
        new = np.array([name not in targets for name in names], bool)
        new &= ~np.isnan(value).all(axis=1)
        for place in np.flatnonzero(new):
            targets[names[place]] = len(targets)
        rows.append(value[new])
    if not targets:
        return None, tuple(problems)
    value = np.concatenate(rows)
    columns = np.flatnonzero(~np.isnan(value).all(axis=0))
    kept = slice(columns[0], columns[-1] + 1)
    return Window(metric, tuple(targets), grid.time_s[kept], value[:, kept]), tuple(problems)


def _on_grid(
    metric: str, grid: Grid, reply: Reply, source: str
) -> tuple[list[Target], Floats, list[Problem]]:
    """Return the reply's targets, their (S, T) readings, and what was wrong with some."""
    rows: dict[Target, int] = {}
    for part in reply.parts:
        for target in part.targets:
            rows.setdefault(target, len(rows))
    series = [
        np.array([rows[target] for target in part.targets], np.int64)[part.series]
        for part in reply.parts
    ]
    sifted = sift(metric, np.concatenate([part.value for part in reply.parts]))
    time_s = np.concatenate([part.time_s for part in reply.parts])
    value = align(grid, np.concatenate(series), time_s, sifted.value, rows=len(rows))
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
        (max(part.unplaced for part in reply.parts), "unplaced", "have labels that name no target"),
        (max(part.doubled for part in reply.parts), "doubled", "name a target a second time"),
    ):
        if count:
            text = f"{about}: {count} series {why} and are left out. See prometheus.extra_labels."
            problems.append(Problem(source, code, text))
    return list(rows), value, problems
