"""How unsure the parameters themselves are: the Laplace approximation at the optimum.

Near the optimum the posterior of the coefficients in use is normal with the inverse Hessian

    C = (Z' Z / sigma^2 + L)^-1

over the smooth columns and the changes of rate that are not 0 (the Laplace prior is linear on
either side, so it adds no curvature; a change that is 0 stays so). A forecast with the design row x
then has x' C x more variance. Where residuals last from one reading to the next, n of them say no
more than n (1 - r) / (1 + r) independent ones (Bartlett, 1946), and sigma^2 counts as much more.
"""

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.design import Design

_PART = 512  # series at once: their matrices of 35 x 35 doubles are 5 MB
_MOST_LASTING = 0.999  # of residuals; beyond it they are a random walk and say nothing of the trend


def parameter_variance(
    design: Design,
    time_s: Floats,
    coefficients: Floats,
    sigma: Floats,
    *,
    readings: Floats,
    persistence: Floats | None = None,
) -> Floats:
    """Return (S, H) variance of the forecast's mean at these times; scaled like ``sigma``.

    coefficients: (S, P + K); readings: (S,) usable ones, taken as spread evenly over the window
    NaN where a series has no fit. About 0.1 CPU-ms a series.
    """
    gram = design.rows(design.time_s)
    gram = gram.T @ gram / len(design.time_s)
    ahead = design.rows(time_s)
    out = np.full((len(sigma), len(time_s)), np.nan)
    fitted = np.flatnonzero(np.isfinite(coefficients).all(axis=1) & (sigma > 0))
    lasting = np.zeros(len(sigma)) if persistence is None else persistence
    lasting = np.clip(lasting, 0.0, _MOST_LASTING)
    said = readings / sigma**2 * (1 - lasting) / (1 + lasting)
    for start in range(0, len(fitted), _PART):
        rows = fitted[start : start + _PART]
        out[rows] = _variance(design, gram, ahead, (coefficients[rows], said[rows]))
    return out


def _variance(design: Design, gram: Floats, ahead: Floats, series: tuple[Floats, Floats]) -> Floats:
    """Return (N, H) x' C x; a column not in use is cut out by a 1 on the diagonal and no row."""
    coefficients, said = series
    used = coefficients != 0.0
    used[:, : design.smooth] = True
    hessian = said[:, None, None] * gram * (used[:, :, None] & used[:, None, :])
    diagonal = np.arange(design.width)
    prior = np.zeros(design.width)
    prior[: design.smooth] = design.precision
    hessian[:, diagonal, diagonal] += np.where(used, prior, 1.0)
    rows = ahead[None] * used[:, None, :]
    solved = np.linalg.solve(hessian, rows.transpose(0, 2, 1))
    return np.asarray(np.maximum(np.einsum("nhp,nph->nh", rows, solved), 0.0))
