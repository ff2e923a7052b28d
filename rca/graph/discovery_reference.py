"""The references of learning and falsifying a graph: PC of causal-learn and DoWhy's falsification.

Minutes and some hundred MiB: in a worker process only, and only when asked.
"""

import math
from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.graph.dependence import OWN_PAST, standard
from rca.graph.learned import MOST_LAG
from rca.graph.links import joins_of
from rca.graph.pooled import Pooled
from rca.graph.templates import Template

MOST_METRICS = 10  # DoWhy tests every permutation's independences
MOST_ROWS = 500
PERMUTATIONS = 100  # of the metrics' names; the graph must fit better than all but a few of them
SIGNIFICANCE = 0.05
TOGETHER = 2 * MOST_LAG  # readings that make one row
# The finest of these that is there is what a row is about; others are taken where it sits.
_UNITS = ("rank_step_time_s", "gpu_utilization_ratio", "gpu_power_watts", "node_up")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One table for a reference. names: (M,); value: (N, M), complete; links: pairs of names."""

    names: tuple[str, ...]
    value: Floats
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Falsified:
    """What DoWhy says of the graph as a whole.

    p_graph:      share of graphs with the metrics' names mixed up that violate as few independences
    violations, tests: independences that the graph implies and the data reject, of those tested
    rejected:     whether the data reject the graph: it is violated, and no less than mixed-up ones;
                  None: it implies too little to say
    """

    p_graph: float
    violations: int
    tests: int
    rejected: bool | None


@dataclass(frozen=True, slots=True)
class Adjacent:
    """Two metrics that PC cannot separate. directed: the first is the cause of the second."""

    first: str
    second: str
    directed: bool


def rows_of(pooled: Pooled, links: tuple[Template, ...]) -> Rows:
    """Return what is new in every reading, one row a GPU (or node) and time, sampled.

    Metrics without a link among the others are left out; the own past of each is taken off, so that
    rows are nearly independent. InputError where too little is left.
    """
    known = [link for link in links if {link.cause, link.effect} <= pooled.windows.keys()]
    linked = {name for link in known for name in (link.cause, link.effect)}
    unit = next((name for name in _UNITS if name in linked), min(linked, default=""))
    columns = {
        name: news
        for name in sorted(linked)
        if (news := _news(_on_units(pooled, name, unit))) is not None
    }
    links_of = {name: sum(name in (k.cause, k.effect) for k in known) for name in columns}
    names = sorted(columns, key=lambda name: (-links_of[name], name))[:MOST_METRICS]
    parts = [columns[name].ravel() for name in names]
    table = np.stack(parts, axis=1) if parts else np.empty((0, 0))
    table = table[np.isfinite(table).all(axis=1)]
    if len(names) < 3 or len(table) < 50:
        raise InputError(
            f"falsifying the graph with DoWhy: {len(names)} linked metrics that move and "
            f"{len(table)} complete rows, and 3 and 50 are needed; give it readings of more."
        )
    sampled = np.linspace(0, len(table) - 1, min(MOST_ROWS, len(table))).astype(np.int64)
    pairs = {(k.cause, k.effect) for k in known if {k.cause, k.effect} <= set(names)}
    return Rows(tuple(names), table[sampled], tuple(sorted(pairs)))


def _on_units(pooled: Pooled, name: str, unit: str) -> Floats | None:
    """Return (S, T) a metric's readings where the units sit; None: nothing ties them."""
    if name == unit:
        return pooled.effect(name)
    joins = joins_of(name, unit)
    return pooled.cause(Template(name, unit, joins[0])) if joins else None


def _news(value: Floats | None) -> Floats | None:
    """Return (S, B) means of what a reading's own past does not say of it; None: nothing moves.

    A mean of TOGETHER readings holds an effect beside its cause, though it comes later.
    """
    if value is None or not np.isfinite(value).any():
        return None
    past = [value[:, OWN_PAST - ago : value.shape[1] - ago] for ago in range(OWN_PAST + 1)]
    design = np.stack([part.ravel() for part in past[1:]], axis=1)
    known = np.isfinite(design).all(axis=1) & np.isfinite(past[0].ravel())
    if known.sum() < 50:
        return None
    weight = np.linalg.lstsq(design[known], past[0].ravel()[known], rcond=None)[0]
    left = past[0] - (design @ weight).reshape(past[0].shape)
    blocks = left.shape[1] // TOGETHER
    parts = left[:, : blocks * TOGETHER].reshape(len(left), blocks, TOGETHER)
    unit = standard(parts.mean(axis=2))
    return unit if np.isfinite(unit).any() else None


def falsified(rows: Rows, *, seed: int = 0) -> Falsified:
    """Return DoWhy's verdict on the links (Eulig et al., arXiv 2305.09565), by linear tests."""
    import networkx as nx  # noqa: PLC0415  # heavy
    import pandas as pd  # noqa: PLC0415  # heavy
    from dowhy import gcm  # noqa: PLC0415  # heavy
    from dowhy.gcm.falsify import FalsifyConst, falsify_graph  # noqa: PLC0415  # heavy

    gcm.util.general.set_random_seed(seed)
    graph = nx.DiGraph(rows.links)
    graph.add_nodes_from(rows.names)
    found = falsify_graph(
        graph,
        pd.DataFrame(rows.value, columns=list(rows.names)),
        independence_test=linear_test,
        conditional_independence_test=linear_test,
        significance_level=SIGNIFICANCE,
        significance_ci=SIGNIFICANCE,
        n_permutations=PERMUTATIONS,
        show_progress_bar=False,
        n_jobs=1,  # a pool inside a worker process would outlive it
    )
    tested = found.summary[FalsifyConst.VALIDATE_LMC]
    violations = int(tested[FalsifyConst.GIVEN_VIOLATIONS])
    return Falsified(
        p_graph=float(tested[FalsifyConst.P_VALUE]),
        violations=violations,
        tests=int(tested[FalsifyConst.N_TESTS]),
        rejected=bool(found.falsified and violations) if found.falsifiable else None,
    )


def linear_test(x: Floats, y: Floats, given: Floats | None = None) -> float:
    """Return the p-value of no partial correlation of two columns, by Fisher's z."""
    count = len(x)
    fixed = [np.ones((count, 1))] if given is None else [np.ones((count, 1)), _column(given)]
    design = np.concatenate(fixed, axis=1)
    both = np.concatenate([_column(x), _column(y)], axis=1)
    left = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
    size = math.sqrt(float((left[:, 0] ** 2).sum() * (left[:, 1] ** 2).sum()))
    r = float(left[:, 0] @ left[:, 1]) / size if size > 0 else 0.0
    freedom = max(count - design.shape[1] - 2, 1)
    z = math.atanh(min(max(r, -0.999999), 0.999999)) * math.sqrt(freedom)
    return math.erfc(abs(z) / math.sqrt(2))


def _column(value: Floats) -> Floats:
    return value.reshape(len(value), -1).astype(np.float64)


def adjacent(rows: Rows, *, significance: float = 0.01) -> tuple[Adjacent, ...]:
    """Return what PC (Spirtes and Glymour, 1991) cannot separate, by Fisher's z."""
    from causallearn.search.ConstraintBased.PC import pc  # noqa: PLC0415  # heavy

    found = pc(rows.value, significance, "fisherz", show_progress=False).G.graph
    count = len(rows.names)
    # graph[j, i] == 1 and graph[i, j] == -1: i is a cause of j; both -1: either.
    return tuple(
        Adjacent(rows.names[i], rows.names[j], bool(found[j, i] == 1 and found[i, j] == -1))
        for i in range(count)
        for j in range(count)
        if (found[j, i] == 1 and found[i, j] == -1)
        or (i < j and found[i, j] != 0 and found[i, j] == found[j, i])
    )
