"""What the plain-data front accepts: two tables of readings, a graph, and a column in trouble."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from core.errors import InputError
from core.types import Floats, Ints
from rca.frames.cells import Readings, readings, text
from rca.frames.links import links_of, shown

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

# Quartiles, the usual measure of spread, need four readings: of fewer they are the extremes.
LEAST_NORMAL_ROWS = 4
# As get_close_matches has it: names that share three letters of five.
CLOSE = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Checked readings of V columns before and during a trouble, and what is linked to what.

    columns: V names; component: (V,) index into ``components``; metric, statistic: V texts, ""
        where the name has none
    normal: (V, N), abnormal: (V, A) in whatever unit; NaN where nothing was scraped, never
        infinite; a column that one table lacks is NaN there
    normal_s, abnormal_s: (N,), (A,) seconds since the epoch, strictly increasing
    components: C names: those of columns as they come, then the graph's other nodes
    links: (L, 2) indices of components (cause, effect), without a cycle; empty without a graph
    target: index of the column whose trouble was noticed; it has a reading in one table at least
    notes: sentences on what was mended, left out or guessed
    """

    columns: tuple[str, ...]
    component: Ints
    metric: tuple[str, ...]
    statistic: tuple[str, ...]
    normal: Floats
    abnormal: Floats
    normal_s: Floats
    abnormal_s: Floats
    components: tuple[str, ...]
    links: Ints
    has_graph: bool
    target: int
    notes: tuple[str, ...] = ()


def tables(
    normal: "pd.DataFrame", abnormal: "pd.DataFrame", graph: "nx.DiGraph | None", target: str
) -> Tables:
    """Check two data frames, a graph and a target, and return them as arrays.

    normal, abnormal: index = seconds since the epoch (or ms, us, ns by their size, or datetimes,
        UTC where they have no zone); columns ``component|metric``, ``component|metric|statistic``
        or a bare name, which is component and column in one
    graph: over components, from cause to effect; None or empty where it is not known
    target: a column

    Rows are sorted; rows of one time and columns of one name become their mean. A normal row that
    is also in ``abnormal`` is taken out: a row cannot vouch for itself. Normal rows may come after
    the abnormal ones. InputError says what else was found, and what would make it work.
    """
    read = (readings(normal, "normal"), readings(abnormal, "abnormal"))
    _check_overlap(*read)
    columns = tuple(dict.fromkeys((*read[0].columns, *read[1].columns)))
    before, after = (_on(columns, each) for each in read)
    at = _target(text(target), columns, before, after)
    apart, cut = _without_shared(before, after)
    _check_apart(apart, before, after)
    _check_readings(apart, LEAST_NORMAL_ROWS, cut=len(before.time_s) - len(apart.time_s))
    _check_readings(after, 1, cut=0)
    parts = [_parts(column) for column in columns]
    measured = tuple(dict.fromkeys(component for component, _, _ in parts))
    components, links, linked = links_of(graph, measured)
    place = {component: index for index, component in enumerate(components)}
    lacking = [note for each in read for note in _lacking(each, columns)]
    return Tables(
        columns=columns,
        component=np.array([place[component] for component, _, _ in parts], np.int64),
        metric=tuple(metric for _, metric, _ in parts),
        statistic=tuple(statistic for _, _, statistic in parts),
        normal=apart.value,
        abnormal=after.value,
        normal_s=apart.time_s,
        abnormal_s=after.time_s,
        components=components,
        links=links,
        has_graph=graph is not None and len(graph) > 0,
        target=at,
        notes=(*before.notes, *after.notes, *lacking, *cut, *linked),
    )


def _check_overlap(normal: Readings, abnormal: Readings) -> None:
    if not set(normal.columns) & set(abnormal.columns):
        raise InputError(
            f"Comparing normal and abnormal: none of the {len(normal.columns)} columns of normal "
            f"({shown(normal.columns)}) is among the {len(abnormal.columns)} of abnormal "
            f"({shown(abnormal.columns)}). Both must name their columns alike."
        )


def _on(columns: Sequence[str], table: Readings) -> Readings:
    """Return a table with the columns of both."""
    return replace(table, columns=tuple(columns), value=table.rows_of(columns))


def _lacking(table: Readings, columns: Sequence[str]) -> Iterator[str]:
    there = set(table.columns)
    if lacking := [column for column in columns if column not in there]:
        yield (
            f"{table.name}: columns that only the other table has, which count as not scraped "
            f"({len(lacking)}): {shown(lacking)}"
        )


def _target(name: str, columns: Sequence[str], normal: Readings, abnormal: Readings) -> int:
    """Return the index of the target; InputError names the nearest columns, or says it is empty."""
    if name not in columns:
        own = [column for column in columns if _parts(column)[0] == name]
        near = own or get_close_matches(name, columns, cutoff=CLOSE)
        hint = f"the nearest are {shown(near)}" if near else f"there are {shown(columns)}"
        raise InputError(
            f"Looking for the target: no column is called {name!r}; {hint}. Name the column whose "
            "trouble was noticed."
        )
    at = columns.index(name)
    if np.isnan(normal.value[at]).all() and np.isnan(abnormal.value[at]).all():
        raise InputError(
            f"Reading the target: {name!r} has no reading in either table. Name a column that was "
            "scraped."
        )
    return at


def _without_shared(normal: Readings, abnormal: Readings) -> tuple[Readings, tuple[str, ...]]:
    """Return normal without the rows that abnormal holds too, and what is to say of them."""
    _, mine, others = np.intersect1d(normal.time_s, abnormal.time_s, return_indices=True)
    if not mine.size:
        return normal, ()
    ours, theirs = normal.value[:, mine], abnormal.value[:, others]
    same = ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=0)
    notes = []
    if same.any():
        notes.append(f"normal: rows that abnormal has too, which are left out: {int(same.sum())}")
    if not same.all():
        notes.append(
            f"times that both tables have, with other readings, which all count: {(~same).sum()}"
        )
    kept = np.ones(len(normal.time_s), np.bool_)
    kept[mine[same]] = False
    left = replace(normal, value=normal.value[:, kept], time_s=normal.time_s[kept])
    return left, tuple(notes)


def _check_apart(apart: Readings, normal: Readings, abnormal: Readings) -> None:
    """Refuse tables of which normal has no row of its own."""
    if len(apart.time_s) == 0:
        equal = len(normal.time_s) == len(abnormal.time_s)
        same = (
            "both tables hold the same rows"
            if equal
            else f"abnormal holds all {len(normal.time_s)} rows of normal too"
        )
        raise InputError(
            f"Comparing normal and abnormal: {same}. Give as normal what was read while nothing "
            f"was wrong, at least {LEAST_NORMAL_ROWS} rows."
        )


def _check_readings(table: Readings, least: int, *, cut: int) -> None:
    read = int((~np.isnan(table.value)).any(axis=0).sum())
    if read < least:
        shared = f" (without {cut} that the other table has too)" if cut else ""
        raise InputError(
            f"Reading {table.name}: {read} of its {len(table.time_s)} rows{shared} hold a reading. "
            f"It needs at least {least}: give it a longer time."
        )


def _parts(column: str) -> tuple[str, str, str]:
    """Return component, metric and statistic of a column; of a bare name it is all component."""
    component, _, rest = column.partition("|")
    metric, _, statistic = rest.partition("|")
    return (component, metric, statistic) if component else (column, "", "")
