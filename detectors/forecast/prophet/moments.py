"""All that the fit needs of the readings: one pass over the data, one matrix product.

For a series y of n readings, scaled and centred, the sufficient statistics are Z'y (P + K numbers),
y'y and n. Rows are read in blocks of fixed size, so a block fits the processor's cache, the data
stay float32 where they are, and a row's result does not depend on how many rows are beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from detectors.forecast.prophet.settings import Scaling

Values = np.ndarray[tuple[int, int], np.dtype[np.floating]]
Bools = NDArray[np.bool_]

ROWS = 64  # of a block: 64 x 1,440 doubles are 0.7 MB


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sufficient statistics of N series; a reading that is not finite counts as missing.

    A scaled reading is (reading - floor) / scale; ``centre`` is what is subtracted before summing.
    cross:  (N, P + K) Z'y;  square: (N,) y'y;  count: (N,) readings
    floor, scale: (N,) in the base unit;  centre: (N,) scaled
    low, high: (N,) least and largest reading;  complete: (N,) no reading is missing
    """

    cross: Floats
    square: Floats
    count: Floats
    floor: Floats
    scale: Floats
    centre: Floats
    low: Floats
    high: Floats
    complete: Bools


def gather(values: Values, rows: Floats, *, scaling: Scaling) -> Moments:
    """Return the statistics of values (N, T) under a design (T, P + K)."""
    series, length = values.shape
    cross, square = np.empty((series, rows.shape[1])), np.empty(series)
    count = np.full(series, float(length))
    low, high = np.empty(series), np.empty(series)
    block = np.zeros((ROWS, length))
    for start in range(0, series, ROWS):
        part = slice(start, min(start + ROWS, series))
        size = part.stop - start
        np.copyto(block[:size], values[part])
        low[part], high[part] = block[:size].min(axis=1), block[:size].max(axis=1)
        gapped = np.flatnonzero(~np.isfinite(low[part] + high[part]))
        if gapped.size:
            low[start + gapped], high[start + gapped], count[start + gapped] = _known(block[gapped])
        middle = 0.5 * low[part] + 0.5 * high[part]
        block[:size] -= middle[:, np.newaxis]
        for row in gapped:
            block[row, ~np.isfinite(block[row])] = 0.0
        cross[part] = (block @ rows)[:size]
        square[part] = np.einsum("ij,ij->i", block[:size], block[:size])
    floor, scale = _scale(low, high, scaling)
    return Moments(
        cross=cross / scale[:, np.newaxis],
        square=square / scale**2,
        count=count,
        floor=floor,
        scale=scale,
        centre=(0.5 * low + 0.5 * high - floor) / scale,
        low=low,
        high=high,
        complete=count == length,
    )


def _known(block: Floats) -> tuple[Floats, Floats, Floats]:
    """Return least, largest and number of the finite readings; 0, 0, 0 where there is none."""
    finite = np.isfinite(block)
    count = finite.sum(axis=1).astype(np.float64)
    low = np.where(finite, block, np.inf).min(axis=1)
    high = np.where(finite, block, -np.inf).max(axis=1)
    return np.where(count > 0, low, 0.0), np.where(count > 0, high, 0.0), count


def _scale(low: Floats, high: Floats, scaling: Scaling) -> tuple[Floats, Floats]:
    """Return (floor, scale) of each series, as Prophet.initialize_scales has them."""
    if scaling == "minmax":
        floor, scale = low, high - low
    else:
        floor, scale = np.zeros_like(low), np.maximum(np.abs(low), np.abs(high))
    return floor, np.where(scale > 0, scale, 1.0)
