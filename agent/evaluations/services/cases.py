"""One fault injected into one service topology, as plain arrays with names and the right answer."""

from dataclasses import dataclass, replace

import numpy as np

from core.types import Floats
from rca.frames.inputs import Tables


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Readings before and after a fault, and the components that were hit.

    columns: V names ``component|metric`` or ``component|metric|statistic``
    normal, abnormal: (N, V), (A, V); NaN where nothing was scraped
    normal_s, abnormal_s: (N,), (A,) unix seconds, increasing
    links: (cause, effect) over components; None where no graph is known
    truth: components that were hit; empty where there was no fault
    """

    columns: tuple[str, ...]
    normal: Floats
    abnormal: Floats
    normal_s: Floats
    abnormal_s: Floats
    links: tuple[tuple[str, str], ...] | None
    target: str
    truth: tuple[str, ...]
    fault: str


def disguised(case: Case, rng: np.random.Generator) -> Case:
    """Rename the components and shuffle columns and links, so that no name or order helps."""
    names = _components(case)
    new = (f"part-{k:03d}" for k in rng.permutation(len(names)))
    other = dict(zip(names, new, strict=True))
    order = rng.permutation(len(case.columns))
    links = case.links
    if links is not None:
        shuffled = (links[k] for k in rng.permutation(len(links)))
        links = tuple((other[a], other[b]) for a, b in shuffled)
    return replace(
        case,
        columns=tuple(_renamed(case.columns[k], other) for k in order),
        normal=case.normal[:, order],
        abnormal=case.abnormal[:, order],
        links=links,
        target=_renamed(case.target, other),
        truth=tuple(other[name] for name in case.truth),
    )


def as_tables(case: Case) -> Tables:
    """Return a case as the front hands it on once it is checked."""
    names = _components(case)
    place = {name: k for k, name in enumerate(names)}
    parts = [(*column.split("|"), "", "")[:3] for column in case.columns]
    links = [(place[a], place[b]) for a, b in case.links or ()]
    return Tables(
        columns=case.columns,
        component=np.array([place[part[0]] for part in parts], np.int64),
        metric=tuple(part[1] for part in parts),
        statistic=tuple(part[2] for part in parts),
        normal=np.ascontiguousarray(case.normal.T),
        abnormal=np.ascontiguousarray(case.abnormal.T),
        normal_s=case.normal_s,
        abnormal_s=case.abnormal_s,
        components=names,
        links=np.array(links, np.int64).reshape(-1, 2),
        has_graph=case.links is not None,
        target=case.columns.index(case.target),
    )


def _components(case: Case) -> tuple[str, ...]:
    measured = (column.split("|")[0] for column in case.columns)
    linked = (end for link in case.links or () for end in link)
    return tuple(dict.fromkeys((*measured, *linked)))


def _renamed(column: str, other: dict[str, str]) -> str:
    component, rest = column.split("|", 1)
    return f"{other[component]}|{rest}"
