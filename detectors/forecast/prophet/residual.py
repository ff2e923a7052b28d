"""What the model leaves over, and how long it lasts: a first-order autoregression.

Prophet has no local level: where a series stands above its fit now, it stands above it a minute
later too. With the lag-one autocorrelation r of the residuals and the newest residual e, the
forecast h steps ahead is the model's plus r^h e.
"""

import numpy as np

from core.types import Floats, Ints
from detectors.compiled import compiled
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.moments import LARGEST, Values
from detectors.forecast.prophet.product import ROWS, Sliced


def persistence(
    values: Values, design: Design, coefficients: Floats, scaling: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return (N,) lag-one autocorrelations, 0 to 1, and (N,) newest residuals, scaled.

    values: (N, T);  coefficients: (N, P + K);  scaling: (N,) floor and scale
    Pairs with a reading missing are passed over; a newest reading that is missing leaves 0.
    """
    floor, scale = scaling
    series, length = values.shape
    lasting, newest = np.zeros(series), np.zeros(series)
    sliced = Sliced(design.rows(design.time_s))
    block, fitted = np.zeros((ROWS, length)), np.zeros((ROWS, sliced.length))
    weight = np.zeros((ROWS, design.width))
    for start in range(0, series, ROWS):
        part = slice(start, min(start + ROWS, series))
        size = part.stop - start
        residual = block[:size]
        np.copyto(residual, values[part])
        residual -= floor[part, np.newaxis]
        weight[:size] = coefficients[part] * scale[part, np.newaxis]
        sliced.expand(weight, fitted)
        residual -= fitted[:size, :length]
        newest[part] = residual[:, -1]
        square = np.einsum("ij,ij->i", residual, residual)
        lagged = np.einsum("ij,ij->i", residual[:, 1:], residual[:, :-1])
        # NaN where a reading is missing; what is too large to be used is too large for this too.
        holed = np.flatnonzero(~(square < LARGEST**2))
        if holed.size:
            _sum_known(residual, holed, square, lagged)
        lasting[part] = np.divide(lagged, square, out=np.zeros(size), where=square > 0)
    newest = np.where(np.abs(newest) < LARGEST, newest, 0.0) / scale
    return np.clip(lasting, 0.0, 1.0), newest


@compiled
def _sum_known(residual: Floats, rows: Ints, square: Floats, lagged: Floats) -> None:
    """Write the mean square and the mean product of neighbours of rows with readings missing."""
    for r in rows:
        total, product, count, pairs = 0.0, 0.0, 0, 0
        before = np.nan
        for value in residual[r]:
            if abs(value) < LARGEST:
                total += value * value
                count += 1
                if abs(before) < LARGEST:
                    product += before * value
                    pairs += 1
            before = value
        square[r] = total / max(count, 1)
        lagged[r] = product / max(pairs, 1)
