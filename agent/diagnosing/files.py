"""The files of ``gpumedic diagnose``: a table as a data frame, a JSON graph as a networkx graph."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.collect.table import read_table
from core.errors import InputError

if TYPE_CHECKING:
    import networkx as nx

FORMS = '{"nodes": ["disk", "api"], "edges": [["disk", "api"]]}, or networkx node-link'

_KINDS = {
    type(None): "null",
    bool: "a truth value",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def frame_of(
    path: Path, *, columns: str | None = None, time_column: str | None = None
) -> tuple[Any, tuple[str, ...]]:
    """Return a CSV or Parquet file as a pandas data frame of seconds, and what is to say of it."""
    import pyarrow as pa  # noqa: PLC0415  # heavy

    table = read_table(path, columns=columns, time_column=time_column, exact=True)
    arrays = [pa.array(row) for row in table.value]
    frame = pa.table(arrays, names=list(table.names)).to_pandas()
    frame.index = table.time_s
    return frame, tuple(f"{path}: {note}" for note in table.notes)


def graph_of(path: Path) -> "nx.DiGraph":
    """Read a graph over components from JSON; InputError names the place that is no graph.

    Either ``nodes`` (which may be left out) and ``edges`` as pairs of cause and effect, or what
    ``networkx.node_link_data`` writes.
    """
    import networkx as nx  # noqa: PLC0415  # heavy

    try:
        said = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"reading {path}: {error.strerror}. Name a JSON file with a graph."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"reading {path}: it is not JSON ({error}). It needs {FORMS}.") from error
    if not isinstance(said, dict) or not ("edges" in said or "links" in said):
        found = f"the keys {', '.join(said) or 'none'}" if isinstance(said, dict) else _kind(said)
        raise InputError(f"reading {path}: found {found}. It needs {FORMS}.")
    if said.get("directed") is False:
        raise InputError(
            f'reading {path}: it says "directed": false. Links lead from cause to effect: write a '
            "networkx.DiGraph."
        )
    graph = nx.DiGraph()
    nodes = list(_nodes(path, _list(path, said, "nodes")))
    graph.add_nodes_from(nodes)
    graph.add_edges_from(_edges(path, said, known=set(nodes) if "nodes" in said else None))
    return graph


def _list(path: Path, said: dict[str, Any], key: str) -> Sequence[Any]:
    found = said.get(key, [])
    if not isinstance(found, list):
        raise InputError(f"reading {path}: {key} is {_kind(found)}. It needs {FORMS}.")
    return found


def _nodes(path: Path, said: Sequence[Any]) -> Iterator[str]:
    for at, node in enumerate(said):
        name = node.get("id") if isinstance(node, dict) else node
        if not isinstance(name, str | int):
            raise InputError(
                f"reading {path}: nodes[{at}] is {json.dumps(node)[:60]}. A node is a component's "
                'name, or an object with its name as "id".'
            )
        yield str(name)


def _edges(path: Path, said: dict[str, Any], known: set[str] | None) -> Iterator[tuple[str, str]]:
    key = "edges" if "edges" in said else "links"
    for at, edge in enumerate(_list(path, said, key)):
        ends = [edge.get("source"), edge.get("target")] if isinstance(edge, dict) else edge
        if not (
            isinstance(ends, list)
            and len(ends) == 2
            and all(isinstance(e, str | int) for e in ends)
        ):
            raise InputError(
                f"reading {path}: {key}[{at}] is {json.dumps(edge)[:60]}. An edge is [cause, "
                'effect], or {"source": cause, "target": effect}.'
            )
        cause, effect = str(ends[0]), str(ends[1])
        strange = [end for end in (cause, effect) if known is not None and end not in known]
        if strange:
            raise InputError(
                f"reading {path}: {key}[{at}] names {strange[0]!r}, which is none of its "
                f"{len(known or ())} nodes. Add it to nodes, or leave nodes out."
            )
        yield cause, effect


def _kind(found: Any) -> str:
    return _KINDS.get(type(found), "a number")
