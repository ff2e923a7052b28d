"""The fleet's Prophet takes any data, gives the same answer each time, and learns between fits."""

import subprocess
import sys

import numpy as np
import pytest

from core.units import Bad
from detectors.forecast import FleetProphet, ProphetSettings
from detectors.forecast.prophet.batch import Status
from tests.prophet_series import grid, posterior, series_with_turns

DAILY = ProphetSettings(daily=True)


def test_odd_series_have_a_status_and_no_exception() -> None:
    value = series_with_turns(8, 200)
    value[0] = np.nan
    value[1] = 7.0
    value[2] = np.nan
    value[2, 50] = 3.0
    value[3, 10] = np.inf
    value[4] = 0.0
    value[5, 2:] = np.nan
    value[6] *= 1e12

    fit = FleetProphet().fit(grid(200), value)

    constant, short = Status.CONSTANT, Status.TOO_SHORT
    assert list(fit.status) == [short, constant, short, 0, constant, 0, 0, 0]
    assert list(fit.readings) == [0, 200, 1, 199, 200, 2, 200, 200]
    mean = fit.predict(1800).mean
    assert np.isnan(mean[[0, 2]]).all()
    np.testing.assert_array_equal(mean[[1, 4]], [[7.0] * 30, [0.0] * 30])
    assert np.isfinite(mean[[3, 5, 6, 7]]).all()


@pytest.mark.parametrize("length", [2, 3, 5, 27, 33])
def test_few_readings_are_enough_for_a_fit(length: int) -> None:
    value = series_with_turns(2, length)

    fit = FleetProphet().fit(grid(length), value)

    assert np.isfinite(fit.predict(600).upper).all()
    assert len(fit.design.changepoints) == max(1, min(25, int(0.8 * length) - 1))


def test_a_series_does_not_depend_on_those_beside_it() -> None:
    value = series_with_turns(300, 700)
    value[::7, 100:130] = np.nan
    some = np.array([3, 7, 150, 299, 14])

    together = FleetProphet(DAILY).fit(grid(700), value)
    apart = FleetProphet(DAILY).fit(grid(700), value[some])

    np.testing.assert_array_equal(together.coefficients[some], apart.coefficients)
    np.testing.assert_array_equal(together.loss[some], apart.loss)
    np.testing.assert_array_equal(together.persistence[some], apart.persistence)


def test_the_same_data_give_the_same_bits() -> None:
    value = series_with_turns(100, 500)

    first, second = (FleetProphet().fit(grid(500), value).predict(3600) for _ in range(2))

    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.upper, second.upper)


def test_single_precision_changes_little() -> None:
    value = 1e6 + series_with_turns(50, 1440)

    double = FleetProphet(DAILY).fit(grid(1440), value).predict(7200)
    single = FleetProphet(DAILY).fit(grid(1440), value.astype(np.float32)).predict(7200)

    assert single.mean.dtype == np.float32
    rounding = 0.06  # of a float32 near 1e6
    assert np.median(np.abs(single.mean - double.mean)) < rounding


def test_level_and_unit_do_not_matter_to_the_curve() -> None:
    value = series_with_turns(20, 600)

    plain = FleetProphet().fit(grid(600), value).fitted()
    other = FleetProphet().fit(grid(600), value * 2.0**30).fitted()

    np.testing.assert_allclose(other / 2.0**30, plain, rtol=1e-9)


def test_a_forecast_begins_at_the_newest_reading() -> None:
    rng = np.random.default_rng(0)
    value = 10 + 0.05 * np.cumsum(rng.normal(size=(200, 600)), axis=1)

    with_ar, without = (FleetProphet(ar=ar).fit(grid(600), value).predict(600) for ar in (1, 0))

    truth = value[:, -1]
    assert (
        np.abs(with_ar.mean[:, 0] - truth).mean() < 0.3 * np.abs(without.mean[:, 0] - truth).mean()
    )


def test_a_newest_reading_that_is_missing_leaves_the_model_alone() -> None:
    value = series_with_turns(5, 300)
    value[:, -1] = np.nan

    fit = FleetProphet().fit(grid(300), value)

    np.testing.assert_array_equal(fit.forecast(fit.future(600)), fit.mean_at(fit.future(600)))


def test_rows_of_a_fit_forecast_alike() -> None:
    fit = FleetProphet().fit(grid(300), series_with_turns(40, 300))

    part = fit.rows(np.array([30, 2]))

    np.testing.assert_allclose(part.predict(600).upper, fit.predict(600).upper[[30, 2]], rtol=1e-13)


def test_a_ramp_reaches_its_limit_when_it_should() -> None:
    rng = np.random.default_rng(0)
    value = np.linspace(10, 50, 400) + 0.2 * rng.normal(size=(3, 400))

    crossings = FleetProphet().fit(grid(400), value).breach(60.0, horizon_s=10_800)

    assert (crossings.probability > 0.95).all()
    reached_s = grid(500)[499]
    np.testing.assert_allclose(crossings.expected_s, reached_s, atol=900)
    low = FleetProphet().fit(grid(400), -value).breach(-60.0, horizon_s=10_800, bad=Bad.LOW)
    np.testing.assert_allclose(low.expected_s, reached_s, atol=900)


def test_readings_added_count_as_if_they_had_been_there() -> None:
    time_s, value = grid(1500), series_with_turns(40, 1500)
    value[:10][np.random.default_rng(3).random((10, 1500)) < 0.1] = np.nan
    value[10:20, 1470:1480] = np.nan
    fit = FleetProphet(DAILY).fit(time_s[:1440], value[:, :1440])

    for start in range(1440, 1500, 20):
        fit = fit.update(time_s[start : start + 20], value[:, start : start + 20])

    assert list(fit.readings) == list(np.isfinite(value).sum(axis=1))
    written_out = [posterior(fit, row, value[row]) for row in range(40)]
    np.testing.assert_allclose(fit.loss, written_out, rtol=0, atol=1e-5)
    anew = FleetProphet(DAILY).fit(time_s, value)
    away = np.abs(fit.fitted() - anew.fitted()).mean(axis=1) / np.nanstd(value, axis=1)
    assert np.median(away) < 0.01


def test_a_constant_series_begins_to_move() -> None:
    time_s, value = grid(300), np.full((2, 300), 5.0)
    rng = np.random.default_rng(0)
    value[0, 200:] += rng.normal(1, 0.1, 100)
    value[1] = np.nan
    value[1, 250:] = rng.normal(1, 0.1, 50)
    fit = FleetProphet().fit(time_s[:200], value[:, :200])

    moved = fit.update(time_s[200:], value[:, 200:])

    assert list(fit.status) == [Status.CONSTANT, Status.TOO_SHORT]
    assert list(moved.status) == [Status.FITTED, Status.FITTED]
    written_out = [posterior(moved, row, value[row]) for row in range(2)]
    np.testing.assert_allclose(moved.loss, written_out, rtol=0, atol=1e-5)


def test_an_update_leaves_the_old_fit_as_it_was() -> None:
    time_s, value = grid(310), series_with_turns(3, 310)
    fit = FleetProphet().fit(time_s[:300], value[:, :300])
    before = fit.predict(600).mean

    fit.update(time_s[300:], value[:, 300:])

    np.testing.assert_array_equal(fit.predict(600).mean, before)


def test_outliers_do_not_bend_a_robust_fit() -> None:
    value = series_with_turns(60, 700)
    rng = np.random.default_rng(4)
    dirty = value + np.where(rng.random(value.shape) < 0.03, rng.exponential(20, value.shape), 0)
    clean = FleetProphet().fit(grid(700), value)
    at = clean.future(3600)

    plain = FleetProphet().fit(grid(700), dirty).mean_at(at) - clean.mean_at(at)
    robust = FleetProphet(robust=True).fit(grid(700), dirty).mean_at(at) - clean.mean_at(at)

    assert np.median(np.abs(robust)) < 0.4 * np.median(np.abs(plain))


@pytest.mark.parametrize(
    ("time_s", "value", "words"),
    [
        (grid(10), np.ones((2, 11)), r"\(2, 11\): give \(series, 10\)"),
        (grid(10), np.ones(10), r"\(10,\): give \(series, 10\)"),
        (np.array([0.0, 1, 5]), np.ones((1, 3)), "not an even, rising grid"),
        (grid(10)[::-1], np.ones((1, 10)), "not an even, rising grid"),
        (grid(1), np.ones((1, 1)), "at least two times"),
    ],
)
def test_what_cannot_be_fitted_is_said(time_s: object, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FleetProphet().fit(time_s, value)  # type: ignore[arg-type]


def test_readings_that_do_not_follow_are_refused() -> None:
    time_s, value = grid(300), series_with_turns(2, 300)
    fit = FleetProphet().fit(time_s[:200], value[:, :200])

    with pytest.raises(ValueError, match="must follow the last one"):
        fit.update(time_s[201:203], value[:, 201:203])


def test_no_series_at_all_is_fitted_too() -> None:
    fit = FleetProphet().fit(grid(100), np.empty((0, 100)))

    assert fit.predict(600).mean.shape == (0, 10)


def test_a_forecasting_task_needs_no_compiler() -> None:
    code = "import sys, detectors.forecast.task; sys.exit('numba' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
