"""How likely a crossing within two hours is: a small sum of trees, shipped as data.

The trees are three questions deep, and a steeper or straighter rise never lowers the score. They
and the thresholds of the false-alarm budgets were learned by
``agent.evaluations.warning_learning`` on development series only; ``risk.json`` says on which.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from detectors.compiled import compiled
from detectors.forecast.evidence import FEATURES

SHIPPED = "risk.json"
# Between these the time that is left counts, see ``Risk.urgency``.
SHORT_S, LEISURE_S = 1800.0, 5400.0
_NUMBERS = ("haste", "early", "middle", "late")


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A sum of N trees of one depth D.

    feature, threshold: (N, 2^D - 1) questions, the first first, then each level from left to right;
    one sends a row right where feature > threshold. answer: (N, 2^D); bias: added to the sum
    """

    bias: float
    feature: NDArray[np.int64]
    threshold: Floats
    answer: Floats

    def score(self, features: Floats) -> Floats:
        """Return (S,) log odds; NaN where a feature (S, F) is NaN."""
        known = np.isfinite(features).all(axis=1)
        rows = features[known]
        total = np.full(len(rows), self.bias)
        _add(rows, (self.feature, self.threshold, self.answer), total)
        out = np.full(len(features), np.nan)
        out[known] = total
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Risk:
    """What was learned.

    budget, threshold: (B,) false alarms a series and day, rising, and the urgency that keeps them
    haste: see ``urgency``
    early, late: 10 and 90 % quantiles of the true time to the limit over the expected one, and
                 ``middle`` its median
    """

    trees: Trees
    budget: Floats
    threshold: Floats
    haste: float
    early: float
    middle: float
    late: float

    def urgency(self, log_odds: Floats, left_s: Floats, clean: float | Floats = 1.0) -> Floats:
        """Return what a budget's threshold is for: the log odds, raised where time is short.

        left_s: seconds until the present rise reaches the limit
        clean: how far the rise stands out from its noise, 0 to 1
        Of a slow leak one may wait to be surer: it passes each threshold hours before its time, and
        is then a false alarm. Of a fast one waiting takes the whole warning. So the log odds count
        for ``haste`` more with half an hour to go, for nothing more with an hour and a half; and
        only as far as the rise is clean, for what swings to and fro is always about to arrive.
        """
        short = np.clip((LEISURE_S - left_s) / (LEISURE_S - SHORT_S), 0.0, 1.0)
        return np.asarray(log_odds + self.haste * clean * short)

    def threshold_of(self, false_alarms_per_series_day: float) -> float:
        """Return the urgency to warn at for a budget; interpolated, never below what was learned.

        A smaller budget than the smallest learned one goes on along the last two.
        """
        wanted = np.log(max(false_alarms_per_series_day, 1e-6))
        known = np.log(self.budget)
        if wanted >= known[0]:
            return float(np.interp(wanted, known, self.threshold))
        slope = min((self.threshold[1] - self.threshold[0]) / (known[1] - known[0]), 0.0)
        return float(self.threshold[0] + slope * (wanted - known[0]))


def threshold_of_costs(false_alarm: float, missed: float) -> float:
    """Return the log odds from which a warning pays: expected loss is least (Elkan 2001).

    false_alarm: cost of one; missed: what an unforeseen crossing costs beyond a foreseen one
    """
    if not (false_alarm > 0 and missed > 0):
        raise ValueError(f"costs are above 0, not {false_alarm:g} and {missed:g}")
    return float(np.log(false_alarm / missed))


def probability(log_odds: Floats) -> Floats:
    """Return the probability that log odds stand for."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0))))


@lru_cache(maxsize=1)
def shipped() -> Risk:
    """Return what comes with the package."""
    text = files("detectors.forecast").joinpath(SHIPPED).read_text(encoding="utf-8")
    return from_plain(json.loads(text))


def from_plain(plain: Mapping[str, Any]) -> Risk:
    """Read what ``to_plain`` wrote; ValueError where the features are other ones."""
    if tuple(plain["features"]) != FEATURES:
        raise ValueError(f"{SHIPPED} was learned from other features: {plain['features']}")
    trees = Trees(
        float(plain["bias"]),
        np.array(plain["feature"], dtype=np.int64),
        np.array(plain["feature_threshold"], dtype=np.float64),
        np.array(plain["answer"], dtype=np.float64),
    )
    budget, threshold = (
        np.array(plain[name], dtype=np.float64) for name in ("budget", "threshold")
    )
    haste, early, middle, late = (float(plain[name]) for name in _NUMBERS)
    return Risk(trees, budget, threshold, haste, early, middle, late)


def to_plain(risk: Risk) -> dict[str, Any]:
    """Return what is learned as numbers and lists."""
    trees = risk.trees
    return {
        "features": list(FEATURES),
        "bias": round(trees.bias, 5),
        "feature": trees.feature.tolist(),
        "feature_threshold": trees.threshold.round(5).tolist(),
        "answer": trees.answer.round(5).tolist(),
        "budget": risk.budget.tolist(),
        "threshold": risk.threshold.round(4).tolist(),
        **{name: round(getattr(risk, name), 4) for name in _NUMBERS},
    }


@compiled
def _add(rows: Floats, trees: tuple[NDArray[np.int64], Floats, Floats], total: Floats) -> None:
    """Add every tree's answer for each row (R, F) to (R,)."""
    feature, threshold, answer = trees
    questions = feature.shape[1]
    for row in range(len(rows)):
        for tree in range(len(feature)):
            at = 0
            while at < questions:
                right = rows[row, feature[tree, at]] > threshold[tree, at]
                at = 2 * at + 1 + int(right)
            total[row] += answer[tree, at - questions]
