"""Learns the shipped risk of crossings: ``python -m agent.evaluations.warning_learning``.

    python -m agent.evaluations.warning_learning ../shared/data detectors/forecast/risk.json

Everything is learned on development series: the trees on all of them, the thresholds and the
spread of the crossing times on scores that each pod got from trees learned without it.

Tried on them, cross-validated by pod (S1, recall at 0.02 / 0.1 false alarms a series and day):
learned on S1 alone 0.30 / 0.76, on all sets 0.60 / 0.73; 50 trees 0.26 / 0.73, 150 trees
0.39 / 0.79 (both S1 alone); one question a tree 0.60 / 0.74, with the onset of the trend as further
evidence 0.69 / 0.83 (scikit-learn's trees), which costs eight times the evidence's time.

A budget holds for what rises as the leaks did that it was learned on. Learned on straight leaks
alone and scored on held-out pods with straight, slowing and quickening ones, recall stays (0.70)
but false alarms are 0.34 instead of 0.1 a series and day; learned on slowing and quickening ones,
0.67 at 0.08. ``Warnings.keep_budget`` corrects such a threshold where it is used.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.boosting import boost
from agent.evaluations.recorded import gentd26
from agent.evaluations.warning_metric import HOLDS_MIN, LEAD_MIN, tally
from agent.evaluations.warning_sets import Watched, leaks, recorded_sets
from core.types import Floats, Ints
from core.units import Bad
from detectors.forecast.evidence import (
    FEATURES,
    RISING,
    evidence,
    times_to_limit,
    usual_time_to_limit,
)
from detectors.forecast.risk import Risk, Trees, to_plain

SEEDS = 16
FOLDS = 6
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
MINUTE_S = 60.0
HISTORY_MIN = 720
# Lowest score tried as a threshold: even odds or worse warn of nothing one would act on.
LEAST = -2.0


def features_of(watched: Watched) -> Floats:
    """Return (S, G, F) what each decision sees."""
    return np.stack(
        [
            evidence(
                watched.value[:, max(0, at - HISTORY_MIN) : at + 1],
                watched.limit,
                step_s=MINUTE_S,
                bad=Bad.HIGH,
            )
            for at in watched.at
        ],
        axis=1,
    )


def scores(trees: Trees, features: Floats) -> Floats:
    """Return (S, G) log odds."""
    return trees.score(features.reshape(-1, len(FEATURES))).reshape(features.shape[:2])


def minutes_left(watched: Watched) -> Floats:
    """Return (S, G) minutes from each decision to the next event; infinite: none follows."""
    left = np.full((len(watched.value), len(watched.at)), np.inf)
    for row, events in enumerate(watched.events):
        for event in events[::-1]:
            ahead = event - watched.at
            left[row, ahead > 0] = ahead[ahead > 0]
    return left


def learn(sets: Sequence[Watched]) -> Risk:
    """Return trees, thresholds of the budgets, and the spread of crossing times.

    sets: development series only; the first has leaks, and its crossings give the spread
    """
    features = [features_of(watched) for watched in sets]
    left = [minutes_left(watched) for watched in sets]
    everyone = [np.ones(len(watched.value), bool) for watched in sets]
    trees = _grow(sets, features, left, everyone)
    unseen = [np.full(each.shape, np.nan) for each in left]
    for fold in range(FOLDS):
        own = [watched.pod % FOLDS == fold for watched in sets]
        others = _grow(sets, features, left, [~rows for rows in own])
        for score, rows, feature in zip(unseen, own, features, strict=True):
            if rows.any():
                score[rows] = scores(others, feature[rows])
    levels = np.array([_threshold(sets, unseen, budget) for budget in BUDGETS])
    levels = np.minimum.accumulate(levels)
    warned = (unseen[0] >= levels[BUDGETS.index(0.1)]) & (left[0] <= HOLDS_MIN)
    early, middle, late = _spread(features[0][warned], left[0][warned])
    return Risk(trees, np.array(BUDGETS), levels, early, middle, late)


def _grow(
    sets: Sequence[Watched],
    features: Sequence[Floats],
    left: Sequence[Floats],
    rows: Sequence[NDArray[np.bool_]],
) -> Trees:
    """Learn whether an event begins in 30 to 120 minutes; decisions nearer to one say neither."""
    seen, target = [], []
    for watched, feature, minutes, kept in zip(sets, features, left, rows, strict=True):
        use = kept[:, None] & ~watched.beyond & (minutes >= LEAD_MIN)
        use &= np.isfinite(feature).all(axis=2)
        seen.append(feature[use])
        target.append(minutes[use] <= HOLDS_MIN)
    whole = np.concatenate(seen)
    return boost(whole, np.concatenate(target), np.ones(len(whole)), RISING)


def _threshold(sets: Sequence[Watched], score: Sequence[Floats], budget: float) -> float:
    """Return the lowest score that keeps the budget on leaks and on recorded series alike."""
    tried: Floats = np.arange(LEAST, 6.0, 0.02)
    for threshold in tried:
        seen = [
            tally(watched, each, float(threshold))
            for watched, each in zip(sets, score, strict=True)
        ]
        recorded = seen[1:]
        days = sum(len(each.false) * each.days for each in recorded)
        rate = sum(int(each.false.sum()) for each in recorded) / days if days else 0.0
        if seen[0].false_per_series_day <= budget and rate <= budget:
            return float(threshold)
    return float(tried[-1])


def _spread(features: Floats, minutes: Floats) -> tuple[float, float, float]:
    expected = usual_time_to_limit(times_to_limit(features)) / MINUTE_S
    ratio = minutes[np.isfinite(expected)] / expected[np.isfinite(expected)]
    early, middle, late = np.quantile(ratio, [0.1, 0.5, 0.9])
    return float(early), float(middle), float(late)


def of_recorded(folder: Path, *, seeds: int = SEEDS) -> tuple[Watched, ...]:
    """Return S1, R1, R2 and R4 with all their series."""
    return (leaks(gentd26(folder, "node_memory_used_ratio"), seeds=seeds), *recorded_sets(folder))


def main(folder: Path, target: Path) -> None:
    """Learn from recorded telemetry and write the result."""
    sets = [watched.rows(watched.dev) for watched in of_recorded(folder)]
    counts: Ints = np.array([sum(map(len, watched.events)) for watched in sets])
    plain = to_plain(learn(sets))
    plain["learned_on"] = {
        watched.name: f"{len(set(watched.pod.tolist()))} development series, {count} events"
        for watched, count in zip(sets, counts, strict=True)
    }
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items())
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
