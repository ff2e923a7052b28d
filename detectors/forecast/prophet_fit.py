"""Prophet behind the PathModel interface; the only file that knows prophet and pandas."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import Series
from detectors.forecast.grid import thinned
from detectors.forecast.naive import DAY_S, seasonal
from detectors.forecast.noise import fit_ar1

MIN_POINTS = 20
CHANGEPOINTS = 25
# Prior scale of changes in slope. Measured on real GPU, GPU memory and host memory series, 480
# points at one minute: 0.005 was best with the residual correction below (2 h error 0.90 against
# 0.99 for the default 0.05), and the often advised 0.5 with changepoints up to the end was 2.4
# times worse. The leaks that start within the window need the default's quicker trend.
CHANGEPOINT_PRIOR_SCALE = 0.05
CHANGEPOINT_RANGE = 0.8
SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A fitted trend: yhat on the past and the future, and how unsteady the slope has been."""

    past: Floats
    future: Floats
    scale: float
    span_s: float
    unsteadiness: float
    changepoints: int


class Prophet:
    """Linear growth with changepoints, daily and weekly seasons where two periods are there.

    Prophet has no local level: a series that has left its trend line is forecast to jump back to
    it. The residual is therefore carried on as a first-order autoregression, which took 23 % off
    the error half an hour ahead on one-minute service metrics.
    """

    name = "prophet"

    def __init__(self, start_s: float | None = None) -> None:
        """Look at the readings from ``start_s`` on only, or at all."""
        self.start_s = start_s
        if start_s is not None:
            self.name = "prophet (recent trend)"

    def paths(
        self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Draw (draws, H): trend, seasons, slope changes as often as in the past, residual."""
        seen = series if self.start_s is None else series.since(self.start_s)
        fit = _fit(seen, ahead_s)
        steps = (ahead_s - seen.time_s[-1]) / seen.step_s
        residual = fit_ar1(seen.value - fit.past)
        turns = _turns(fit, np.diff(ahead_s, prepend=seen.time_s[-1]), draws=draws, rng=rng)
        lean = rng.standard_normal((draws, 1)) * _slope_error(seen, fit, residual.fewer)
        trend = fit.future + turns + lean * (ahead_s - seen.time_s[-1])
        return np.asarray(trend + residual.paths(steps, draws=draws, rng=rng))


def _fit(series: Series, ahead_s: Floats) -> _Fit:
    pd, prophet = _libraries()
    # The trend is learnt from averages, what readings scatter around it from the readings.
    learnt = thinned(series)
    known = np.isfinite(learnt.value)
    model = prophet.Prophet(
        growth="linear",
        n_changepoints=CHANGEPOINTS,
        changepoint_range=CHANGEPOINT_RANGE,
        changepoint_prior_scale=CHANGEPOINT_PRIOR_SCALE,
        yearly_seasonality=False,
        weekly_seasonality=float(series.time_s[-1] - series.time_s[0]) >= 14 * DAY_S,
        daily_seasonality=seasonal(series),
        uncertainty_samples=0,
    )
    ds = pd.to_datetime(np.concatenate([series.time_s, ahead_s]), unit="s")
    dates = pd.to_datetime(learnt.time_s[known], unit="s")
    frame = pd.DataFrame({"ds": dates, "y": learnt.value[known]})
    # Below 100 points prophet takes Newton, which was 4 to 6 times slower here for the same answer.
    model.fit(frame, seed=SEED, algorithm="LBFGS")
    yhat: Any = model.predict(pd.DataFrame({"ds": ds}))["yhat"].to_numpy(dtype=np.float64)
    if model.stan_backend is not None:
        model.stan_backend.cleanup()
    return _Fit(
        past=yhat[: len(series.time_s)],
        future=yhat[len(series.time_s) :],
        scale=float(model.y_scale or 1.0),
        span_s=float(series.time_s[-1] - series.time_s[0]),
        unsteadiness=float(np.abs(model.params["delta"]).mean()),
        changepoints=np.size(model.changepoints_t),
    )


def _slope_error(series: Series, fit: _Fit, fewer: float) -> float:
    """Return how unsure the last slope is, per second: Prophet gives the likeliest one only.

    As for a line through the newer half of the readings, that being what settles the last slope.
    """
    newer = slice(len(series.value) // 2, None)
    residual = (series.value - fit.past)[newer]
    time_s = series.time_s[newer][np.isfinite(residual)]
    spread = float(np.sum((time_s - time_s.mean()) ** 2)) if time_s.size else 0.0
    return float(np.sqrt(np.nanvar(residual) * fewer / spread)) if spread else 0.0


def _libraries() -> tuple[Any, Any]:
    """Import what is heavy, and silence what it would print on import and on each fit."""
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
    import pandas as pd  # noqa: PLC0415  # heavy, and only here
    import prophet  # noqa: PLC0415  # heavy, and only here

    for name in ("prophet", "prophet.models", "cmdstanpy"):
        logging.getLogger(name).disabled = True
    return pd, prophet


def _turns(fit: _Fit, gap_s: Floats, *, draws: int, rng: np.random.Generator) -> Floats:
    """Draw how the trend may yet turn: (draws, H), by Prophet's own assumption about it.

    The slope changes as often and, by a Laplace law, as much as it did in the past. Drawn here for
    all paths at once on any spacing; prophet's own sampling takes as long as a fit.
    """
    gap = gap_s / fit.span_s
    turns = rng.poisson(fit.changepoints * gap, (draws, len(gap)))
    size = rng.laplace(0, fit.unsteadiness + 1e-8, turns.shape) * np.sqrt(turns)
    slope = np.cumsum(size, axis=1)
    # A turn falls in the middle of its interval on average.
    return np.asarray(fit.scale * np.cumsum((slope - size / 2) * gap, axis=1))


def self_test(_: object) -> float:
    """Fit 60 readings of a ramp and return how many seconds it took; raises where Prophet cannot.

    The import counts: what breaks an installation is Prophet's back end, found at the first fit.
    """
    start_s = time.perf_counter()
    grid_s = np.arange(0.0, 3600.0, 60.0)
    series = Series(grid_s, np.linspace(0.2, 0.5, 60))
    paths = Prophet().paths(
        series, grid_s[-1] + 60.0 * np.arange(1, 11), draws=10, rng=np.random.default_rng(0)
    )
    if not 0.5 < float(np.median(paths[:, -1])) < 0.6:
        raise ValueError(f"a ramp that reaches 0.55 is forecast at {np.median(paths[:, -1]):.3g}")
    return time.perf_counter() - start_s
