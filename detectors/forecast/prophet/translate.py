"""From facebook's Prophet to the fleet's: what a configured model asks for, as settings.

Nothing is imported here: a model that is handed in brings its own package along.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.settings import (
    DAY_S,
    Event,
    ProphetSettings,
    Regressor,
    Seasonality,
)


def settings_of(model: Any, frame: Any = None, *, ar: bool = False) -> ProphetSettings:
    """Return the settings of a configured ``prophet.Prophet``, fitted or not.

    frame: a table with ``ds`` and the columns of the model's extra regressors, past and future;
           needed only where there are some
    TypeError for anything else than such a model, ValueError where it asks for what the fleet's
    Prophet does not do.
    """
    if not hasattr(model, "extra_regressors"):
        raise TypeError(f"Taking over {model!r}: give a prophet.Prophet, such as Prophet()")
    _refuse_what_is_not_done(model)
    decided = model.history is not None  # which built-in seasonalities are on
    return ProphetSettings(
        growth=model.growth,
        n_changepoints=model.n_changepoints,
        changepoint_range=model.changepoint_range,
        changepoint_prior_scale=model.changepoint_prior_scale,
        changepoints_s=_seconds(model.changepoints) if model.specified_changepoints else None,
        yearly=not decided and model.yearly_seasonality,
        weekly=not decided and model.weekly_seasonality,
        daily=not decided and model.daily_seasonality,
        seasonality_mode=model.seasonality_mode,
        seasonality_prior_scale=model.seasonality_prior_scale,
        seasonalities=_seasonalities(model),
        events=_holidays(model),
        regressors=_regressors(model, frame),
        scaling=model.scaling,
        ar=ar,
    )


def _refuse_what_is_not_done(model: Any) -> None:
    conditional = [n for n, s in model.seasonalities.items() if s["condition_name"] is not None]
    refused = (
        (model.mcmc_samples, f"mcmc_samples={model.mcmc_samples}: set it to 0 (MAP)"),
        (conditional, f"seasonalities with a condition ({', '.join(conditional)}): leave it out"),
        (
            model.country_holidays,
            f"the holidays of {model.country_holidays}: list their dates in holidays=",
        ),
    )
    for asked, text in refused:
        if asked:
            raise ValueError(f"Taking over a Prophet model: the fleet's does not do {text}.")


def _seasonalities(model: Any) -> tuple[Seasonality, ...]:
    """Return those added by hand; a fitted model lists the built-in ones that are on as well."""
    return tuple(
        Seasonality(
            name, each["period"] * DAY_S, each["fourier_order"], each["prior_scale"], each["mode"]
        )
        for name, each in model.seasonalities.items()
    )


def _holidays(model: Any) -> tuple[Event, ...]:
    """Return an event for each holiday and each day around it, as upstream has a column each."""
    if model.holidays is None:
        return ()
    windows: dict[str, list[tuple[float, float]]] = {}
    scales: dict[str, float] = {}
    for row in model.holidays.to_dict("records"):
        day_s = np.floor(row["ds"].timestamp() / DAY_S) * DAY_S
        scale = float(row.get("prior_scale", np.nan))
        for offset in range(_whole(row.get("lower_window")), _whole(row.get("upper_window")) + 1):
            name = row["holiday"] if offset == 0 else f"{row['holiday']}{offset:+d}"
            start_s = float(day_s + offset * DAY_S)
            windows.setdefault(name, []).append((start_s, start_s + DAY_S))
            scales[name] = model.holidays_prior_scale if np.isnan(scale) else scale
    return tuple(
        Event(name, tuple(days), scales[name], model.holidays_mode)
        for name, days in sorted(windows.items())
    )


def _regressors(model: Any, frame: Any) -> tuple[Regressor, ...]:
    if model.extra_regressors and frame is None:
        names = ", ".join(model.extra_regressors)
        raise ValueError(
            f"Taking over a Prophet model with the regressors {names}: their values are not "
            "known to it; give a frame with ds and these columns, past and future."
        )
    return tuple(_regressor(name, each, frame) for name, each in model.extra_regressors.items())


def _regressor(name: str, asked: Mapping[str, Any], frame: Any) -> Regressor:
    lacking = [column for column in ("ds", name) if column not in frame]
    if lacking:
        raise ValueError(
            f"Taking over a Prophet model with the regressor {name}: the frame has no column "
            f"{' and no '.join(lacking)}; it has {', '.join(map(str, frame))}."
        )
    value = np.asarray(frame[name], dtype=np.float64)
    wanted = asked["standardize"]
    if wanted != "auto" and wanted is set(value) <= {0.0, 1.0}:
        raise ValueError(
            f"Taking over a Prophet model: the fleet's standardises regressors but those of 0 and "
            f"1; {name} was added with standardize={wanted}: leave that at auto."
        )
    times = np.array(_seconds(frame["ds"]))
    return Regressor(name, times, value, asked["prior_scale"], asked["mode"])


def _seconds(dates: Any) -> tuple[float, ...]:
    """Return dates as seconds since the epoch; upstream's dates have no zone and mean UTC."""
    since: Floats = np.asarray(dates, dtype="datetime64[ns]").astype(np.int64) / 1e9
    return tuple(float(each) for each in since)


def _whole(offset: Any) -> int:
    return 0 if offset is None or np.isnan(offset) else int(offset)
