"""Gram matrices of series with readings missing, or weighed down, from the shared one.

A missing reading takes its row's product z z' out of the Gram matrix; a reading of weight w takes
(1 - w) z z' out. Few are missing as a rule, so correcting the shared matrix costs (P + K)^2 / 2
operations for each one that is; a series with more missing than present is summed anew.
"""

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled
from detectors.forecast.prophet.moments import Bits


def distinct_masks(present: Bits) -> tuple[Bits, Ints]:
    """Return (masks (M, T / 8), which (N,)): the different rows of ``present`` and each row's."""
    as_bytes = np.ascontiguousarray(present).view(np.dtype((np.void, present.shape[1])))
    _, first, which = np.unique(as_bytes[:, 0], return_index=True, return_inverse=True)
    return present[first], which.astype(np.int64)


def masked_grams(rows: Floats, full: Floats, present: Bits) -> Floats:
    """Return (M, p, p) matrices Z' diag(mask) Z for packed masks (M, T / 8)."""
    weights = np.unpackbits(present, axis=1, count=len(rows)).astype(np.float64)
    return weighted_grams(rows, full, weights)


def weighted_grams(rows: Floats, full: Floats, weights: Floats) -> Floats:
    """Return (M, p, p) matrices Z' diag(w) Z.

    rows: (T, p) design;  full: (p, p) Z'Z;  weights: (M, T) between 0 and 1
    """
    out = np.empty((len(weights), *full.shape))
    _correct(rows, full, weights, out)
    return out


@compiled
def _correct(rows: Floats, full: Floats, weights: Floats, out: Floats) -> None:
    length, width = rows.shape
    for m in range(len(weights)):
        weight, gram = weights[m], out[m]
        missing = 0.0
        for t in range(length):
            missing += 1.0 - weight[t]
        from_full = missing <= 0.5 * length
        gram[:] = 0.0
        if from_full:
            gram[:] = full
        for t in range(length):
            change = weight[t] - 1.0 if from_full else weight[t]
            if change != 0.0:
                _add_product(gram, rows[t], change)
        for i in range(width):
            for j in range(i):
                gram[j, i] = gram[i, j]


@compiled
def _add_product(gram: Floats, row: Floats, weight: float) -> None:
    """Add weight z z' to the lower half."""
    for i in range(len(row)):
        value = weight * row[i]
        for j in range(i + 1):
            gram[i, j] += value * row[j]
