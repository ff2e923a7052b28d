"""A networkx graph over components as links between indices, refused where it cannot be causal."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from core.errors import InputError
from core.types import Ints
from rca.frames.cells import text

if TYPE_CHECKING:
    import networkx as nx

SHOWN = 3


def links_of(
    graph: "nx.DiGraph | None", measured: Sequence[str]
) -> tuple[tuple[str, ...], Ints, tuple[str, ...]]:
    """Return the C components, (L, 2) links of cause and effect as indices of them, and notes.

    measured: components that have columns; the graph's other nodes come after them
    InputError for a graph without directions, with a cycle, or that shares no component.
    """
    none = np.zeros((0, 2), np.int64)
    if graph is None:
        return tuple(measured), none, ()
    nodes, edges = _read(graph)
    if not nodes:
        return tuple(measured), none, ("graph: it is empty and counts as not given",)
    _check_shared(nodes, measured)
    own = sorted({cause for cause, effect in edges if cause == effect})
    edges = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
    if cycle := _cycle(edges):
        raise InputError(
            f"Reading the graph: it has a cycle, {' -> '.join((*cycle, cycle[0]))}. Links lead "
            "from cause to effect, and nothing is its own cause: take one of these links out, or "
            "make one node of their components."
        )
    components = tuple(dict.fromkeys((*measured, *nodes)))
    place = {component: at for at, component in enumerate(components)}
    pairs = [(place[cause], place[effect]) for cause, effect in edges]
    links = np.array(pairs, np.int64).reshape(-1, 2)
    return components, links, tuple(_notes(own, nodes, measured))


def _read(graph: "nx.DiGraph") -> tuple[list[str], list[tuple[str, str]]]:
    """Return a graph's nodes and edges by name."""
    import networkx as nx  # noqa: PLC0415  # heavy, and already there: the caller has a graph

    if not isinstance(graph, nx.Graph):
        raise InputError(
            f"Reading the graph: found {type(graph).__name__}. It must be a networkx.DiGraph over "
            "components with edges from cause to effect, or None."
        )
    if not graph.is_directed():
        raise InputError(
            f"Reading the graph: {type(graph).__name__} has edges without a direction. It must be "
            "a networkx.DiGraph with edges from cause to effect, or None."
        )
    nodes = list(dict.fromkeys(text(node) for node in graph.nodes))
    return nodes, [(text(edge[0]), text(edge[1])) for edge in graph.edges]


def _check_shared(nodes: Sequence[str], measured: Sequence[str]) -> None:
    if set(nodes) & set(measured):
        return
    near = [
        (node, close[0]) for node in nodes[:SHOWN] if (close := get_close_matches(node, measured))
    ]
    meant = f" {near[0][0]!r} may be {near[0][1]!r}." if near else ""
    raise InputError(
        f"Reading the graph: none of its {len(nodes)} nodes ({shown(nodes)}) is a component of "
        f"the columns ({shown(measured)}).{meant} Name nodes as columns are before their first |, "
        "or give None."
    )


def _cycle(edges: Iterable[tuple[str, str]]) -> list[str]:
    """Return the members of one cycle, each followed by what it causes; empty where none is."""
    causes: dict[str, list[str]] = {}
    effects: dict[str, list[str]] = {}
    for cause, effect in edges:
        causes.setdefault(effect, []).append(cause)
        effects.setdefault(cause, []).append(effect)
    waiting = {node: len(found) for node, found in causes.items()}
    free = [node for node in effects if node not in waiting]
    while free:
        for effect in effects.get(free.pop(), ()):
            waiting[effect] -= 1
            if not waiting[effect]:
                del waiting[effect]
                free.append(effect)
    if not waiting:
        return []
    # Each node that still waits has a cause that waits: walking back must come round.
    walked: dict[str, int] = {}
    node = next(iter(waiting))
    while node not in walked:
        walked[node] = len(walked)
        node = next(cause for cause in causes[node] if cause in waiting)
    return list(walked)[walked[node] :][::-1]


def _notes(own: Sequence[str], nodes: Sequence[str], measured: Sequence[str]) -> Iterable[str]:
    if own:
        yield f"graph: nodes with a link to themselves, which is left out: {shown(own)}"
    seen = set(measured)
    blind = [node for node in nodes if node not in seen]
    if blind:
        yield f"graph: nodes without a column ({len(blind)}): {shown(blind)}"
    known = set(nodes)
    loose = [component for component in measured if component not in known]
    if loose:
        yield f"graph: components of columns that are no nodes ({len(loose)}): {shown(loose)}"


def shown(names: Sequence[str]) -> str:
    """Name the first few of many."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
