"""The yardsticks: the last value, and the value one season ago."""

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import Series
from detectors.forecast.noise import Ar1, fit_ar1

DAY_S = 86_400.0
# The lag, as a share of the window, at which the growth of the spread is measured.
LONG_LAG_SHARE = 0.25


class LastValue:
    """Nothing will change: the newest reading, with a spread that grows like past changes did."""

    name = "naive"

    def paths(
        self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Draw (draws, H): a random walk from the last value plus the reading noise."""
        finite = series.value[np.isfinite(series.value)]
        noise, drift = _spread(series.value)
        gap = np.diff((ahead_s - series.time_s[-1]) / series.step_s, prepend=0.0)
        shape = (draws, len(ahead_s))
        walk = np.cumsum(rng.standard_normal(shape) * np.sqrt(drift * gap), axis=1)
        return np.asarray(finite[-1] + walk + np.sqrt(noise) * rng.standard_normal(shape))


class SeasonalNaive:
    """As one period ago, with residuals that persist as they did."""

    name = "seasonal naive"

    def __init__(self, period_s: float = DAY_S) -> None:
        self.period_s = period_s

    def paths(
        self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Draw (draws, H); the series must cover more than one period."""
        known = np.isfinite(series.value)
        time_s, value = series.time_s[known], series.value[known]
        past = np.interp(time_s - self.period_s, time_s, value, left=np.nan)
        residual = np.full(len(series.value), np.nan)
        residual[known] = value - past
        residual[np.flatnonzero(known)[np.isnan(past)]] = np.nan
        spread = fit_ar1(residual - np.nanmean(residual))
        back = np.ceil((ahead_s - series.time_s[-1]) / self.period_s) * self.period_s
        mean = np.interp(ahead_s - back, time_s, value)
        steps = (ahead_s - series.time_s[-1]) / series.step_s
        # The residual now is chance, not level: only its spread is carried on.
        noise = Ar1(spread.persistence, spread.shock, last=0.0)
        return np.asarray(mean + noise.paths(steps, draws=draws, rng=rng))


def seasonal(series: Series) -> bool:
    """Say whether there are two whole days, the least that tells a daily pattern from a trend.

    With less, seasonal naive is by definition the last value.
    """
    return float(series.time_s[-1] - series.time_s[0]) >= 2 * DAY_S


def _spread(value: Floats) -> tuple[float, float]:
    """Split changes into reading noise and drift: var(y[t+h] - y[t]) = noise + h * drift.

    Measured at lag 1 and at a quarter of the window, so that readings that scatter around a level
    do not look like a walk.
    """
    lag = max(2, int(len(value) * LONG_LAG_SHARE))
    near, far = _mean_square(value[1:] - value[:-1]), _mean_square(value[lag:] - value[:-lag])
    drift = max(0.0, (far - near) / (lag - 1))
    return max(0.0, near - drift), drift


def _mean_square(change: Floats) -> float:
    known = change[np.isfinite(change)]
    return float(np.mean(known**2)) if known.size else 0.0
