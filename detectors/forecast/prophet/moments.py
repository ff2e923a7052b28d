"""All that the fit needs of the readings: one pass over the data, one matrix product.

For a series y of n readings the sufficient statistics are Z'y (P + K numbers), y'y and n. Rows are
read in blocks of fixed size, so a block fits the processor's cache, the data stay float32 where
they are, and a row's result does not depend on how many rows are beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from detectors.forecast.prophet.product import ROWS, Sliced
from detectors.forecast.prophet.settings import Scaling

Values = np.ndarray[tuple[int, int], np.dtype[np.floating]]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sufficient statistics of S series in the readings' unit; what is not finite is missing.

    middle: (S,) of the range, subtracted from each reading before it is summed, so that little is
            lost to rounding where a series moves little about a high level
    cross:  (S, P + K) Z'(y - middle);  square: (S,) |y - middle|^2;  readings: (S,)
    low, high: (S,) least and largest reading, 0 where there is none
    gapped: (G,) which series have readings missing;  present: (G, T / 8) their masks, packed
    """

    middle: Floats
    cross: Floats
    square: Floats
    readings: Floats
    low: Floats
    high: Floats
    gapped: Ints
    present: Bits

    def scaling(self, kind: Scaling) -> tuple[Floats, Floats]:
        """Return (floor, scale) of each series, as Prophet.initialize_scales has them."""
        if kind == "minmax":
            floor, scale = self.low, self.high - self.low
        else:
            floor = np.zeros_like(self.low)
            scale = np.maximum(np.abs(self.low), np.abs(self.high))
        return floor, np.where(scale > 0, scale, 1.0)

    def rows(self, some: Ints) -> "Moments":
        """Return the statistics of some series."""
        at = np.full(len(self.middle), -1)
        at[self.gapped] = np.arange(len(self.gapped))
        gapped = np.flatnonzero(at[some] >= 0)
        return Moments(
            self.middle[some],
            self.cross[some],
            self.square[some],
            self.readings[some],
            self.low[some],
            self.high[some],
            gapped,
            self.present[at[some][gapped]],
        )


def gather(values: Values, rows: Floats) -> Moments:
    """Return the statistics of values (S, T) under a design (T, P + K)."""
    series, length = values.shape
    cross, square = np.empty((series, rows.shape[1])), np.empty(series)
    readings = np.full(series, float(length))
    low, high = np.empty(series), np.empty(series)
    gapped, present = [np.empty(0, np.int64)], [np.empty((0, (length + 7) // 8), np.uint8)]
    sliced = Sliced(rows)
    padded = np.zeros((ROWS, sliced.length))
    for start in range(0, series, ROWS):
        part = slice(start, min(start + ROWS, series))
        used = padded[: part.stop - start, :length]
        np.copyto(used, values[part])
        low[part], high[part] = used.min(axis=1), used.max(axis=1)
        holed = np.flatnonzero(~np.isfinite(low[part] + high[part]))
        if holed.size:
            finite = np.isfinite(used[holed])
            gapped.append(start + holed)
            present.append(np.packbits(finite, axis=1))
            readings[start + holed] = finite.sum(axis=1)
            low[start + holed], high[start + holed] = _range(used[holed], finite)
        used -= (0.5 * low[part] + 0.5 * high[part])[:, np.newaxis]
        if holed.size:
            used[holed] = np.where(finite, used[holed], 0.0)
        cross[part] = sliced.project(padded)[: len(used)]
        square[part] = np.einsum("ij,ij->i", used, used)
    middle = 0.5 * low + 0.5 * high
    masks = np.concatenate(gapped), np.concatenate(present)
    return Moments(middle, cross, square, readings, low, high, *masks)


def _range(block: Floats, finite: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the least and largest finite reading of each row; 0, 0 where there is none."""
    known = finite.any(axis=1)
    low = np.where(finite, block, np.inf).min(axis=1)
    high = np.where(finite, block, -np.inf).max(axis=1)
    return np.where(known, low, 0.0), np.where(known, high, 0.0)
