"""Learning and testing the causal graph on readings, for a worker process and its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.types import Window
from rca.graph import discovery_reference as reference
from rca.graph.falsify import Tested, judge
from rca.graph.learned import Suggested, learn
from rca.graph.pooled import pool
from rca.graph.templates import Template

LIMIT_S = 600.0
MEMORY_BYTES = 2 << 30
RUN = "agent.graph_work:look"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What to look at: readings on one grid, links, and whether the references are asked too."""

    windows: Mapping[str, Window]
    links: tuple[Template, ...]
    deep: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What readings say of the graph.

    tested:    every link whose metrics have readings
    suggested: dependences that no link explains
    dowhy, pc: what the references say, in sentences; "" where they were not asked
    """

    tested: tuple[Tested, ...]
    suggested: tuple[Suggested, ...]
    dowhy: str = ""
    pc: str = ""


def look(asked: Asked) -> Seen:
    """Test the links, and look for missing ones."""
    pooled = pool(asked.windows, None)
    tested, suggested = judge(pooled, asked.links), learn(pooled, asked.links)
    if not asked.deep:
        return Seen(tested, suggested)
    rows = reference.rows_of(pooled, tuple(link for link in asked.links if not link.feedback))
    said, near = _said(reference.falsified(rows)), _adjacent(reference.adjacent(rows))
    return Seen(tested, suggested, said, near)


def _said(found: reference.Falsified) -> str:
    verdict = {None: "cannot say", True: "rejects the graph", False: "does not reject the graph"}
    better = 100 * (1 - found.p_graph)
    return (
        f"DoWhy {verdict[found.rejected]}: the readings violate {found.violations} of the "
        f"{found.tests} independences that it implies; {better:.0f} % of graphs with the names "
        "mixed up violate more."
    )


def _adjacent(found: Sequence[reference.Adjacent]) -> str:
    pairs = [f"{one.first} {'->' if one.directed else '--'} {one.second}" for one in found]
    return f"PC cannot separate: {', '.join(pairs)}." if pairs else "PC separates all metrics."
