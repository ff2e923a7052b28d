"""The reference attribution by DoWhy's graphical causal models, for depth and for checking us.

Seconds, not milliseconds, and 300 MiB: it runs in a worker process only, and only when asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Diagnosis, Floats, Ints
from rca.posterior.case import Case
from rca.posterior.standing import readings
from rca.words import say_target

MAX_VARIABLES = 12  # attribution costs the square of their number; 12 took under 10 s
MIN_ROWS = 30
_SAMPLES = 500


@dataclass(frozen=True, slots=True, eq=False)
class AttributionTask:
    """Plain data for one attribution.

    names:    (V,) variables, the last-named effect is ``target``
    links:    (cause, effect) pairs of indices, without a cycle
    normal:   (V, N) readings of normal times; abnormal: (V,) the reading to explain
    target:   index of the variable whose oddness is attributed
    """

    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    normal: Floats
    abnormal: Floats
    target: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much of the target's oddness each variable's own mechanism brought, in nats.

    contribution: one entry per name; variables that are no cause of the target have 0
    """

    names: tuple[str, ...]
    contribution: tuple[float, ...]
    method: str

    def ranked(self) -> tuple[tuple[str, float], ...]:
        """Return (name, contribution), largest first."""
        pairs = zip(self.names, self.contribution, strict=True)
        return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def attribute(task: AttributionTask) -> Attribution:
    """Attribute the target's abnormal reading to the mechanisms of its causes.

    Linear additive-noise mechanisms on an invertible structural causal model; Shapley values of
    the information-theoretic outlier score (Budhathoki et al., ICML 2022), 500 noise samples.
    InputError says what is missing where the data do not allow it. Run it in a worker process.
    """
    normal = _checked(task)
    # 5 s and 300 MiB: only where they are used, in a worker.
    import dowhy  # noqa: PLC0415
    import networkx as nx  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from dowhy import gcm  # noqa: PLC0415

    columns = [str(index) for index in range(len(task.names))]
    graph = nx.DiGraph([(columns[cause], columns[effect]) for cause, effect in task.links])
    graph.add_node(columns[task.target])
    kept = {*nx.ancestors(graph, columns[task.target]), columns[task.target]}
    model = gcm.InvertibleStructuralCausalModel(graph.subgraph(kept).copy())
    for name in model.graph.nodes:
        root = model.graph.in_degree(name) == 0
        mechanism = (
            gcm.EmpiricalDistribution()
            if root
            else gcm.AdditiveNoiseModel(gcm.ml.create_linear_regressor())
        )
        model.set_causal_mechanism(name, mechanism)
    gcm.util.general.set_random_seed(task.seed)
    gcm.config.disable_progress_bars()
    gcm.config.set_default_n_jobs(1)  # a pool inside a worker process would outlive it
    used = [int(name) for name in model.graph.nodes]
    names = [columns[index] for index in used]
    gcm.fit(model, pd.DataFrame(normal[used].T, columns=names))
    shares = gcm.attribute_anomalies(
        model,
        columns[task.target],
        anomaly_samples=pd.DataFrame([task.abnormal[used]], columns=names),
        num_distribution_samples=_SAMPLES,
    )
    contribution = tuple(float(shares[name][0]) if name in shares else 0.0 for name in columns)
    return Attribution(task.names, contribution, f"dowhy {dowhy.__version__} attribute_anomalies")


def _checked(task: AttributionTask) -> Floats:
    """Return the normal rows that are complete, or say why there is nothing to work on."""
    if len(task.names) > MAX_VARIABLES:
        raise InputError(
            f"attributing {task.names[task.target]}: {len(task.names)} variables, and the "
            f"reference takes at most {MAX_VARIABLES}; keep the ones out of order."
        )
    if not np.isfinite(task.abnormal).all():
        gone = [n for n, v in zip(task.names, task.abnormal, strict=True) if not np.isfinite(v)]
        raise InputError(
            f"attributing {task.names[task.target]}: no reading of {gone[0]} in the abnormal "
            "span; leave it out or wait for its next reading."
        )
    normal = task.normal[:, np.isfinite(task.normal).all(axis=0)]
    if normal.shape[1] < MIN_ROWS:
        raise InputError(
            f"attributing {task.names[task.target]}: {normal.shape[1]} complete normal readings, "
            f"and {MIN_ROWS} are needed; widen [diagnose] normal_span."
        )
    return normal


def task_of(case: Case, diagnosis: Diagnosis, *, seed: int = 0) -> AttributionTask:
    """Pick the incident's variables for the reference: the symptom and what is above it.

    Of each metric the one that reaches the symptom best and is most out of order is taken, then
    the second of each, up to MAX_VARIABLES.
    InputError where the incident has no symptom among the readings.
    """
    if not len(case.symptoms):
        raise InputError(
            f"attributing incident {diagnosis.incident_id}: none of its symptoms has readings; "
            "nothing can be attributed."
        )
    odd = np.nan_to_num(case.standing.odd)
    target = int(case.symptoms[np.argmax(_depth(case)[case.symptoms] * 1e6 + odd[case.symptoms])])
    worth = case.reach * np.clip(odd, 0.1, 30.0) * np.isfinite(case.standing.level)
    worth[target] = np.inf
    chosen = _best_of_each(case.graph.metric, worth)
    where = {int(variable): index for index, variable in enumerate(chosen)}
    links = tuple(
        (where[cause], where[effect])
        for cause, effect in zip(case.graph.cause.tolist(), case.graph.effect.tolist(), strict=True)
        if cause in where and effect in where
    )
    return AttributionTask(
        names=tuple(_name(case, int(variable)) for variable in chosen),
        links=links,
        normal=_normal(case, [int(variable) for variable in chosen]),
        abnormal=case.standing.level[chosen],
        target=where[target],
        seed=seed,
    )


def _best_of_each(metric: Ints, worth: Floats) -> Ints:
    """Return the variables worth most, the best of every metric before any second."""
    by = np.lexsort((-worth, metric))
    start = np.searchsorted(metric[by], metric[by], side="left")
    place = np.zeros(len(by), dtype=np.int64)
    place[by] = np.arange(len(by)) - start
    chosen = np.lexsort((-worth, place))[:MAX_VARIABLES]
    return np.sort(chosen[worth[chosen] > 0])


def _depth(case: Case) -> Floats:
    """(V,) place of each variable's metric in causal order: the last is the furthest effect."""
    return case.graph.metric.astype(np.float64)


def _name(case: Case, variable: int) -> str:
    metric = case.graph.metrics[int(case.graph.metric[variable])]
    return f"{metric} of {say_target(case.graph.target(variable))}"


def _normal(case: Case, variables: Sequence[int]) -> Floats:
    """(V, N) normal readings of the variables, cut to their common length."""
    rows = []
    for variable in variables:
        name = case.graph.metrics[int(case.graph.metric[variable])]
        window = case.windows[name]
        columns = case.spans.normal(window.time_s)
        rows.append(readings(window, columns)[variable - case.graph.span(name).start])
    length = min((len(row) for row in rows), default=0)
    return np.stack([row[len(row) - length :] for row in rows])
