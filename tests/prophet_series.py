"""Series with known traits for the fleet's Prophet, and prophet.stan's posterior written out."""

import numpy as np

from core.types import Floats
from detectors.forecast import FleetFit

DAY_S = 86_400.0
START_S = 1_700_006_400.0  # midnight UTC


def grid(length: int, step_s: float = 60.0) -> Floats:
    return np.asarray(START_S + step_s * np.arange(length))


def series_with_turns(series: int, length: int, *, seed: int = 0, noise: float = 0.3) -> Floats:
    """Return (S, T) piecewise-linear series about 10 with a daily wave and noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    value = 10 + noise * rng.standard_normal((series, length))
    for _ in range(4):
        turn, slope = rng.integers(0, length, (series, 1)), rng.normal(0, 8, (series, 1))
        value += slope * np.maximum(at - turn, 0) / length
    return np.asarray(value + rng.random((series, 1)) * np.sin(2 * np.pi * at * 60.0 / DAY_S))


def posterior(
    fit: FleetFit, row: int, value: Floats, *, at: Floats | None = None, sigma: float | None = None
) -> float:
    """Return prophet.stan's negative log posterior of a series (T,), NaN where missing.

    at: coefficients to take instead of the fit's; sigma: noise instead of the fit's
    """
    design = fit.design
    w = fit.coefficients[row] if at is None else at
    noise = float(fit.sigma[row]) if sigma is None else sigma
    scaled = (value - fit.floor[row]) / fit.scale[row]
    known = np.isfinite(scaled)
    residual = (scaled - design.rows(design.time_s) @ w)[known]
    smooth = design.smooth
    return float(
        known.sum() * np.log(noise)
        + residual @ residual / (2 * noise**2)
        + 2 * noise**2
        + 0.5 * np.square(w[:smooth]) @ design.precision
        + np.abs(w[smooth:]).sum() / design.tau
    )


def kkt_violation(fit: FleetFit, row: int, value: Floats) -> float:
    """Return by how much the optimum's conditions are missed, as a share of each bound.

    Smooth columns: gradient = 0; knots in use: gradient of the fit = sign / tau; knots at rest: at
    most 1 / tau; noise: 4 v^2 + n v = RSS.
    """
    design = fit.design
    w, variance = fit.coefficients[row], float(fit.sigma[row]) ** 2
    scaled = (value - fit.floor[row]) / fit.scale[row]
    known = np.isfinite(scaled)
    rows = design.rows(design.time_s)[known]
    residual = scaled[known] - rows @ w
    gradient, smooth = rows.T @ residual / variance, design.smooth
    steep = np.abs(rows[:, :smooth]).sum(axis=0) * np.sqrt(variance) / variance
    flat = np.abs(gradient[:smooth] - design.precision * w[:smooth]) / steep
    force, knots = gradient[smooth:] * design.tau, w[smooth:]
    used = knots != 0
    bent = np.where(used, np.abs(force - np.sign(knots)), np.maximum(np.abs(force) - 1, 0))
    rss = residual @ residual
    settled = abs(4 * variance**2 + known.sum() * variance - rss) / rss
    return float(max(flat.max(), bent.max(initial=0.0), settled))
