"""What a user of the fleet's Prophet can get wrong is refused in words, or taken as it is meant."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detectors.forecast import Event, FleetFit, FleetProphet, Regressor, Seasonality
from tests.prophet_series import grid, series_with_turns

TIME_S, VALUE = grid(200), series_with_turns(3, 200)


@pytest.fixture(scope="module")
def fit() -> FleetFit:
    return FleetProphet().fit(TIME_S, VALUE)


def test_dates_are_seconds_of_utc(fit: FleetFit) -> None:
    dates = np.datetime64(0, "s") + (1000 * TIME_S).astype("timedelta64[ms]")
    for unit in ("ms", "us", "ns"):
        dated = FleetProphet().fit(dates.astype(f"datetime64[{unit}]"), VALUE)

        assert np.array_equal(dated.design.time_s, TIME_S)
        assert np.array_equal(dated.mean_at(dates[-1:]), fit.mean_at(TIME_S[-1:]))


def test_masked_readings_are_missing() -> None:
    masked = np.ma.MaskedArray(VALUE, mask=VALUE.mean() < VALUE)

    assert np.array_equal(FleetProphet().fit(TIME_S, masked).readings, masked.count(axis=1))


@pytest.mark.parametrize(
    ("time_s", "values", "words"),
    [
        (["2023-11-14"] * 200, VALUE, "holds str, .*give seconds since the epoch, or datetime64"),
        (1000 * TIME_S, VALUE, "not milliseconds"),
        (TIME_S, VALUE.T, r"give \(series, 200\), a column a time, such as values.T"),
        (TIME_S, VALUE + 1j, "values hold complex"),
        (TIME_S, [["a"] * 200], "values hold str, such as 'a': give numbers"),
    ],
)
def test_data_that_cannot_be_meant_are_refused(time_s: object, values: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FleetProphet().fit(time_s, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda fit: fit.predict(0), "seconds above 0"),
        (lambda fit: fit.predict(600, -60), "seconds above 0"),
        (lambda fit: fit.predict(np.nan), "seconds above 0"),
        (lambda fit: fit.predict(1e12), "1 to 1,000,000"),
        (lambda fit: fit.predict(600, coverage=80), "coverage is 80: give a share"),
        (lambda fit: fit.predict(600, coverage=1), "above 0 and below 1"),
        (lambda fit: fit.breach(np.ones(2)), r"limit has shape \(2,\): give one .* \(3,\)"),
        (lambda fit: fit.breach(60.0, sustain_s=-1), "sustain_s is -1"),
        (lambda fit: fit.to_prophet(3), "row is 3: the fit has 3 series"),
        (lambda fit: fit.to_prophet(0, VALUE), r"shape \(3, 200\).*\(200,\)"),
    ],
)
def test_questions_that_have_no_answer_are_refused(
    fit: FleetFit, ask: Callable[[FleetFit], object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ask(fit)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FleetProphet(weekly="yes"), "weekly is 'yes'"),
        (lambda: FleetProphet(daily=-1), "daily is -1"),
        (lambda: FleetProphet(seasonality_mode="mult"), "'mult'; give additive"),
        (lambda: FleetProphet(changepoint_prior_scale=np.nan), "prior scale nan"),
        (lambda: FleetProphet(n_changepoints=2.5), "n_changepoints is 2.5"),
        (lambda: FleetProphet(changepoints_s=(np.nan,)), "changepoints_s holds NaN"),
        (lambda: Seasonality("shift", np.nan, 3), "period nan"),
        (lambda: Seasonality("shift", 3600.0, 0), "order 0"),
        (lambda: Event("m", (1.0, 2.0)), r"\(start_s, end_s\) pairs"),  # type: ignore[arg-type]
        (lambda: Event("m", ((2.0, 1.0),)), "ends before it starts"),
        (lambda: Regressor("x", TIME_S, np.ones(3)), "a value for each time"),
        (lambda: Regressor("x", TIME_S[::-1], np.ones(200)), "times must rise"),
        (lambda: Regressor("x", TIME_S, np.full(200, np.nan)), "values be known"),
        (
            lambda: FleetProphet(daily=True, seasonalities=(Seasonality("daily", 43_200, 2),)),
            "several effects are called daily",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_what_is_not_settings_is_no_settings() -> None:
    with pytest.raises(TypeError, match="give ProphetSettings or keywords"):
        FleetProphet("linear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("growth", "bounds", "words"),
    [
        ("linear", {"cap": 100.0}, "linear growth has no bounds"),
        ("logistic", {"cap": [1.0, 2.0]}, r"cap has shape \(2,\)"),
        ("logistic", {"cap": np.inf}, "finite capacity"),
    ],
)
def test_bounds_belong_to_logistic_growth(growth: str, bounds: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FleetProphet(growth=growth).fit(TIME_S, VALUE, **bounds)


@pytest.mark.parametrize("keywords", [{}, {"seasonality_mode": "multiplicative", "daily": True}])
def test_a_reading_too_large_to_square_is_missing(keywords: dict[str, Any]) -> None:
    wild, holed = VALUE.copy(), VALUE.copy()
    wild[:, 50], holed[:, 50] = 1e200, np.nan
    with_it, without = (FleetProphet(**keywords).fit(TIME_S, each) for each in (wild, holed))

    assert np.array_equal(with_it.predict(600).mean, without.predict(600).mean)
    assert np.array_equal(with_it.readings, without.readings)


def test_no_new_reading_changes_nothing(fit: FleetFit) -> None:
    assert fit.update([], np.empty((3, 0))) is fit


def test_a_fit_is_exported_as_it_stands(fit: FleetFit) -> None:
    model = fit.to_prophet(1, VALUE[1])
    model.uncertainty_samples = 0
    ahead = model.make_future_dataframe(30, freq="min", include_history=False)

    theirs = model.predict(ahead)["yhat"].to_numpy()
    assert theirs == pytest.approx(fit.mean_at(ahead["ds"].to_numpy())[1], rel=1e-9)


def test_only_a_prophet_is_taken_over() -> None:
    with pytest.raises(TypeError, match="Taking over 'linear': give"):
        FleetProphet.like("linear")
