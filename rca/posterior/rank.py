"""From a case to ranked causes: each candidate's evidence in nats, and a softmax with "unknown".

The cascade: a reading must be out of order beyond what its causes explain (residual), reach the
symptom along readings that are out of order too (traversal), stand out against its peers, and not
come after what it is to have caused. Events add their log-likelihood ratio. Each part is bounded,
so no single reading decides, and the evidence shown is the whole of the score.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.target import Target
from core.types import Cause, Evidence
from rca.faults.catalogue import FAULTS
from rca.graph.links import TEMPLATES
from rca.posterior.candidates import (
    from_anomalies,
    from_events,
    from_readings,
    from_silence,
    silent_nodes,
    source_is_down,
)
from rca.posterior.case import Candidate, Case
from rca.posterior.growth import from_breaches
from rca.posterior.standing import ODD_Z

_MOST_CAUSES = 8
_MOST_MISSING = 8
_WELL_REACHED = 0.5
_PATH_BONUS = 1.0


@dataclass(frozen=True, slots=True)
class RankSettings:
    """Calibration of the softmax; tests/test_diagnose_accuracy.py measures it.

    temperature:  above 1 flattens the probabilities
    unknown:      log odds of "none of these" with nothing missing
    missing:      how much every missing reading adds to it, ``most_missing`` in all
    """

    temperature: float = 1.0
    unknown: float = 0.0
    missing: float = 0.5
    most_missing: float = 2.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """Causes, likeliest first; their probabilities and ``unknown`` sum to 1."""

    causes: tuple[Cause, ...]
    unknown: float
    missing: tuple[str, ...]


def rank(case: Case, settings: RankSettings) -> Ranking:
    """Weigh all that could be to blame against each other and against "unknown"."""
    found = _merge(
        [*from_readings(case), *from_events(case), *from_silence(case), *from_breaches(case)]
    )
    found += from_anomalies(case, found)
    for candidate in found:
        _add_path(case, candidate)
        candidate.add("how usual this fault is", FAULTS[candidate.fault].prior)
    found.sort(key=_heaviest_first)
    missing = _missing(case, found[:1])
    kept = found[:_MOST_CAUSES]
    unknown = settings.unknown + min(settings.missing * len(missing), settings.most_missing)
    share = _softmax([*(item.weight for item in kept), unknown], settings.temperature)
    causes = tuple(
        Cause(item.target, item.fault, p, _ordered(item.evidence))
        for item, p in zip(kept, share, strict=False)
    )
    return Ranking(causes, max(0.0, 1 - sum(share[:-1])), missing)


def _softmax(score: Sequence[float], temperature: float) -> list[float]:
    scaled = np.array(score) / temperature
    share = np.exp(scaled - scaled.max())
    return [float(part) for part in share / share.sum()]


def _ordered(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    return tuple(sorted(evidence, key=lambda item: (-abs(item.weight), item.text)))


def _merge(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Join what is said of the same fault on the same target; of its metrics the best counts.

    Metrics of one fault are not independent: the second adds a quarter of its weight.
    """
    merged: dict[tuple[Target, str], Candidate] = {}
    for candidate in sorted(candidates, key=_heaviest_first):
        key = (candidate.target, candidate.fault)
        if (first := merged.get(key)) is None:
            merged[key] = candidate
            continue
        first.variables = np.union1d(first.variables, candidate.variables)
        event = any(item.text.startswith("event") for item in candidate.evidence)
        for item in candidate.evidence:
            first.evidence.append(item if event else replace(item, weight=item.weight / 4))
    return list(merged.values())


def _heaviest_first(candidate: Candidate) -> tuple[float, str, Target, tuple[str, ...]]:
    """Sort by weight, then by what is said, so that the order of the series does not matter."""
    said = tuple(item.text for item in candidate.evidence)
    return (-round(candidate.weight, 9), candidate.fault, candidate.target, said)


def _add_path(case: Case, candidate: Candidate) -> None:
    """Add how well the candidate reaches the symptom."""
    share = case.reach_of(candidate.target, candidate.variables)
    direct = candidate.target in case.incident.targets
    direct |= bool(np.isin(candidate.variables, case.symptoms).any())
    if direct or not len(case.symptoms):
        text = "is itself a symptom" if direct else "nothing else shows a symptom"
    elif share > _WELL_REACHED:
        text = "every reading on the way to the symptom is out of order"
    else:
        text = "no unbroken path of readings leads from here to the symptom"
    bonus = _PATH_BONUS if share > _WELL_REACHED and not direct and len(case.symptoms) else 0.0
    candidate.add(f"{text} (reach {share:.2f})", math.log(share) + bonus)


def _missing(case: Case, best: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the readings that could overturn the best candidate and are not there.

    These are the causes of its readings that nobody measures, up to the first that somebody does.
    """
    notes = []
    if source_is_down(case, silent_nodes(case)):
        notes.append("readings of most nodes stopped at once: is their source down?")
    for candidate in best:
        notes += [f"{name} (nobody measures it)" for name in _unmeasured_causes(case, candidate)]
    return tuple(notes[:_MOST_MISSING])


def _unmeasured_causes(case: Case, candidate: Candidate) -> list[str]:
    """Return the metrics above the candidate's own that have no readings, nearest first."""
    accused = candidate.variables[np.nan_to_num(case.left[candidate.variables]) > ODD_Z]
    waiting = [case.graph.metrics[m] for m in np.unique(case.graph.metric[accused])]
    found: list[str] = []
    while waiting:
        name = waiting.pop(0)
        for cause in sorted({link.cause for link in TEMPLATES if link.effect == name}):
            part = case.graph.span(cause)
            if cause not in found and not np.isfinite(case.standing.level[part]).any():
                found.append(cause)
                waiting.append(cause)
    return found
