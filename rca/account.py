"""What a diagnosis tells beside probabilities: paths, what is ruled out, what would decide it."""

import math

import numpy as np

from core.target import TargetKind
from core.types import Check, Evidence, Floats, Hop, RuledOut
from core.units import CATALOG
from rca.faults.catalogue import FAULTS, NO_FAULTS
from rca.graph.templates import UNMEASURED_HOP
from rca.graph.traverse import oddness, reach
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.rank import Ranking
from rca.posterior.standing import ODD_Z
from rca.posterior.weights import Weights

_LONGEST = 10  # hops: no chain of known links is longer
_WORTH = 0.05  # probability from which a cause gets its path
_OUT = 0.02  # below this a fault is ruled out, if something speaks against it
_MOST = 5
_AGAINST = -1.0  # nats: what speaks against a fault that was looked for
_TELLING = 0.05  # nats a check is expected to bring, at the least
# A job's speed hurts; its goodput and its counts follow from that.
_HURTS = ("job_step_time_s", "job_latency_p99_s")


def paths(case: Case, ranking: Ranking) -> tuple[tuple[Hop, ...], ...]:
    """Return each kept hypothesis' way to the symptom that hurts, () for one hardly likely."""
    goal = _goal(case)
    if goal is None:
        return ((),) * len(ranking.kept)
    to_goal = reach(case.graph, case.standing, np.array([goal]))
    return tuple(
        _path(case, item, goal, to_goal) if share >= _WORTH else ()
        for item, share in zip(ranking.kept, ranking.share.tolist(), strict=True)
    )


def _goal(case: Case) -> int | None:
    """Return the symptom that a path should end at: a job's own time before anything else."""
    odd = np.nan_to_num(case.standing.odd)
    metric = [case.graph.metrics[number] for number in case.graph.metric[case.symptoms].tolist()]
    of_job = [name in CATALOG and CATALOG[name].scope is TargetKind.JOB for name in metric]
    worth = [
        (name in _HURTS, job, float(odd[variable]), int(variable))
        for name, job, variable in zip(metric, of_job, case.symptoms.tolist(), strict=True)
    ]
    return max(worth)[3] if worth else None


def _path(case: Case, item: Hypothesis, goal: int, to_goal: Floats) -> tuple[Hop, ...]:
    """Follow the links that carry most of the symptom, from the hypothesis' oddest reading on.

    A fault that no reading shows has no path; one that no links lead from ends where it shows.
    """
    graph, standing = case.graph, case.standing
    there = item.variables[np.nan_to_num(case.left[item.variables]) > ODD_Z]
    if not len(there):
        return ()
    passes = np.where(standing.measured, oddness(standing.odd), UNMEASURED_HOP)
    strength = np.array([link.strength for link in graph.templates])
    at = int(there[np.argmax(case.left[there])])
    found = [at]
    while at != goal and len(found) < _LONGEST:
        links = np.flatnonzero(graph.cause == at)
        effect = graph.effect[links]
        carried = strength[graph.template[links]] * to_goal[effect] * passes[effect]
        carried[np.isin(effect, found)] = 0.0
        if not len(links) or carried.max() <= 0:
            break
        at = int(effect[np.argmax(carried)])
        found.append(at)
    return tuple(_hop(case, variable) for variable in found)


def _hop(case: Case, variable: int) -> Hop:
    standing, graph = case.standing, case.graph
    return Hop(
        target=graph.target(variable),
        metric=graph.metrics[int(graph.metric[variable])],
        moved=_known(standing.own[variable]),
        began_s=_known(standing.onset_s[variable]),
        usual=_known(standing.centre[variable]),
        level=_known(standing.level[variable]),
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def ruled_out(ranking: Ranking, weights: Weights) -> tuple[RuledOut, ...]:
    """Return the faults that something spoke for and more against, the most suspect first."""
    found = []
    for item, share in zip(ranking.kept, ranking.share.tolist(), strict=True):
        notes = [note for note in item.notes if note.kind is not Kind.PRIOR]
        worst = min(notes, key=lambda note: weights.of[note.kind] * note.value, default=None)
        if share < _OUT and worst and weights.of[worst.kind] * worst.value <= _AGAINST:
            found.append(RuledOut(item.target, item.fault, worst.text))
    return tuple(found[:_MOST])


def checks(ranking: Ranking) -> tuple[Check, ...]:
    """Return what would decide between the causes, the most telling first.

    A check that says for sure whether a fault is there brings, on average, the entropy of its
    probability: most where that is even, nothing where the answer is known. The same check on
    several targets is made where it is likeliest.
    """
    share_of: dict[str, float] = {}
    first: dict[str, Hypothesis] = {}
    for item, share in zip(ranking.kept, ranking.share.tolist(), strict=True):
        text = FAULTS[item.fault].check
        first.setdefault(text, item)
        share_of[text] = share_of.get(text, 0.0) + share
    gain = {text: _entropy(min(share, 1.0)) for text, share in share_of.items()}
    found = [Check(first[t].target, t, gain[t]) for t in first if gain[t] >= _TELLING]
    return tuple(sorted(found, key=lambda check: -check.gain)[:_MOST])


def _entropy(share: float) -> float:
    parts = (share, 1 - share)
    return -sum(part * math.log(part) for part in parts if part > 0)


def calm(ranking: Ranking, weights: Weights) -> tuple[str, tuple[Evidence, ...]]:
    """Return the likeliest way in which nothing is broken, in words, and its evidence."""
    if not ranking.calm:
        return "", ()
    first = ranking.calm[0]
    text = NO_FAULTS.get(first.fault, "what is out of order may be chance")
    return text, first.evidence(weights.of)
