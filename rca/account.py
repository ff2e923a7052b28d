"""What a diagnosis tells beside probabilities: paths, what is ruled out, what would decide it."""

import math
from collections.abc import Sequence

import numpy as np

from core.types import Check, Evidence, Hop, RuledOut
from rca.faults.catalogue import FAULTS, NO_FAULTS
from rca.graph.traverse import Ways, hops, ways
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.impact import goal_of
from rca.posterior.rank import Ranking
from rca.posterior.standing import ODD_Z
from rca.posterior.weights import Weights

_WORTH = 0.05  # probability from which a cause gets its path
_OUT = 0.02  # below this a fault is ruled out, if something speaks against it
_MOST = 5
_AGAINST = -1.0  # nats: what speaks against a fault that was looked for
_TELLING = 0.05  # nats a check is expected to bring, at the least


def paths(case: Case, ranking: Ranking) -> tuple[tuple[Hop, ...], ...]:
    """Return each kept hypothesis' way to the symptom that hurts, () for one hardly likely.

    Links that only readings suggest are taken where nothing else leads there, and never from what
    is itself a symptom: that needs no guess.
    """
    goal = goal_of(case)
    if goal is None:
        return ((),) * len(ranking.kept)
    ends = np.array([goal])
    known = ways(case.graph, case.standing, ends, learned=False)
    guessed = ways(case.graph, case.standing, ends)
    return tuple(
        _path(case, item, (known,) if case.shows(item.target, item.variables) else (known, guessed))
        if share >= _WORTH
        else ()
        for item, share in zip(ranking.kept, ranking.share.tolist(), strict=True)
    )


def _path(case: Case, item: Hypothesis, tried: Sequence[Ways]) -> tuple[Hop, ...]:
    """Return the way from the hypothesis' oddest reading that has one.

    Where none has one that is the oddest reading alone. A fault that no reading shows has no path.
    """
    left = case.left[item.variables]
    odd = left > ODD_Z
    there = item.variables[odd][np.argsort(-left[odd], kind="stable")]
    if not len(there):
        return ()
    for found in tried:
        starts = there[found.share[there] > 0]
        if len(starts):
            return hops(case.graph, case.standing, found, int(starts[0]))
    return hops(case.graph, case.standing, tried[0], int(there[0]))


def leading(ranking: Ranking) -> list[Hypothesis]:
    """Return the causes above "unknown", and those at work beside the first."""
    if not ranking.kept or ranking.share[0] <= ranking.unknown:
        return []
    pairs = zip(ranking.kept, ranking.share.tolist(), strict=True)
    return [item for item, share in pairs if share > ranking.unknown or item.beside]


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
