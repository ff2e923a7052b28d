"""Learns a sum of small trees by boosting the logistic loss (Friedman 2001), with shapes kept.

A feature marked as rising may only raise the score; a tree asks three questions of a row.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from detectors.forecast.risk import Trees, probability

BINS = 48
# Settings chosen by cross-validation among development pods, see warning_learning.
DEPTH = 3
TREES = 250
RATE = 0.12
SHRINK = 5.0
# Rows, by weight, on either side of a question.
MIN_WEIGHT = 50.0

Leaf = tuple[NDArray[np.bool_], float, float]  # its rows, lowest and highest answer allowed


@dataclass(frozen=True, slots=True)
class _Split:
    gain: float
    feature: int
    bin: int
    left: float
    right: float


def boost(
    features: Floats, target: NDArray[np.bool_], weight: Floats, rising: tuple[bool, ...]
) -> Trees:
    """Return trees whose sum is the log odds of ``target``; features (N, F) without NaN."""
    edges = np.stack(
        [np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]) for column in features.T]
    )
    binned = np.stack(
        [np.searchsorted(e, column) for e, column in zip(edges, features.T, strict=True)], axis=1
    )
    share = float((weight * target).sum() / weight.sum())
    bias = float(np.log(share / (1 - share)))
    score = np.full(len(target), bias)
    grown = []
    for _ in range(TREES):
        chance = probability(score)
        slope, curve = weight * (target - chance), weight * chance * (1 - chance)
        tree = _tree(binned, (slope, curve, weight), rising)
        grown.append(tree)
        score += RATE * _answers(binned, *tree)
    asked = np.array([[split.feature for split in splits] for splits, _ in grown])
    bins = np.array([[split.bin for split in splits] for splits, _ in grown])
    answer = RATE * np.array([values for _, values in grown])
    return Trees(bias, asked, edges[asked, bins], answer)


def _tree(
    binned: NDArray[np.int64], loss: tuple[Floats, Floats, Floats], rising: tuple[bool, ...]
) -> tuple[list[_Split], Floats]:
    """Return questions, each level from left to right, and the answers of the last level."""
    leaves: list[Leaf] = [(np.ones(len(binned), bool), -np.inf, np.inf)]
    splits: list[_Split] = []
    for _ in range(DEPTH):
        level = [_best(binned, loss, rising, leaf) for leaf in leaves]
        leaves = [
            half
            for leaf, split in zip(leaves, level, strict=True)
            for half in _halves(binned, leaf, split, rising)
        ]
        splits += level
    return splits, np.array([each for split in level for each in (split.left, split.right)])


def _halves(
    binned: NDArray[np.int64], leaf: Leaf, split: _Split, rising: tuple[bool, ...]
) -> tuple[Leaf, Leaf]:
    rows, low, high = leaf
    right = rows & (binned[:, split.feature] > split.bin)
    middle = (split.left + split.right) / 2
    below, above = (middle, middle) if rising[split.feature] else (high, low)
    return (rows & ~right, low, below), (right, above, high)


def _answers(binned: NDArray[np.int64], splits: list[_Split], values: Floats) -> Floats:
    leaf = np.zeros(len(binned), np.int64)
    for level in range(DEPTH):
        first = 2**level - 1
        asked = np.array([[split.feature, split.bin] for split in splits[first : 2 * first + 1]])
        feature, at = asked[leaf].T
        leaf = 2 * leaf + (binned[np.arange(len(binned)), feature] > at)
    return np.asarray(values[leaf])


def _best(
    binned: NDArray[np.int64],
    loss: tuple[Floats, Floats, Floats],
    rising: tuple[bool, ...],
    leaf: Leaf,
) -> _Split:
    """Return the question that lowers the loss of a leaf most; none helps: one answer for both."""
    rows, low, high = leaf
    count = binned.shape[1]
    cell = (binned[rows] + BINS * np.arange(count)).ravel()
    slope, curve, weight = (
        np.bincount(cell, np.repeat(part[rows], count), BINS * count)
        .reshape(count, BINS)
        .cumsum(axis=1)
        for part in loss
    )
    all_slope, all_curve, all_weight = slope[:, -1:], curve[:, -1:], weight[:, -1:]
    left = np.clip(slope / (curve + SHRINK), low, high)
    right = np.clip((all_slope - slope) / (all_curve - curve + SHRINK), low, high)
    # What a second-order step to these answers gains, also where they were held back.
    gain = _gain(slope, curve, left) + _gain(all_slope - slope, all_curve - curve, right)
    allowed = (weight >= MIN_WEIGHT) & (all_weight - weight >= MIN_WEIGHT)
    allowed &= ~np.asarray(rising)[:, None] | (left <= right)
    allowed[:, -1] = False
    gain = np.where(allowed, gain, -np.inf)
    feature, at = np.unravel_index(int(np.argmax(gain)), gain.shape)
    if not np.isfinite(gain[feature, at]):
        same = float(np.clip(slope[0, -1] / (curve[0, -1] + SHRINK), low, high))
        return _Split(0.0, 0, BINS - 2, same, same)
    found = float(left[feature, at]), float(right[feature, at])
    return _Split(float(gain[feature, at]), int(feature), int(at), *found)


def _gain(slope: Floats, curve: Floats, answer: Floats) -> Floats:
    return np.asarray(2 * slope * answer - (curve + SHRINK) * answer**2)
