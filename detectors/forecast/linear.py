"""A straight line through the recent past: the second opinion on a breach."""

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import Series
from detectors.forecast.noise import fit_ar1

# Of the windows tried on leaks in real host memory, four hours gave the best precision at a fixed
# budget of false alarms (Prometheus' predict_linear over 1 h and 4 h compared).
SPAN_S = 4 * 3600.0


class Linear:
    """Least squares over the last four hours; its slope is as unsure as the residuals persist."""

    name = "linear"

    def __init__(self, start_s: float | None = None) -> None:
        """Look at nothing before ``start_s``."""
        self.start_s = -np.inf if start_s is None else start_s

    def paths(
        self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Draw (draws, H): lines within the fit's own error, plus residuals that persist."""
        recent = series.since(max(self.start_s, float(series.time_s[-1]) - SPAN_S))
        known = np.isfinite(recent.value)
        end_s = recent.time_s[-1]
        hours = (recent.time_s - end_s) / 3600.0
        basis = np.stack([np.ones(len(hours)), hours], axis=1)
        line, *_ = np.linalg.lstsq(basis[known], recent.value[known], rcond=None)
        residual = recent.value - basis @ line
        noise = fit_ar1(residual)
        variance = float(np.nanvar(residual)) * noise.fewer
        scatter = variance * np.linalg.pinv(basis[known].T @ basis[known])
        lines = rng.multivariate_normal(line, scatter, size=draws, method="svd")
        future = (ahead_s - end_s) / 3600.0
        steps = (ahead_s - series.time_s[-1]) / series.step_s
        residuals = noise.paths(steps, draws=draws, rng=rng)
        return np.asarray(lines @ np.stack([np.ones(len(future)), future]) + residuals)
