"""Scores warnings: how many events they foretell, how early, and how many are false.

A warning holds for two hours and is not repeated while it holds, unless an event ends it. It is
right when an event begins 30 to 120 minutes after it, late (neither right nor false) when earlier,
false when none begins. Every method is compared at equal false alarms a series and day.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.evaluations.warning_sets import Watched
from core.types import Floats, Ints

HOLDS_MIN = 120
LEAD_MIN = 30
BUDGETS = (0.02, 0.1, 0.5)
# Thresholds tried are quantiles of the scores: from one decision in 10,000 to one in three.
TRIED = 80
RESAMPLED = 500


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What warnings came to, for each of S series.

    events, hits, false: (S,) counts; lead_min: of every hit; pod: (S,); days: of one series
    """

    events: Ints
    hits: Ints
    false: Ints
    lead_min: Floats
    pod: Ints
    days: float

    @property
    def recall(self) -> float:
        """Return hits / events; NaN where there are none."""
        return _ratio(self.hits.sum(), self.events.sum())

    @property
    def precision(self) -> float:
        """Return hits / (hits + false alarms); NaN where nothing was warned of."""
        return _ratio(self.hits.sum(), self.hits.sum() + self.false.sum())

    @property
    def false_per_series_day(self) -> float:
        """Return false alarms a series and day."""
        return float(self.false.sum()) / (len(self.false) * self.days)

    @property
    def median_lead_s(self) -> float:
        """Return the median time from a right warning to its event; NaN where there is none."""
        return float(np.median(self.lead_min)) * 60.0 if self.lead_min.size else float("nan")

    def interval(self, *, precision: bool = False) -> tuple[float, float]:
        """Return the 95 % interval of recall, or precision, by drawing pods anew."""
        pods = np.unique(self.pod)
        rng = np.random.default_rng(0)
        per = np.array(
            [
                [part[self.pod == pod].sum() for part in (self.events, self.hits, self.false)]
                for pod in pods
            ]
        )
        drawn = per[rng.integers(len(pods), size=(RESAMPLED, len(pods)))].sum(axis=1)
        events, hits, false = drawn.T
        of = hits + false if precision else events
        ratio = hits[of > 0] / of[of > 0]
        if not ratio.size:
            return float("nan"), float("nan")
        low, high = np.quantile(ratio, [0.025, 0.975])
        return float(low), float(high)


def tally(watched: Watched, score: Floats, threshold: float, *, lead_min: int = LEAD_MIN) -> Tally:
    """Raise warnings where scores (S, G) reach a threshold and count what became of them.

    lead_min: a warning so long before its event is right
    """
    raised = (score >= threshold) & ~watched.beyond
    hits, false, leads = (np.zeros(len(score), int), np.zeros(len(score), int), list[float]())
    for row in np.flatnonzero(raised.any(axis=1)):
        minutes = watched.at[raised[row]]
        own, false[row] = _became(minutes, watched.events[row], lead_min)
        hits[row] = len(own)
        leads += own
    events = np.array([len(own) for own in watched.events])
    return Tally(events, hits, false, np.array(leads), watched.pod, watched.days)


def _became(minutes: Ints, events: Ints, lead_min: int) -> tuple[list[float], int]:
    """Return the leads of the right warnings, one an event, and how many were false."""
    leads: dict[int, float] = {}
    false, until = 0, -1
    for minute in minutes:
        if minute < until:
            continue
        following = events[(events > minute) & (events <= minute + HOLDS_MIN)]
        if not following.size:
            false, until = false + 1, minute + HOLDS_MIN
            continue
        until = int(following[0])
        if until - minute >= lead_min:
            leads.setdefault(until, float(until - minute))
    return list(leads.values()), false


def thresholds(
    watched: Watched,
    score: Floats,
    budgets: Sequence[float] = BUDGETS,
    *,
    lead_min: int = LEAD_MIN,
) -> dict[float, float]:
    """Return, for each budget, the threshold within it that foretells most; infinite: none."""
    usable = score[np.isfinite(score) & ~watched.beyond]
    best = dict.fromkeys(budgets, (-1.0, np.inf))
    if usable.size:
        for threshold in np.unique(np.quantile(usable, 1 - np.geomspace(1e-4, 0.33, TRIED))):
            seen = tally(watched, score, float(threshold), lead_min=lead_min)
            recall = np.nan_to_num(seen.recall)
            for budget, (most, _) in best.items():
                if seen.false_per_series_day <= budget and recall >= most:
                    best[budget] = (float(recall), float(threshold))
    return {budget: threshold for budget, (_, threshold) in best.items()}


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")
