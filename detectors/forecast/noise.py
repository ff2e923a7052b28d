"""Residuals as a first-order autoregression: what is off now stays off for a while."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats

# Above this a residual is a random walk, and one window cannot tell how far it will go.
MAX_PERSISTENCE = 0.99


@dataclass(frozen=True, slots=True)
class Ar1:
    """r[t] = persistence * r[t-1] + N(0, shock); ``last`` is the residual now."""

    persistence: float
    shock: float
    last: float

    @property
    def fewer(self) -> float:
        """Return how many of these residuals say as much as one independent one (Bartlett)."""
        return (1 + self.persistence) / (1 - self.persistence)

    def paths(self, steps: Floats, *, draws: int, rng: np.random.Generator) -> Floats:
        """Draw futures of the residual.

        steps: (H,) distance ahead in steps of the series, increasing
        returns (draws, H)
        """
        gap = np.diff(steps, prepend=0.0)
        keep = self.persistence**gap
        spread = self.shock * np.sqrt(_variance(self.persistence, gap))
        noise = rng.standard_normal((draws, len(steps))) * spread
        residual = np.full(draws, self.last)
        out = np.empty_like(noise)
        for step in range(len(steps)):
            residual = residual * keep[step] + noise[:, step]
            out[:, step] = residual
        return out


def fit_ar1(residual: Floats) -> Ar1:
    """Fit to residuals (T,) with NaN for gaps; the last finite one decays over the gap after it."""
    finite = np.isfinite(residual)
    pair = finite[1:] & finite[:-1]
    before, after = residual[:-1][pair], residual[1:][pair]
    energy = float(before @ before)
    persistence = float(np.clip(before @ after / energy, 0, MAX_PERSISTENCE)) if energy else 0.0
    shocks = after - persistence * before
    shock = float(np.sqrt(np.mean(shocks**2))) if shocks.size else float(np.nanstd(residual))
    newest = int(np.flatnonzero(finite)[-1])
    last = float(residual[newest]) * persistence ** (len(residual) - 1 - newest)
    return Ar1(persistence, shock, last)


def _variance(persistence: float, gap: Floats) -> Floats:
    """Return the variance that ``gap`` steps of unit shocks add up to."""
    if persistence == 0:
        return np.ones_like(gap)
    square = persistence**2
    return np.asarray((1 - square**gap) / (1 - square))
