"""The Numenta Anomaly Benchmark's score (Lavin and Ahmad 2015, arXiv:1510.03336, section II).

Each labelled window is worth a point when anything in it is flagged: nearly all of it at its start,
falling along a sigmoid to nothing at its end. A flag outside costs a profile's share of a point,
less just behind a window. 0 is a detector that flags nothing, 100 one that flags only the first
reading of each window. One threshold for the whole corpus, the one that scores best: by the
benchmark's own convention that one is found on the corpus itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints

PROBATION = 0.15  # of a series, at most of 5,000 readings: nothing there counts
PROBATION_OF = 5000
STEEP = 5.0
FAR = 3.0  # windows behind one: a flag there costs all it may
THRESHOLDS = 400


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user minds: the cost of a false flag and of a missed window, in points."""

    name: str
    false_flag: float
    missed: float


PROFILES = (
    Profile("standard", 0.11, 1.0),
    Profile("low_fp", 0.22, 1.0),
    Profile("low_fn", 0.11, 2.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A series' scores (T,), higher is odder, and its labelled windows as (first, last) rows."""

    score: Floats
    windows: tuple[tuple[int, int], ...]


def nab_score(corpus: Sequence[Scored], profile: Profile) -> tuple[float, float]:
    """Return the score at the best threshold for all of the corpus, and that threshold."""
    every = np.concatenate([_counted(one) for one in corpus])
    levels = np.unique(np.nan_to_num(every, nan=-np.inf))
    if len(levels) > THRESHOLDS:
        # Thresholds matter at the top: half of those tried flag less than a hundredth.
        shares = 1.0 - np.geomspace(1.0 / len(every), 0.2, THRESHOLDS)
        levels = np.unique(np.quantile(np.nan_to_num(every, nan=0.0), shares, method="higher"))
    best = max((at_threshold(corpus, profile, float(level)), float(level)) for level in levels)
    return max(best, (0.0, np.inf))


def at_threshold(corpus: Sequence[Scored], profile: Profile, threshold: float) -> float:
    """Return the score where readings that score at least ``threshold`` are flagged."""
    windows = sum(len(one.windows) for one in corpus)
    points = sum(_points(one, profile, threshold) for one in corpus)
    none = -profile.missed * windows
    return 100.0 * (points - none) / (windows - none)


def probation(readings: int) -> int:
    """Return how many of a series' first readings do not count."""
    return int(PROBATION * min(readings, PROBATION_OF))


def _counted(one: Scored) -> Floats:
    return one.score[probation(len(one.score)) :]


def _points(one: Scored, profile: Profile, threshold: float) -> float:
    flagged = np.flatnonzero(one.score >= threshold)
    flagged = flagged[flagged >= probation(len(one.score))]
    inside = np.zeros(len(flagged), bool)
    points = 0.0
    for first, last in one.windows:
        within = (flagged >= first) & (flagged <= last)
        inside |= within
        if within.any():
            width = last - first + 1
            place = -(last - int(flagged[within][0]) + 1) / width
            points += float(_sigmoid(place) / _sigmoid(-1.0))
        else:
            points -= profile.missed
    return points + profile.false_flag * float(_outside(flagged[~inside], one.windows).sum())


def _outside(flagged: Ints, windows: tuple[tuple[int, int], ...]) -> Floats:
    """Return what each flag outside of all windows costs, -1 to 0."""
    cost = np.full(len(flagged), -1.0)
    for first, last in windows:
        behind = flagged > last
        place = (flagged[behind] - last) / max(last - first, 1)
        cost[behind] = np.where(place > FAR, -1.0, _sigmoid(np.minimum(place, FAR)))
    return cost


def _sigmoid(place: float | Floats) -> Floats:
    return np.asarray(2.0 / (1.0 + np.exp(STEEP * np.asarray(place))) - 1.0)
