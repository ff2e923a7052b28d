"""From Gram matrices and sufficient statistics to the maximum of the posterior, for many series."""

from typing import NamedTuple

import numpy as np

from core.types import Floats, Ints
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.gram import Spectrum, decompose
from detectors.forecast.prophet.path import follow_paths
from detectors.forecast.prophet.polish import polish
from detectors.forecast.prophet.problem import Solution, Start, Targets


class Statistics(NamedTuple):
    """What N series bring along under some design: (N, P + K) Z'y, (N,) y'y, (N,) readings."""

    cross: Floats
    square: Floats
    readings: Floats


def maximise(
    spectrum: Spectrum, targets: Targets, tau: float, *, start: Start | None = None
) -> Solution:
    """Return the MAP of N series, the whitened coefficients turned back to the common basis.

    start: where to begin the search instead of at the end of the path
    """
    count, smooth = targets.smooth.shape
    knots = targets.knots.shape[1]
    if start is None:
        start = Start(np.empty((count, knots)), np.empty(count))
        follow_paths(spectrum.quadratic, targets, tau, start)
    solution = Solution(
        whitened=np.empty((count, smooth)),
        knots=np.empty((count, knots)),
        variance=np.empty(count),
        loss=np.empty(count),
        rounds=np.zeros(count, dtype=np.int64),
    )
    polish(spectrum.quadratic, targets, tau, start, solution)
    return solution._replace(whitened=spectrum.unturned(solution.whitened, targets.which))


def maximise_each(design: Design, grams: Floats, statistics: Statistics) -> Solution:
    """Return the MAP of N series that have a design each; ``whitened`` are plain coefficients.

    grams: (N, P + K, P + K) Z'Z of each, in the order of the design's columns
    """
    smooth = design.smooth
    root = np.ones(design.width)
    root[:smooth] = 1.0 / np.sqrt(design.precision)
    spectrum = decompose(grams * (root[:, np.newaxis] * root), smooth)
    which: Ints = np.arange(len(grams))
    targets = spectrum.targets(
        statistics.cross * root, statistics.square, statistics.readings, (which, None)
    )
    solution = maximise(spectrum, targets, design.tau)
    return solution._replace(whitened=solution.whitened * root[:smooth])
