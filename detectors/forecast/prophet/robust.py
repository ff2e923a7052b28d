"""Fits that outliers do not bend: iteratively reweighted, by Huber's weights.

A reading whose residual r exceeds c s counts c s / |r| instead of 1, with s the median absolute
residual made comparable to a standard deviation. The weighted problem has the same form as one with
readings missing, so the same solver ends it; n becomes the sum of the weights. Three rounds: a
fourth moves the forecast by 0.7 % of sigma in the median and 10 % at most (measured: 600 series of
a day with 2 % outliers). 0.4 CPU-ms a series of 1,440 readings.
"""

from dataclasses import replace

import numpy as np

from core.types import Floats, Ints
from detectors.forecast.prophet.batch import Found, Problem, Status, solve_some
from detectors.forecast.prophet.gram import decompose
from detectors.forecast.prophet.masked import weighted_grams
from detectors.forecast.prophet.moments import LARGEST, Moments, Values
from detectors.forecast.prophet.product import ROWS, Sliced, expanded

_ROUNDS = 3
_HUBER = 1.345  # 95 % as efficient as least squares on normal noise (Huber, 1981)
_MAD_TO_SD = 1.4826  # of a normal distribution


def reweigh(problem: Problem, moments: Moments, found: Found, values: Values) -> None:
    """Move ``found`` to the robust fit of values (S, T), NaN where missing."""
    weighted = replace(
        moments,
        cross=moments.cross.copy(),
        square=moments.square.copy(),
        readings=moments.readings.copy(),
    )
    fitted = np.flatnonzero(found.status == Status.FITTED)
    for start in range(0, len(fitted), ROWS):
        series = fitted[start : start + ROWS]
        centred = values[series].astype(np.float64)
        centred[~(np.abs(centred) < LARGEST)] = np.nan
        centred -= moments.middle[series, np.newaxis]
        for _ in range(_ROUNDS):
            _round(problem, weighted, (series, centred), found)


def _round(problem: Problem, weighted: Moments, part: tuple[Ints, Floats], found: Found) -> None:
    """Weigh the readings of some series by their residuals and solve them anew."""
    series, centred = part
    rows, full = problem.basis.rows, problem.basis.gram
    model = expanded(found.coefficients[series], problem.design.rows(problem.design.time_s))
    model *= problem.scale[series, np.newaxis]
    model += (problem.floor[series] - weighted.middle[series])[:, np.newaxis]
    known = np.isfinite(centred)
    weight = _weights(np.where(known, centred - model, np.nan))
    sliced = Sliced(rows)
    padded = np.zeros((ROWS, sliced.length))
    moved = padded[: len(series), : len(rows)]
    np.copyto(moved, np.where(known, weight * centred, 0.0))
    weighted.cross[series] = sliced.project(padded)[: len(series)]
    weighted.square[series] = np.einsum("st,st->s", moved, np.where(known, centred, 0.0))
    weighted.readings[series] = weight.sum(axis=1)
    spectrum = decompose(weighted_grams(rows, full, weight), problem.basis.smooth)
    solve_some(problem, weighted, (series, spectrum, np.arange(len(series))), None, found)


def _weights(residual: Floats) -> Floats:
    """Return (N, T) Huber weights of residuals; 0 where NaN."""
    size = np.abs(residual)
    # More than half fitted to the last bit: no scale to judge the others by, so none is judged.
    spread = _HUBER * _MAD_TO_SD * np.nanmedian(size, axis=1, keepdims=True)
    spread = np.where(spread > 0, spread, np.inf)
    return np.where(np.isnan(size), 0.0, 1.0 / np.maximum(size / spread, 1.0))
