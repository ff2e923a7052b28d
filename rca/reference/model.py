"""A DoWhy model of a few variables, fitted to their normal readings; for worker processes only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.scm.design import Bools
from rca.scm.links import link
from rca.scm.model import fit

MIN_ROWS = 30
_TREES, _LEAF = 30, 10  # trees, and readings a leaf: as smooth as MIN_ROWS allow


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """An invertible structural causal model of the target and all that could have caused it.

    used: indices of its variables, in its own order; model: DoWhy's, its variables named by index
    bent: (V,) whether a variable's mechanism is a tree model, because straight lines forecast worse
    """

    used: tuple[int, ...]
    model: Any
    bent: Bools

    def frame(self, rows: Floats) -> Any:
        """Return (V, N) readings as the data frame that the model takes."""
        import pandas as pd  # noqa: PLC0415  # only in a worker

        names = [str(index) for index in self.used]
        return pd.DataFrame(rows[list(self.used)].T, columns=names)


def reference_of(
    links: Sequence[tuple[int, int]], normal: Floats, target: int, *, seed: int
) -> Reference:
    """Fit DoWhy's mechanisms to (V, N) complete normal rows.

    Linear with additive noise; a forest, which never extrapolates, where our
    back-test finds a bend.
    """
    # 5 s and 300 MiB: only where they are used, in a worker.
    import networkx as nx  # noqa: PLC0415
    from dowhy import gcm  # noqa: PLC0415

    gcm.util.general.set_random_seed(seed)
    gcm.config.disable_progress_bars()
    gcm.config.set_default_n_jobs(1)  # a pool inside a worker process would outlive it
    bent = fit(normal, link(len(normal), np.array(links, dtype=np.int64))).bent
    graph = nx.DiGraph([(str(cause), str(effect)) for cause, effect in links])
    graph.add_node(str(target))
    kept = {*nx.ancestors(graph, str(target)), str(target)}
    model = gcm.InvertibleStructuralCausalModel(graph.subgraph(kept).copy())
    for name in model.graph.nodes:
        if model.graph.in_degree(name) == 0:
            mechanism = gcm.EmpiricalDistribution()
        elif bent[int(name)]:
            mechanism = gcm.AdditiveNoiseModel(
                gcm.ml.create_random_forest_regressor(n_estimators=_TREES, min_samples_leaf=_LEAF)
            )
        else:
            mechanism = gcm.AdditiveNoiseModel(gcm.ml.create_linear_regressor())
        model.set_causal_mechanism(name, mechanism)
    made = Reference(tuple(int(name) for name in model.graph.nodes), model, bent)
    gcm.fit(model, made.frame(normal))
    return made


def exactly() -> Any:
    """Return DoWhy's settings to count every coalition; its cost doubles with each variable.

    Not EXACT_FAST: with dowhy 0.14 it gave every variable the same share.
    """
    from dowhy.gcm.shapley import ShapleyApproximationMethods, ShapleyConfig  # noqa: PLC0415

    return ShapleyConfig(approximation_method=ShapleyApproximationMethods.EXACT, n_jobs=1)


def method(function: str) -> str:
    """Return what was run, with DoWhy's version."""
    import dowhy  # noqa: PLC0415

    return f"dowhy {dowhy.__version__} {function}"


def complete(doing: str, rows: Floats, *, where: str = "normal") -> Floats:
    """Return the rows that lack nothing; InputError with fewer than MIN_ROWS of them."""
    kept = rows[:, np.isfinite(rows).all(axis=0)]
    if kept.shape[1] < MIN_ROWS:
        raise InputError(
            f"{doing}: {kept.shape[1]} complete {where} readings, and {MIN_ROWS} are needed; "
            "widen [diagnose] normal_span, or leave out what is seldom read."
        )
    return kept


def few(doing: str, variables: int, most: int) -> None:
    """Refuse more variables than finish in time: InputError says how many would."""
    if variables > most:
        raise InputError(
            f"{doing}: {variables} variables, and the reference takes at most {most}; "
            "keep the ones out of order."
        )


def every(doing: str, names: Sequence[str], reading: Floats) -> None:
    """Refuse a reading that is missing: InputError names the first."""
    gone = [name for name, value in zip(names, reading, strict=True) if not np.isfinite(value)]
    if gone:
        raise InputError(
            f"{doing}: no reading of {gone[0]} in the abnormal span; leave it out or wait for its "
            "next reading."
        )
