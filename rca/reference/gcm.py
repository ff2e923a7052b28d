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
from rca.reference.model import Reference, complete, every, few, method, reference_of
from rca.reference.scorer import SortedQuantileScorer
from rca.words import say_target

MAX_VARIABLES = 12  # attribution costs the square of their number; 12 took under 10 s
_SAMPLES = 3000


@dataclass(frozen=True, slots=True, eq=False)
class AttributionTask:
    """Plain data for one attribution.

    names:    (V,) variables, the last-named effect is ``target``
    links:    (cause, effect) pairs of indices, without a cycle
    normal:   (V, N) readings of normal times; abnormal: (V,) the reading to explain
    target:   index of the variable whose oddness is attributed
    variables: (V) their numbers in the incident's graph; () where there is none
    """

    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    normal: Floats
    abnormal: Floats
    target: int
    seed: int = 0
    variables: tuple[int, ...] = ()


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

    Mechanisms with additive noise on an invertible structural causal model, linear or trees;
    Shapley values of the information-theoretic outlier score (Budhathoki et al., ICML 2022).
    InputError says what is missing where the data do not allow it. Run it in a worker process.
    """
    doing = f"attributing {task.names[task.target]}"
    few(doing, len(task.names), MAX_VARIABLES)
    every(doing, task.names, task.abnormal)
    normal = complete(doing, task.normal)
    reference = reference_of(task.links, normal, task.target, seed=task.seed)
    scorer = SortedQuantileScorer()
    shares = shares_of(reference, task, num_distribution_samples=_SAMPLES, anomaly_scorer=scorer)
    return Attribution(task.names, shares, method("attribute_anomalies"))


def shares_of(reference: Reference, task: AttributionTask, **options: object) -> tuple[float, ...]:
    """Return DoWhy's attribution of the abnormal reading; ``options`` are attribute_anomalies'."""
    from dowhy import gcm  # noqa: PLC0415  # only in a worker

    observed = reference.frame(task.abnormal[:, None])
    shares = gcm.attribute_anomalies(
        reference.model, str(task.target), anomaly_samples=observed, **options
    )
    return tuple(
        float(shares[str(index)][0]) if str(index) in shares else 0.0
        for index in range(len(task.names))
    )


def task_of(case: Case, diagnosis: Diagnosis, *, seed: int = 0) -> AttributionTask:
    """Pick the incident's variables for the reference: the symptom and what is above it.

    The path of the likeliest cause comes first, its end is the symptom. Then of each metric the one
    that reaches the symptom best and is most out of order, and the second of each, up to
    MAX_VARIABLES.
    InputError where the incident has no symptom among the readings.
    """
    if not len(case.symptoms):
        raise InputError(
            f"attributing incident {diagnosis.incident_id}: none of its symptoms has readings; "
            "nothing can be attributed."
        )
    odd = np.nan_to_num(case.standing.odd)
    path = _path(case, diagnosis)
    deepest = np.argmax(_depth(case)[case.symptoms] * 1e6 + odd[case.symptoms])
    target = path[-1] if path else int(case.symptoms[deepest])
    worth = case.reach * np.clip(odd, 0.1, 30.0) * np.isfinite(case.standing.level)
    worth[[*path, target]] = np.inf
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
        variables=tuple(where),
    )


def _path(case: Case, diagnosis: Diagnosis) -> list[int]:
    """Return the likeliest cause's path as variables that have readings, the symptom last."""
    hops = diagnosis.causes[0].path if diagnosis.causes else ()
    found = []
    for hop in hops:
        for variable in case.graph.variables_of(hop.target).tolist():
            named = case.graph.metrics[int(case.graph.metric[variable])] == hop.metric
            if named and np.isfinite(case.standing.level[variable]):
                found.append(variable)
    return found


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
