"""What the model leaves over, and how long it lasts: a first-order autoregression.

Prophet has no local level: where a series stands above its fit now, it stands above it a minute
later too. With the lag-one autocorrelation r of the residuals and the newest residual e, the
forecast h steps ahead is the model's plus r^h e.
"""

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.moments import Values
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
        np.copyto(block[:size], values[part])
        block[:size] -= floor[part, np.newaxis]
        weight[:size] = coefficients[part] * scale[part, np.newaxis]
        sliced.expand(weight, fitted)
        block -= fitted[:, :length]
        residual = block[:size]
        known = np.isfinite(residual[:, -1])
        newest[part] = np.where(known, residual[:, -1], 0.0) / scale[part]
        square = np.einsum("ij,ij->i", residual, residual)
        missing = ~np.isfinite(square)
        if missing.any():
            residual[~np.isfinite(residual)] = 0.0
            square = np.einsum("ij,ij->i", residual, residual)
        lagged = np.einsum("ij,ij->i", residual[:, 1:], residual[:, :-1])
        lasting[part] = np.divide(lagged, square, out=np.zeros(size), where=square > 0)
    return np.clip(lasting, 0.0, 1.0), newest
