"""Upstream's Prophet runs behind one adapter, leaves no file, and its settings carry over."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.target import Target
from core.types import Floats
from detectors.forecast.prophet.design import make_design
from detectors.forecast.prophet.reference import forecast_reference
from detectors.forecast.prophet.settings import DAY_S
from detectors.forecast.prophet.translate import settings_of
from detectors.forecast.task import FleetForecast, ForecastTask, Model

TIME_S = np.arange(480, dtype=np.float64) * 60.0 + 1.7e9
HOUR_S = 3600.0


def ramp(noise: float = 0.005) -> Floats:
    return np.asarray(np.linspace(0.3, 0.6, 480) + np.random.default_rng(0).normal(0, noise, 480))


def forecast(value: Floats, **rest: Any) -> FleetForecast:
    targets = tuple(Target(node=f"n{row}") for row in range(len(value)))
    return forecast_reference(
        ForecastTask("volume_used_ratio", targets, TIME_S, value, 2 * HOUR_S, **rest)
    )


FIT_AND_LOOK = """
import pathlib, tempfile
from detectors.forecast.prophet import reference
reference.self_test(None)
print([str(p) for p in pathlib.Path(tempfile.gettempdir()).rglob("*") if p.is_file()])
"""


def test_a_fit_leaves_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIT_AND_LOOK],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_a_ramp_goes_on_and_its_limit_is_dated() -> None:
    answer = forecast(ramp()[None], limit=0.63, bad="high")

    assert answer.forecast.mean[0, -1] == pytest.approx(0.6 + 0.3 * 120 / 479, abs=0.01)
    assert answer.crossings.probability[0] > 0.95
    assert answer.crossings.expected_s[0] == pytest.approx(TIME_S[-1] + 48 * 60, abs=600)
    assert answer.forecast.model == (Model.PROPHET,)


def test_the_same_readings_give_the_same_interval() -> None:
    value = ramp()[None]

    first, second = forecast(value).forecast, forecast(value).forecast

    assert np.array_equal(first.lower, second.lower)
    assert np.array_equal(first.upper, second.upper)


def test_too_few_readings_are_no_forecast() -> None:
    value = np.full((2, 480), np.nan)
    value[0] = ramp()
    value[1, :19] = 0.5

    answer = forecast(value)

    assert answer.forecast.model == (Model.PROPHET, "")
    assert np.isnan(answer.forecast.mean[1]).all()
    assert answer.readings.tolist() == [480, 19]


def test_what_is_out_of_range_is_passed_over_and_never_forecast() -> None:
    value = ramp()[None].copy()
    value[0, 100:110] = 1e9

    answer = forecast(value, low=0.0, high=0.62)

    assert answer.readings[0] == 470
    assert answer.forecast.upper.max() <= 0.62


def test_a_configured_model_carries_over_column_by_column() -> None:
    pandas, prophet = pytest.importorskip("pandas"), pytest.importorskip("prophet")
    days = pandas.DataFrame(
        {
            "holiday": "maintenance",
            "ds": pandas.to_datetime([1.7e9 // DAY_S * DAY_S], unit="s"),
            "lower_window": -1,
            "upper_window": 1,
        }
    )
    model = prophet.Prophet(
        n_changepoints=7, changepoint_range=0.9, daily_seasonality=3, holidays=days
    )
    model.add_seasonality("shift", period=0.2, fourier_order=2, prior_scale=4.0)
    model.add_regressor("load")
    grid_s = 1.7e9 + 1200.0 * np.arange(200, dtype=np.float64)
    load = np.random.default_rng(0).normal(5, 2, 200)
    frame = pandas.DataFrame({"ds": pandas.to_datetime(grid_s, unit="s"), "y": load, "load": load})

    design = make_design(settings_of(model, frame), grid_s)
    inputs = model.preprocess(frame)

    assert design.changepoints == pytest.approx(np.asarray(inputs.t_change))
    ours, theirs = design.effect_rows(grid_s).T, np.asarray(inputs.X).T
    order = [int(np.abs(theirs - column[None]).max(axis=1).argmin()) for column in ours]
    assert sorted(order) == list(range(len(theirs)))
    assert ours == pytest.approx(theirs[order], abs=1e-6)
    scales = 1 / np.sqrt(design.precision[design.first_effect :])
    assert scales == pytest.approx(np.asarray(inputs.sigmas)[order])


@pytest.mark.parametrize("wish", [{"mcmc_samples": 100}, {}])
def test_what_is_not_done_is_refused_in_words(wish: dict[str, int]) -> None:
    prophet = pytest.importorskip("prophet")
    model = prophet.Prophet(**wish)
    if not wish:
        model.add_country_holidays("DE")

    with pytest.raises(ValueError, match=r"MAP|list their dates"):
        settings_of(model)
