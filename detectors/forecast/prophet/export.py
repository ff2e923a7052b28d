"""A fitted series of a fleet as facebook's own object, to plot or to cross-check."""

from typing import Any

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.prediction import Fit
from detectors.forecast.prophet.reference import UNBOUNDED, frame_of, unfitted


def to_prophet(fit: Fit, row: int, value: Floats | None = None) -> Any:
    """Return one series of a fleet's fit as a fitted ``prophet.Prophet``.

    value: (T,) its readings, for upstream's plots; without them the fitted curve stands for them
    Its forecasts are the fleet's without the AR residual; its intervals are upstream's own. Events
    are extra regressors of it: what it predicts needs a column each, 1 within and 0 outside.
    """
    if not 0 <= row < len(fit):
        raise ValueError(f"row is {row}: the fit has {len(fit)} series, counted from 0")
    time_s, one = fit.design.time_s, fit.rows(np.arange(row, row + 1))
    if value is not None and np.shape(value) != time_s.shape:
        raise ValueError(
            f"value has shape {np.shape(value)}: give the readings of this series, {time_s.shape}"
        )
    known = np.ones(len(time_s), dtype=bool) if value is None else np.isfinite(value)
    past = one.mean_at(time_s)[0] if value is None else np.asarray(value, dtype=np.float64)
    floor, scale = float(one.floor[0]), float(one.scale[0])
    # With "minmax" upstream takes its y_min for the floor, which is set below.
    named = floor if floor != 0.0 and fit.settings.scaling == "absmax" else None
    bounds = (floor + scale * float(one.cap[0]), named)
    model = unfitted(fit.settings, time_s)
    model.preprocess(
        frame_of(
            fit.settings,
            time_s[known],
            value=past[known],
            bounds=bounds if fit.settings.growth == "logistic" else UNBOUNDED,
        )
    )
    model.y_scale, model.y_min = scale, floor
    model.history["floor"] = floor
    model.history["y_scaled"] = (model.history["y"] - floor) / scale
    # upstream has a column of zeros where there is no season, and a changepoint where there is none
    model.params = {
        "k": one.k[:, None],
        "m": one.m[:, None],
        "delta": one.delta if one.delta.size else np.zeros((1, len(model.changepoints_t))),
        "sigma_obs": one.sigma[:, None],
        "beta": one.beta if one.beta.size else np.zeros((1, 1)),
    }
    return model
