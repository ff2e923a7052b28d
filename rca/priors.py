"""What came of earlier diagnoses shifts how likely each fault is held beforehand on this fleet.

A lesson is a diagnosis that was acted on, and what came of it; by Bayes it says how probable each
fault was in hindsight. A fault's prior is multiplied by how often it was there over how often the
catalogue expected it, found by EM (Saerens et al., Neural Computation 2002), with ``WORTH`` lessons
added to both in which the catalogue was right: the mode under a gamma prior of that strength.

So k lessons move a fault by ln(1 + k / WORTH) at most, either way, and two faults apart by twice
that: 1 lesson 0.08 nats, 5 lessons 0.36, 20 lessons 1 nat, which is the most. Fewer than 8 lessons,
all of one opinion, cannot exchange two faults whose priors are 1 nat apart. Old ones count less.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from core.types import Floats

MOST_NATS = 1.0
# 20 lessons that all say the same are worth the most that may be learned.
WORTH = 20 / (math.exp(MOST_NATS) - 1)
DAY_S = 86_400.0
# Assumed: a fleet's mix of faults changes with its drivers and its age, over months; Llama 3
# counted its own over 54 days. After four half-lives a lesson is forgotten.
HALF_LIFE_S = 60 * DAY_S
FORGOTTEN_S = 4 * HALF_LIFE_S
# Assumed: on a fleet where nobody has measured how well diagnoses are calibrated, none counts as
# surer than this, or twenty plans that fail would be taken for twenty bad days.
SUREST = 0.9
_ROUNDS, _CLOSE = 200, 1e-6  # of EM, and the change from which on it has settled
_BOUNDS = (-MOST_NATS, MOST_NATS)
_WORTH_SAYING = 1e-3  # nats


class Upshot(StrEnum):
    """What came of a diagnosis that a plan was made for."""

    HELPED = "helped"
    DID_NOT_HELP = "did_not_help"
    DENIED = "denied"
    OVERRIDDEN = "overridden"


# Probability of each upshot where the diagnosis is right, and where it is wrong. A restart ends
# 73 % of all errors whatever they are (Unicron, arXiv:2401.00134), and every plan that takes a job
# away restarts it: that it helped says little, that it did not says much. The others are assumed.
LIKELIHOOD: Mapping[Upshot, tuple[float, float]] = MappingProxyType(
    {
        Upshot.HELPED: (0.95, 0.73),
        Upshot.DID_NOT_HELP: (0.05, 0.27),
        Upshot.DENIED: (0.2, 0.5),
        Upshot.OVERRIDDEN: (0.35, 0.5),
    }
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """A diagnosis that was acted on, and what came of it.

    key:    the same for the same lesson told again
    fault:  the one that the plan was made for
    shares: fault -> probability in the diagnosis, with the catalogue's own priors; what is missing
            to 1 is "unknown" and "no fault"
    """

    key: str
    time_s: float
    fault: str
    shares: Mapping[str, float]
    upshot: Upshot


class Tally(NamedTuple):
    """How often acting on a fault helped here, and how often it did not."""

    right: int
    wrong: int


def shifts(lessons: Sequence[Lesson], now_s: float) -> Mapping[str, float]:
    """Return how far each fault's log prior is to be shifted, nats within +-``MOST_NATS``.

    In which order the lessons come does not matter. O(lessons x faults) a round of EM.
    """
    kept = [each for each in lessons if now_s - each.time_s < FORGOTTEN_S]
    faults = sorted({fault for each in kept for fault in each.shares})
    if not faults:
        return MappingProxyType({})
    share = np.array([[each.shares.get(fault, 0.0) for fault in faults] for each in kept])
    share *= (SUREST / np.maximum(SUREST, share.sum(axis=1)))[:, None]
    likely = np.array([_likelihoods(each, faults) for each in kept])
    weight = np.array([_weight(now_s - each.time_s) for each in kept])
    nats = np.log(_times(share, likely, weight))
    found = zip(faults, nats.tolist(), strict=True)
    return MappingProxyType({fault: x for fault, x in found if abs(x) > _WORTH_SAYING})


def unshifted(shares: Mapping[str, float], shift: Mapping[str, float]) -> dict[str, float]:
    """Return a diagnosis' probabilities as the catalogue's own priors would have given them.

    Lessons are counted against these: against its own shifts, a fleet's mix would be as expected.
    """
    weights = {fault: share * math.exp(-shift.get(fault, 0.0)) for fault, share in shares.items()}
    whole = math.fsum(weights.values()) + max(0.0, 1 - math.fsum(shares.values()))
    return {fault: weight / whole for fault, weight in weights.items()} if whole > 0 else {}


def tally(lessons: Sequence[Lesson], fault: str) -> Tally:
    """Return how often acting on that fault helped and did not."""
    mine = [each.upshot for each in lessons if each.fault == fault]
    return Tally(mine.count(Upshot.HELPED), mine.count(Upshot.DID_NOT_HELP))


def _likelihoods(lesson: Lesson, faults: Sequence[str]) -> list[float]:
    """Return the probability of what came of it under each fault, and under none of them last."""
    if_right, if_wrong = LIKELIHOOD[lesson.upshot]
    return [if_right if fault == lesson.fault else if_wrong for fault in faults] + [if_wrong]


def _weight(age_s: float) -> float:
    """Return what a lesson of that age counts; those of one day count the same."""
    return float(0.5 ** (max(0.0, age_s) // DAY_S * DAY_S / HALF_LIFE_S))


def _times(share: Floats, likely: Floats, weight: Floats) -> Floats:
    """Return (F,) by what each fault's prior is multiplied.

    share: (L, F); likely: (L, F + 1), the last of "none of these"; weight: (L,)
    """
    rest = np.maximum(0.0, 1.0 - share.sum(axis=1))
    expected = WORTH + weight @ share
    times = np.ones(share.shape[1])
    for _ in range(_ROUNDS):
        joint = share * times * likely[:, :-1]
        whole = joint.sum(axis=1) + rest * likely[:, -1]
        found = weight @ (joint / np.maximum(whole, np.finfo(float).tiny)[:, None])
        before, times = times, np.exp(np.clip(np.log((WORTH + found) / expected), *_BOUNDS))
        if np.abs(times - before).max() < _CLOSE:
            break
    return times


def say_tally(found: Tally) -> str:
    """Say how often acting on a fault helped on this fleet; "" where nobody has tried."""
    times = found.right + found.wrong
    if not times:
        return ""
    return f"on this fleet acting on it helped in {found.right} of {times} cases"
