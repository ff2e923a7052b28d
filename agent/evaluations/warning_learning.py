"""Learns the shipped risk of crossings: ``python -m agent.evaluations.warning_learning``.

    python -m agent.evaluations.warning_learning ../shared/data detectors/forecast/risk.json

Everything is learned on development series: the trees on all of them, the thresholds, the spread of
the crossing times on scores that each pod got from trees
learned without it. Trees learn whether an event begins within two hours. Thresholds keep their
budget on leaks in real memory and on recorded series; ``ramps`` only shows more shapes and speeds
to the trees, as how often such rises occur, and how often they stop short, is made up.

Tried on them, cross-validated by pod, at 0.1 false alarms a series and day; S1: leaks foretold half
an hour ahead, fast: rises in under an hour foretold at all. 80 trees of two questions on what was
known without the onset of the rise, learned from 30 minutes ahead on: S1 0.77, fast 0.35; learned
up to the crossing, on ``ramps`` too, and with the onset: 0.77, 0.56. 250 trees of three questions,
the budget kept on each of S1, R1, R2 and R4, false alarms of R2 in 27 series-days behind: 0.79,
0.49, 1; with haste 0.77, 0.51, 1, for a busy GPU swings as fast as a leak rises; with haste only
for clean rises 0.82, 0.82, 2; recorded series weighing 4 times as much as well 0.83, 0.84, 1, 10
times 0.80, 0.76, 0. Four times is shipped: with ten a volume that fills in 40 minutes was warned of
8 minutes ahead. Trees of this comparison were learned on a third of the decisions of ``ramps``.
Scaling the log odds (Platt 1999) to all sets alike brought probabilities no nearer to what came.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.boosting import boost
from agent.evaluations.recorded import gentd26
from agent.evaluations.warning_metric import HOLDS_MIN, Tally, tally
from agent.evaluations.warning_ramps import ramps
from agent.evaluations.warning_sets import Watched, leaks, recorded_sets
from core.types import Floats, Ints
from core.units import Bad
from detectors.forecast.evidence import (
    FEATURES,
    RISING,
    cleanness,
    evidence,
    time_to_limit,
)
from detectors.forecast.risk import Risk, Trees, to_plain

SEEDS = 16
RAMP_SEEDS = 16
FOLDS = 4
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.5)
MINUTE_S = 60.0
HISTORY_MIN = 720
# Thresholds tried; below even odds with time to spare nothing is worth a warning.
TRIED: Floats = np.arange(-0.5, 9.0, 0.02)
# Recorded series are few beside leaks and ramps, yet theirs are the swings that are no leaks.
WEIGHT = {"R1": 4.0, "R2": 4.0, "R4": 4.0}
# What half an hour to go is worth beside the odds, see ``Risk.urgency``: tried 0 to 3, see above.
HASTE = 2.0


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


def log_odds(trees: Trees, features: Floats) -> Floats:
    """Return (S, G) log odds."""
    return trees.score(features.reshape(-1, len(FEATURES))).reshape(features.shape[:2])


def urgencies(risk: Risk, features: Floats) -> Floats:
    """Return (S, G) what thresholds are for."""
    return _urgency(risk, log_odds(risk.trees, features), features)


def _urgency(risk: Risk, score: Floats, features: Floats) -> Floats:
    return risk.urgency(score, risk.middle * time_to_limit(features), cleanness(features))


def minutes_left(watched: Watched) -> Floats:
    """Return (S, G) minutes from each decision to the next event; infinite: none follows."""
    left = np.full((len(watched.value), len(watched.at)), np.inf)
    for row, events in enumerate(watched.events):
        for event in events[::-1]:
            ahead = event - watched.at
            left[row, ahead > 0] = ahead[ahead > 0]
    return left


def learn(sets: Sequence[Watched], shapes: Watched) -> Risk:
    """Return trees, thresholds of the budgets, and the spread of crossing times.

    sets: development series only; the first has leaks, and its crossings give the spread
    shapes: what the trees alone learn from as well
    """
    every = (*sets, shapes)
    features = [features_of(watched) for watched in every]
    left = [minutes_left(watched) for watched in every]
    everyone = [np.ones(len(watched.value), bool) for watched in every]
    unseen = [np.full(each.shape, np.nan) for each in left]
    for fold in range(FOLDS):
        own = [watched.pod % FOLDS == fold for watched in every]
        others = _grow(every, features, left, [~rows for rows in own])
        for score, rows, feature in zip(unseen, own, features, strict=True):
            if rows.any():
                score[rows] = log_odds(others, feature[rows])
    trees = _grow(every, features, left, everyone)
    warned = (unseen[0] >= 0) & (left[0] <= HOLDS_MIN) & ~sets[0].beyond
    early, middle, late = _spread(features[0][warned], left[0][warned])
    risk = Risk(trees, np.array(BUDGETS), np.zeros(len(BUDGETS)), HASTE, early, middle, late)
    urgency = [
        _urgency(risk, score, feature) for score, feature in zip(unseen, features, strict=True)
    ]
    levels = np.array([_threshold(sets, urgency, budget) for budget in BUDGETS])
    return replace(risk, threshold=np.minimum.accumulate(levels))


def _grow(
    sets: Sequence[Watched],
    features: Sequence[Floats],
    left: Sequence[Floats],
    rows: Sequence[NDArray[np.bool_]],
) -> Trees:
    """Learn whether an event begins within two hours."""
    seen, target, weight = [], [], []
    for watched, feature, minutes, kept in zip(sets, features, left, rows, strict=True):
        use = kept[:, None] & ~watched.beyond & np.isfinite(feature).all(axis=2)
        seen.append(feature[use])
        target.append(minutes[use] <= HOLDS_MIN)
        weight.append(np.full(int(use.sum()), WEIGHT.get(watched.name, 1.0)))
    return boost(np.concatenate(seen), np.concatenate(target), np.concatenate(weight), RISING)


def _threshold(sets: Sequence[Watched], score: Sequence[Floats], budget: float) -> float:
    """Return the lowest threshold that keeps the budget on every set.

    A set on which the budget is less than one false alarm may have one: none would tell nothing.
    """
    for threshold in TRIED:
        seen = (
            tally(watched, each, float(threshold))
            for watched, each in zip(sets, score, strict=False)
        )
        if all(each.false.sum() <= max(1.0, budget * _days(each)) for each in seen):
            return float(threshold)
    return float(TRIED[-1])


def _days(seen: Tally) -> float:
    return len(seen.false) * seen.days


def _spread(features: Floats, minutes: Floats) -> tuple[float, float, float]:
    expected = time_to_limit(features) / MINUTE_S
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
    memory = gentd26(folder, "node_memory_used_ratio").dev()
    shapes = ramps(memory, seeds=RAMP_SEEDS)
    plain = to_plain(learn(sets, shapes.watched))
    plain["learned_on"] = {
        watched.name: f"{len(set(watched.pod.tolist()))} development series, {count} events"
        for watched, count in zip(sets, counts, strict=True)
    }
    plain["learned_on"][shapes.watched.name] = f"{len(shapes.shape)} series of the pods of S1"
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items())
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
