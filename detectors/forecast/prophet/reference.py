"""facebook's own package, one series at a time: the reference; the only file that knows prophet.

It is heavy (1 s and 110 MiB to import, 0.1 s a fit, a child process and two files each), so it is
imported when first needed and ``forecast_reference`` is meant to run in a worker process.
"""

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.types import Floats, Forecast
from core.units import Bad
from detectors.forecast.prophet.breach import crossings_of
from detectors.forecast.prophet.design import chosen_seasonalities
from detectors.forecast.prophet.settings import DAY_S, Event, ProphetSettings, Regressor
from detectors.forecast.task import Crossings, FleetForecast, ForecastTask, Model

# Fewer readings than these say nothing of a trend with noise.
MIN_READINGS = 20
SEED = 1

# Capacity and floor of logistic growth; None: not given.
Bounds = tuple[float | None, float | None]
UNBOUNDED: Bounds = (None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One series as upstream fitted it; parameters are of the scaled series.

    model: the fitted ``prophet.Prophet``; settings: what it was told
    delta: (K,); beta: (B,); objective: its negative log posterior, less constants
    bounds: capacity and floor of logistic growth
    """

    model: Any
    settings: ProphetSettings
    k: float
    m: float
    delta: Floats
    beta: Floats
    sigma: float
    y_scale: float
    objective: float
    bounds: Bounds

    def mean(self, time_s: Floats) -> Floats:
        """Return (H,) the forecast without its uncertainty."""
        frame = frame_of(self.settings, time_s, bounds=self.bounds)
        samples, self.model.uncertainty_samples = self.model.uncertainty_samples, 0
        try:
            return np.asarray(self.model.predict(frame)["yhat"], dtype=np.float64)
        finally:
            self.model.uncertainty_samples = samples

    def draws(self, time_s: Floats, count: int = 1000) -> Floats:
        """Return (count, H) possible futures; the same ones each time."""
        frame = frame_of(self.settings, time_s, bounds=self.bounds)
        self.model.uncertainty_samples = count
        # upstream draws from numpy's global generator.
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(SEED)  # noqa: NPY002
        try:
            return np.asarray(self.model.predictive_samples(frame)["yhat"].T, dtype=np.float64)
        finally:
            np.random.set_state(state)  # noqa: NPY002


def fit(
    settings: ProphetSettings,
    time_s: Floats,
    value: Floats,
    *,
    newton: bool = False,
    bounds: Bounds = UNBOUNDED,
) -> Fitted:
    """Fit one series with upstream and remove the files its optimiser leaves.

    time_s, value: (T,), NaN where not scraped; newton: take the slow, exact optimiser
    bounds: capacity and floor of logistic growth
    """
    known = np.isfinite(value)
    model = unfitted(settings, time_s)
    frame = frame_of(settings, time_s[known], value=value[known], bounds=bounds)
    further = {"algorithm": "Newton"} if newton else {}
    with tempfile.TemporaryDirectory(prefix="gpumedic-prophet-") as folder:
        model.fit(frame, output_dir=folder, **further)
    return _fitted(model, settings, bounds)


def unfitted(settings: ProphetSettings, time_s: Floats) -> Any:
    """Return a ``prophet.Prophet`` with these settings, to be fitted on this grid."""
    pd, prophet = _libraries()
    named = settings.changepoints_s
    model = prophet.Prophet(
        growth=settings.growth,
        changepoints=None if named is None else pd.to_datetime(list(named), unit="s"),
        n_changepoints=settings.n_changepoints,
        changepoint_range=settings.changepoint_range,
        changepoint_prior_scale=settings.changepoint_prior_scale,
        yearly_seasonality=False,
        weekly_seasonality=False,
        daily_seasonality=False,
        seasonality_mode=settings.seasonality_mode,
        scaling=settings.scaling,
    )
    for each in chosen_seasonalities(settings, time_s):
        model.seasonalities[each.name] = {
            "period": each.period_s / DAY_S,
            "fourier_order": each.order,
            "prior_scale": each.prior_scale,
            "mode": each.mode,
            "condition_name": None,
        }
    for event in settings.events:
        model.add_regressor(event.name, event.prior_scale, standardize=False, mode=event.mode)
    for known in settings.regressors:
        model.add_regressor(known.name, known.prior_scale, mode=known.mode)
    return model


def frame_of(
    settings: ProphetSettings,
    time_s: Floats,
    *,
    value: Floats | None = None,
    bounds: Bounds = UNBOUNDED,
) -> Any:
    """Return upstream's table of these times: ds, the effects known ahead, and y if given."""
    pd, _ = _libraries()
    columns: dict[str, Any] = {"ds": pd.to_datetime(time_s, unit="s")}
    if value is not None:
        columns["y"] = np.asarray(value, dtype=np.float64)
    effects: tuple[Event | Regressor, ...] = (*settings.events, *settings.regressors)
    columns |= {effect.name: effect.column(time_s) for effect in effects}
    for name, bound in zip(("cap", "floor"), bounds, strict=True):
        if bound is not None:
            columns[name] = np.full(len(time_s), bound)
    return pd.DataFrame(columns)


def forecast_reference(task: ForecastTask) -> FleetForecast:
    """Forecast each series of a task with upstream; runs in a worker, 0.16 CPU-s a series."""
    series, ahead_s = len(task.targets), ahead(task.time_s, task.horizon_s)
    value = np.array(task.value, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        value[~(np.isfinite(value) & (value >= task.low) & (value <= task.high))] = np.nan
    limit = np.broadcast_to(np.asarray(task.limit, dtype=np.float64), (series,))
    readings = np.isfinite(value).sum(axis=1)
    band = np.full((3, series, len(ahead_s)), np.nan)
    crossed = np.full((4, series), np.nan)
    enough = readings >= MIN_READINGS
    for row in np.flatnonzero(enough):
        band[:, row], crossed[:, row] = _forecast_one(task, value[row], ahead_s, float(limit[row]))
    probability, earliest, expected, latest = crossed
    return FleetForecast(
        forecast=Forecast(
            metric=task.metric,
            targets=task.targets,
            made_at_s=float(task.time_s[-1]),
            time_s=ahead_s,
            mean=band[0],
            lower=band[1],
            upper=band[2],
            coverage=task.coverage,
            model=tuple(str(Model.PROPHET) if one else "" for one in enough),
            skill=np.full(series, np.nan),
        ),
        value=_newest(value),
        readings=readings,
        needed=MIN_READINGS,
        limit=limit,
        bad=task.bad,
        crossings=Crossings(probability, expected, earliest, latest),
    )


def ahead(time_s: Floats, horizon_s: float) -> Floats:
    """Return (H,) the times to forecast: the series' own step, up to the horizon at least."""
    step_s = float(time_s[-1] - time_s[0]) / (len(time_s) - 1)
    steps = max(1, int(np.ceil(horizon_s / step_s - 1e-9)))
    return np.asarray(time_s[-1] + step_s * np.arange(1, steps + 1))


def self_test(_: object) -> float:
    """Fit 60 readings of a ramp and return how many seconds it took; raises where Prophet cannot.

    The import counts: what breaks an installation is Prophet's back end, found at the first fit.
    """
    started_s = time.perf_counter()
    time_s = np.arange(0.0, 3600.0, 60.0)
    fitted = fit(ProphetSettings(), time_s, np.linspace(0.2, 0.5, 60))
    reached = float(fitted.mean(time_s[-1] + 60.0 * np.arange(1, 11))[-1])
    if not 0.5 < reached < 0.6:
        raise ValueError(f"a ramp that reaches 0.55 is forecast at {reached:.3g}")
    return time.perf_counter() - started_s


def _forecast_one(
    task: ForecastTask, value: Floats, ahead_s: Floats, limit: float
) -> tuple[Floats, tuple[float, ...]]:
    """Return (3, H) mean, lower, upper; probability and quantiles of the crossing time."""
    fitted = fit(ProphetSettings(), task.time_s, value)
    draws = np.clip(fitted.draws(ahead_s), task.low, task.high)
    tails = np.quantile(draws, ((1 - task.coverage) / 2, (1 + task.coverage) / 2), axis=0)
    band = np.vstack([np.clip(fitted.mean(ahead_s), task.low, task.high)[None], tails])
    if np.isnan(limit) or task.bad is Bad.NEITHER:
        return band, (np.nan,) * 4
    side = -1.0 if task.bad is Bad.LOW else 1.0
    newest = float(_newest(value[None])[0])
    return band, crossings_of(
        side * (draws - limit),
        side * (newest - limit),
        time_s=ahead_s,
        now_s=float(task.time_s[-1]),
        sustain_s=task.sustain_s,
    )


def _newest(value: Floats) -> Floats:
    """Return (S,) the newest finite reading of each row, NaN where there is none."""
    known = np.isfinite(value)
    at = value.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.where(known.any(axis=1), value[np.arange(len(value)), at], np.nan)


def _fitted(model: Any, settings: ProphetSettings, bounds: Bounds) -> Fitted:
    params: Mapping[str, Floats] = model.params
    return Fitted(
        model=model,
        settings=settings,
        k=float(np.ravel(params["k"])[0]),
        m=float(np.ravel(params["m"])[0]),
        delta=np.ravel(params["delta"]).astype(np.float64),
        beta=np.ravel(params["beta"]).astype(np.float64),
        sigma=float(np.ravel(params["sigma_obs"])[0]),
        y_scale=float(model.y_scale),
        objective=-float(np.ravel(params["lp__"])[0]) if "lp__" in params else np.nan,
        bounds=bounds,
    )


def _libraries() -> tuple[Any, Any]:
    """Import what is heavy, and silence what it would print on import and on each fit."""
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
    import pandas as pd  # noqa: PLC0415  # heavy, and only here
    import prophet  # noqa: PLC0415  # heavy, and only here

    for name in ("prophet", "prophet.models", "cmdstanpy"):
        logging.getLogger(name).disabled = True
    return pd, prophet
