"""Fit many series from their statistics: one Gram matrix for all without gaps, else their own."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.gram import Basis, Spectrum, decompose
from detectors.forecast.prophet.masked import distinct_masks, masked_grams
from detectors.forecast.prophet.moments import LEAST_RANGE, Moments
from detectors.forecast.prophet.posterior import maximise
from detectors.forecast.prophet.problem import Start

_MASKS = 1024  # Gram matrices held at once: 35 x 35 doubles each
_CONSTANT_SIGMA = 1e-9  # of a series without any change: prophet's own


class Status(IntEnum):
    """What became of a series."""

    FITTED = 0
    CONSTANT = 1  # all readings alike: the forecast is that value
    TOO_SHORT = 2  # fewer than two readings: no forecast


class Found(NamedTuple):
    """The MAP of S series: coefficients (S, P + K), sigma, loss (S,), status (S,), rounds (S,)."""

    coefficients: Floats
    sigma: Floats
    loss: Floats
    status: NDArray[np.int8]
    rounds: Ints


class Problem(NamedTuple):
    """What all series share, and how each is scaled: floor and scale (S,)."""

    design: Design
    basis: Basis
    shared: Spectrum
    floor: Floats
    scale: Floats


def fit_moments(problem: Problem, moments: Moments, start: Start | None = None) -> Found:
    """Return the MAP of all series; ``start`` (S rows) is where the search begins, if given."""
    found = _nothing(len(moments.middle), problem.design.width)
    found.status[moments.readings >= 2] = Status.FITTED
    level = moments.high - moments.low <= LEAST_RANGE
    found.status[(moments.readings >= 2) & level] = Status.CONSTANT
    fitted = found.status == Status.FITTED
    whole = fitted.copy()
    whole[moments.gapped] = False
    series = np.flatnonzero(whole)
    solve_some(problem, moments, (series, problem.shared, np.zeros_like(series)), start, found)
    with_gaps = np.flatnonzero(fitted[moments.gapped])
    for first in range(0, len(with_gaps), _MASKS):
        some = with_gaps[first : first + _MASKS]
        masks, which = distinct_masks(moments.present[some])
        grams = masked_grams(problem.basis.rows, problem.basis.gram, masks)
        spectrum = decompose(grams, problem.basis.smooth)
        solve_some(problem, moments, (moments.gapped[some], spectrum, which), start, found)
    _set_constant(problem, moments.low, found)
    return found


def _nothing(series: int, width: int) -> Found:
    return Found(
        coefficients=np.full((series, width), np.nan),
        sigma=np.full(series, np.nan),
        loss=np.full(series, np.nan),
        status=np.full(series, Status.TOO_SHORT, dtype=np.int8),
        rounds=np.zeros(series, dtype=np.int64),
    )


def solve_some(
    problem: Problem,
    moments: Moments,
    part: tuple[Ints, Spectrum, Ints],
    start: Start | None,
    found: Found,
) -> None:
    """Solve some series and write them to ``found``.

    part: (N,) which series, the Gram matrices, and (N,) which of those each uses
    """
    series, spectrum, which = part
    if not len(series):
        return
    basis, design, scale = problem.basis, problem.design, problem.scale[series]
    centre = (moments.middle[series] - problem.floor[series]) / scale
    targets = spectrum.targets(
        moments.cross[series] / scale[:, np.newaxis],
        moments.square[series] / scale**2,
        moments.readings[series],
        (which, np.outer(centre, basis.offset)),
    )
    begin = None if start is None else Start(start.knots[series], start.variance[series])
    solution = maximise(spectrum, targets, design.tau, start=begin)
    smooth = np.einsum("nq,pq->np", solution.whitened, basis.whiten)
    smooth[:, design.offset_column] += centre
    found.coefficients[series, : basis.smooth] = smooth
    found.coefficients[series, basis.smooth :] = solution.knots
    found.sigma[series] = np.sqrt(solution.variance)
    found.loss[series] = solution.loss
    found.rounds[series] = solution.rounds


def _set_constant(problem: Problem, level: Floats, found: Found) -> None:
    """Give series without any change prophet's special case: their level and next to no noise."""
    series = np.flatnonzero(found.status == Status.CONSTANT)
    found.coefficients[series] = 0.0
    scaled = (level[series] - problem.floor[series]) / problem.scale[series]
    found.coefficients[series, problem.design.offset_column] = scaled
    found.sigma[series] = _CONSTANT_SIGMA
