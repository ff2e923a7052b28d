"""From a case to ranked causes: evidence in nats, and a softmax with "unknown" and "no fault".

A reading must be out of order beyond what its causes explain, reach the symptom along readings
that are out of order too, stand out against its peers, and not come after what it is to have
caused. What was said adds its log-likelihood ratio. Each part is bounded, so no single one
decides, and the evidence shown is the whole of the score.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.target import Target
from core.types import Floats
from rca.faults.catalogue import FAULTS, NO_FAULTS
from rca.posterior.calm import NOTHING, from_calm
from rca.posterior.case import Case
from rca.posterior.company import add_company
from rca.posterior.events import add_unplaced, from_said, from_unseen, said_of, settle
from rca.posterior.expected import mark_expected
from rca.posterior.growth import from_breaches
from rca.posterior.hypothesis import Hypothesis, Kind, Note
from rca.posterior.missing import missing_of
from rca.posterior.readings import from_readings
from rca.posterior.relations import mark_explained, stands_alone
from rca.posterior.silence import from_silence, from_stillness, mark_absent
from rca.posterior.turns import mark_aftermath, turned_s
from rca.posterior.weights import Weights

_MOST_CAUSES = 8
_MOST_BESIDE = 2  # causes at once beside the first
_PLAIN = 2.0  # nats beyond "unknown" of a cause that counts beside the best one
_MISSING, _MOST_MISSING = 0.25, 1.0  # nats for "unknown", of one reading and in all
_BEHIND = 3.0  # nats by which each further cause comes behind: 5 %
_WELL_REACHED = 0.5
_PATH_BONUS = 0.25
_SECOND_METRIC = 0.25  # metrics of one fault are not independent: the next ones add a quarter


@dataclass(frozen=True, slots=True)
class Ranking:
    """Hypotheses, likeliest first.

    share: (H,) probability of each; with ``unknown`` and ``no_fault`` they sum to 1
    calm:  the ways in which nothing is broken, likeliest first
    missing: readings that are not there and could overturn the answer
    """

    kept: tuple[Hypothesis, ...]
    share: Floats
    unknown: float
    no_fault: float
    calm: tuple[Hypothesis, ...]
    missing: tuple[str, ...]


def hypotheses(case: Case) -> tuple[list[Hypothesis], list[Hypothesis]]:
    """Return all that could be to blame, and all ways in which nothing is, with their evidence."""
    said = tuple(said_of(case))
    found = merged(
        [
            *from_readings(case),
            *from_said(case, said),
            *from_silence(case),
            *from_stillness(case),
            *from_breaches(case),
        ]
    )
    found += from_unseen(case, found)
    add_unplaced(case, found, said)
    settle(found)
    add_company(case, found)
    turned = turned_s(case)
    for item in found:
        mark_aftermath(case, item, turned)
    mark_absent(case, found)
    mark_expected(case, found)
    mark_explained(case, found)
    calm = merged([*from_calm(case, turned), *(item for item in found if item.fault in NO_FAULTS)])
    faults = [item for item in found if item.fault in FAULTS]
    for item in faults:
        _add_path(case, item)
        shift = case.knowledge.priors.get(item.fault, 0.0)
        item.add(Kind.PRIOR, "how usual this fault is", FAULTS[item.fault].prior)
        if shift:
            item.add(Kind.PRIOR, "how often it was so on this fleet", shift)
    return faults, calm


def rank(case: Case, weights: Weights) -> Ranking:
    """Weigh all that could be to blame against each other, "unknown" and "no fault".

    Every reading that is not there and could overturn the best answer adds to "unknown".
    """
    found, calm = hypotheses(case)
    found.sort(key=lambda item: _heaviest_first(item, weights.of))
    calm.sort(key=lambda item: _heaviest_first(item, weights.of))
    missing = missing_of(case, found[0] if found else None)
    unknown = weights.unknown + min(_MISSING * len(missing), _MOST_MISSING)
    if _add_second(case, found, weights, unknown):
        found.sort(key=lambda item: _heaviest_first(item, weights.of))
    kept = found[:_MOST_CAUSES]
    scores = [item.score(weights.of) for item in kept]
    quiet = [item.score(weights.of) + weights.calm * (item.fault == NOTHING) for item in calm]
    share = softmax([*scores, *quiet, unknown]) * (1 - weights.lapse)
    return Ranking(
        kept=tuple(kept),
        share=share[: len(kept)],
        unknown=float(share[-1]) + weights.lapse,
        no_fault=float(share[len(kept) : -1].sum()),
        calm=tuple(calm),
        missing=missing,
    )


def _add_second(case: Case, found: Sequence[Hypothesis], weights: Weights, unknown: float) -> bool:
    """Lift causes that stand by themselves beside the best one to just behind it; say if any.

    The evidence of two faults at once is not a contest: what is plain elsewhere is no rival. It
    comes second, because the symptom is put down to one of them first.
    """
    best = found[0].score(weights.of) if found else 0.0
    lifted: list[Hypothesis] = []
    for item in found[1:]:
        score = item.score(weights.of)
        if len(lifted) == _MOST_BESIDE or score < unknown + _PLAIN:
            break
        if all(stands_alone(case, item, other) for other in (found[0], *lifted)):
            behind = best - _BEHIND * (1 + len(lifted))
            text = "stands by itself: no other cause explains it"
            item.add(Kind.SECOND, text, max(0.0, behind - score))
            lifted.append(item)
    return bool(lifted)


def softmax(score: Sequence[float]) -> Floats:
    """Return (H,) probabilities."""
    nats = np.array(score, dtype=np.float64)
    share = np.exp(nats - nats.max())
    return np.asarray(share / share.sum())


def merged(candidates: Iterable[Hypothesis]) -> list[Hypothesis]:
    """Join what is said of the same fault on the same target; of its metrics the best counts."""
    plain = dict.fromkeys(Kind, 1.0)
    joined: dict[tuple[Target, str], Hypothesis] = {}
    for item in sorted(candidates, key=lambda item: _heaviest_first(item, plain)):
        first = joined.get(item.key)
        if first is None:
            joined[item.key] = item
            continue
        read = {note.of for note in first.notes if note.kind is Kind.RESIDUAL}
        first.variables = np.union1d(first.variables, item.variables)
        for note in item.notes:
            if note.kind not in _READ or not read:
                first.notes.append(note)
            elif note.of not in read:  # more series of the same metric say the same again
                first.notes.append(_less(note))
        first.seen(item.began_s)
    return list(joined.values())


_READ = frozenset({Kind.RESIDUAL, Kind.PEERS, Kind.GROUP, Kind.ONSET})


def _less(note: Note) -> Note:
    return replace(note, value=note.value * _SECOND_METRIC)


def _heaviest_first(
    item: Hypothesis, weights: Mapping[Kind, float]
) -> tuple[float, str, Target, tuple[str, ...]]:
    """Sort by weight, then by what is said, so that the order of the series does not matter."""
    said = tuple(note.text for note in item.notes)
    return (-round(item.score(weights), 9), item.fault, item.target, said)


def _add_path(case: Case, item: Hypothesis) -> None:
    """Add how well the hypothesis reaches the symptom."""
    share = case.reach_of(item.target, item.variables)
    direct = case.shows(item.target, item.variables)
    if direct or not len(case.symptoms):
        text = "is itself a symptom" if direct else "nothing else shows a symptom"
    elif share > _WELL_REACHED:
        text = "every reading on the way to the symptom is out of order"
    else:
        text = "no unbroken path of readings leads from here to the symptom"
    bonus = _PATH_BONUS if share > _WELL_REACHED and not direct and len(case.symptoms) else 0.0
    item.add(Kind.PATH, f"{text} (reach {share:.2f})", math.log(share) + bonus)
