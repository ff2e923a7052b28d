"""All that the fit needs of the readings: one pass over the data, one matrix product.

For a series y of n readings the sufficient statistics are Z'y (P + K numbers), y'y and n. Rows are
read in blocks of fixed size, so a block fits the processor's cache, the data stay float32 where
they are, and a row's result does not depend on how many rows are beside it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from detectors.compiled import compiled
from detectors.forecast.prophet.product import ROWS, Sliced
from detectors.forecast.prophet.settings import Scaling

Values = np.ndarray[tuple[int, int], np.dtype[np.floating]]
Bits = NDArray[np.uint8]

# Beyond these a square is infinite or 0: such a reading is missing, such a range is none at all.
LARGEST, LEAST_RANGE = 1e150, 1e-150


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Sufficient statistics of S series in the readings' unit; NaN and infinity are missing.

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


def check_shape(values: Any, time_s: Floats) -> None:
    """Raise ValueError unless values are (S, T), a column a time."""
    if values.ndim != 2 or values.shape[1] != len(time_s):
        turned = tuple(values.shape)[:1] == (len(time_s),) and values.ndim == 2
        raise ValueError(
            f"values have shape {tuple(values.shape)}: give (series, {len(time_s)}), a column a "
            f"time{', such as values.T' if turned else ''}"
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
        holed = np.flatnonzero(~((low[part] > -LARGEST) & (high[part] < LARGEST)))
        if holed.size:
            masks = np.zeros((len(holed), present[0].shape[1]), np.uint8)
            found = np.zeros((3, len(holed)))
            _survey(used, holed, masks, found)
            low[start + holed], high[start + holed], readings[start + holed] = found
            gapped.append(start + holed)
            present.append(masks)
        used -= (0.5 * low[part] + 0.5 * high[part])[:, np.newaxis]
        if holed.size:
            fill(used, holed)
        cross[part] = sliced.project(padded)[: len(used)]
        square[part] = np.einsum("ij,ij->i", used, used)
    middle = 0.5 * low + 0.5 * high
    known = np.concatenate(gapped), np.concatenate(present)
    return Moments(middle, cross, square, readings, low, high, *known)


@compiled
def _survey(block: Floats, rows: Ints, masks: Bits, found: Floats) -> None:
    """Write the masks of some rows (R,), packed, and their least, largest and number of readings.

    What is too large becomes NaN, so that no arithmetic with it is done. No reading: 0, 0, 0.
    """
    for r in range(len(rows)):
        row = block[rows[r]]
        low, high, count = np.inf, -np.inf, 0
        for t in range(len(row)):
            value = row[t]
            if abs(value) < LARGEST:
                low, high, count = min(low, value), max(high, value), count + 1
                masks[r, t >> 3] |= 128 >> (t & 7)
            else:
                row[t] = np.nan
        found[0, r], found[1, r], found[2, r] = (low, high, count) if count else (0.0, 0.0, 0)


@compiled
def fill(block: Floats, rows: Ints) -> None:
    """Set what is missing in some rows to 0."""
    for r in range(len(rows)):
        row = block[rows[r]]
        for t in range(len(row)):
            if not np.isfinite(row[t]):
                row[t] = 0.0
