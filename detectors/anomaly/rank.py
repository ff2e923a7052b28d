"""How rarely a series itself has scored this high: the conformal rank, in bounded memory.

    surprise = -log10((scores at least this high + 1) / (scores + 1))

(Vovk, Gammerman, Shafer 2005, ch. 2: with exchangeable scores the ratio is below p with probability
at most p, whatever their law.) The scores of each series are counted in 32 bins, a quarter octave
wide, one cache line a series; when a series has ``FULL`` of them all counts are halved, so that old
ones fade. Where fewer than ``ANCHOR`` scores were as high, the tail is taken for Pareto's above
them, with the exponent of those (Hill 1975): a rank alone would know nothing rarer than 1 in FULL,
and would know less after each halving. The last bin has no end; a first score beyond it is as rare
as the tail says.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

Array = NDArray[Any]
DECADE = 0.4342945  # of a factor e
BINS = 32
A_OCTAVE = 4
LEAST = 0.25  # sigmas: the end of the first bin
FULL = 8192  # 1.4 days of readings 15 s apart; more are no rarer and settle later
ANCHOR = 16
LEAST_TAIL = 2.0  # bins: mean excess of the tail over its anchor; a thinner tail is not believed


def empty(series: int, scorers: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet: (S, K, 32) counts, (S, K) sums."""
    return {
        "counts": np.zeros((series, scorers, BINS), np.uint16),
        "total": np.zeros((series, scorers), np.uint16),
    }


def surprise(scores: Array, state: dict[str, Array], held: Array) -> tuple[Array, Array]:
    """Return (S,) surprise, from before the scores are counted, and the scorer that said most.

    scores: (K, S), NaN: that scorer has nothing to say; held: (S,) whose scores are not counted.
    The surprise is the mean of the two highest
    of a series' scorers: one scorer alone is easily fooled, and not every anomaly shows in all. NaN
    (and scorer -1) where none scored.
    """
    out = np.empty(scores.shape[1], np.float32)
    most = np.empty(scores.shape[1], np.int8)
    _surprise(scores, (state["counts"], state["total"], held), out, most)
    return out, most


@compiled
def _surprise(scores: Array, arrays: tuple[Array, Array, Array], out: Array, most: Array) -> None:
    counts, total, held = arrays
    for i in range(scores.shape[1]):
        first: Any = np.float32(-1.0)
        second: Any = np.float32(-1.0)
        most[i] = -1
        for k in range(scores.shape[0]):
            if not np.isfinite(scores[k, i]):
                continue
            place = _place(scores[k, i])
            found = _rarity(counts[i, k], total[i, k], place)
            if not held[i]:
                total[i, k] = _count(counts[i, k], total[i, k], min(int(place), BINS - 1))
            if found > first:
                first, second = found, first
                most[i] = k
            elif found > second:
                second = found
        if most[i] < 0:
            out[i] = np.nan
        else:
            out[i] = 0.5 * (first + max(second, np.float32(0.0)))


@compiled
def _place(score: float) -> Any:
    """Return the bin a score is in, and how far through it, as one number."""
    if score < LEAST:
        return np.float32(max(score, 0.0) / LEAST)
    octaves = np.log2(score * np.float32(1.0 / LEAST))
    return np.float32(1.0) + np.float32(A_OCTAVE) * octaves


@compiled
def _rarity(counts: Array, total: int, place: Any) -> Any:
    """Return the surprise of a score at its place among the counts.

    How far a series has been in the last bin, which has no end, is not known: only one that has
    never been there is surprised by more.
    """
    if place >= BINS:
        if counts[BINS - 1] == 0:
            return _tail_rarity(counts, total, place)
        place = np.float32(BINS - 0.01)
    at = int(place)
    below = 0
    for b in range(at + 1):  # most scores are low: fewer bins than from the top
        below += int(counts[b])
    if total - below < ANCHOR:
        return _tail_rarity(counts, total, place)
    part = np.float32(total - below) + np.float32(counts[at]) * np.float32(at + 1 - place)
    return np.float32(np.log10(np.float32(total + 1.0) / (part + np.float32(1.0))))


@compiled
def _tail_rarity(counts: Array, total: int, place: float) -> Any:
    anchor = BINS - 1
    as_high = int(counts[anchor])
    excess = 0
    while anchor > 0 and as_high < ANCHOR:
        anchor -= 1
        excess += as_high
        as_high += int(counts[anchor])
    known = np.log10(np.float32(total + 1.0) / np.float32(as_high + 1.0))
    tail: float = max(excess / max(as_high, 1) + 0.5, LEAST_TAIL)
    return np.float32(known + DECADE * max(place - anchor, 0.0) / tail)


@compiled
def _count(counts: Array, total: int, at: int) -> Any:
    """Count a score and return how many there are; halve them all when there are enough."""
    counts[at] += 1
    total += 1
    if total < FULL:
        return total
    left = 0
    for b in range(BINS):
        counts[b] >>= 1
        left += counts[b]
    return left
