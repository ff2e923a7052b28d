"""Growth that saturates and seasons that multiply are fitted at least as well as upstream does."""

import numpy as np
import pytest

from core.types import Floats
from detectors.forecast.prophet import reference
from detectors.forecast.prophet.curve import curve_at
from detectors.forecast.prophet.design import make_design
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.prophet.settings import DAY_S, ProphetSettings

GRID_S = 1.7e9 + 600.0 * np.arange(300, dtype=np.float64)
SHARE = np.linspace(0.0, 1.0, 300)
LOGISTIC = ProphetSettings(growth="logistic", daily=False, ar=False)
MULTIPLIED = ProphetSettings(seasonality_mode="multiplicative", daily=True, ar=False)


def saturating(series: int = 6) -> Floats:
    """Fills of a volume of size 1, at different times and rates."""
    rng = np.random.default_rng(0)
    rate, middle = rng.uniform(4, 12, (series, 1)), rng.uniform(0.4, 0.9, (series, 1))
    fill = 0.9 / (1 + np.exp(-rate * (SHARE - middle)))
    return np.asarray(fill + rng.normal(0, 0.02, fill.shape))


def walks(series: int = 6) -> Floats:
    steps = np.random.default_rng(1).normal(0, 0.01, (series, 300))
    return np.clip(0.5 + np.cumsum(steps, axis=1), 0.02, 0.98)


def growing_days(series: int = 6) -> Floats:
    """Daily waves whose height grows with the level."""
    rng = np.random.default_rng(2)
    level = 1 + rng.uniform(-0.5, 2, (series, 1)) * SHARE
    wave = np.sin(2 * np.pi * GRID_S / DAY_S + rng.uniform(0, 6, (series, 1)))
    return np.asarray(level * (1 + 0.3 * wave) + rng.normal(0, 0.05, wave.shape))


@pytest.mark.parametrize(
    ("settings", "value"),
    [(LOGISTIC, saturating()), (LOGISTIC, walks()), (MULTIPLIED, growing_days())],
    ids=["filling", "wandering", "growing days"],
)
def test_no_posterior_is_below_upstreams(settings: ProphetSettings, value: Floats) -> None:
    cap = 1.0 if settings.growth == "logistic" else None

    ours = FleetProphet(settings).fit(GRID_S, value, cap=cap)

    theirs = [reference.fit(settings, GRID_S, one, bounds=(cap, None)).objective for one in value]
    assert np.all(ours.loss <= np.array(theirs) + 0.01)


@pytest.mark.parametrize("logistic", [True, False])
def test_the_curve_is_upstreams(logistic: bool) -> None:
    settings = LOGISTIC if logistic else MULTIPLIED
    value, cap = (saturating(2), 1.0) if logistic else (growing_days(2), None)
    fit = FleetProphet(settings).fit(GRID_S, value, cap=cap)
    ahead = fit.predict(4 * 3600.0)

    exported = reference.Fitted(
        fit.to_prophet(1, value[1]), settings, 0, 0, fit.delta[1], fit.beta[1], 0, 1, 0, (cap, None)
    )

    assert ahead.mean[1] == pytest.approx(exported.mean(ahead.time_s), abs=1e-9)


def test_the_slope_of_the_curve_is_its_difference() -> None:
    settings = ProphetSettings(growth="logistic", seasonality_mode="multiplicative", daily=True)
    design = make_design(settings, GRID_S)
    curve, rng = curve_at(design, GRID_S, "logistic"), np.random.default_rng(0)
    theta, cap = rng.normal(0, 0.3, (1, design.width)), np.ones(1)

    slope = curve.jacobian(theta, cap)[0].T

    nudged = theta + 1e-6 * np.eye(design.width)
    difference = (curve.value(nudged, np.ones(design.width)) - curve.value(theta, cap)) / 1e-6
    assert slope == pytest.approx(difference, abs=1e-4)


def test_a_fill_stays_below_its_capacity() -> None:
    fit = FleetProphet(LOGISTIC).fit(GRID_S, saturating(), cap=1.0, floor=-0.5)

    far = fit.predict(20 * DAY_S, 3600.0)

    assert far.mean.max() <= 1.0 + 1e-9
    assert far.mean.min() >= -0.5 - 1e-9


def test_gaps_and_constant_series_are_fitted_too() -> None:
    value = np.vstack([saturating(2), np.full((1, 300), 0.4), np.full((1, 300), np.nan)])
    value[0, 50:80] = np.nan

    fit = FleetProphet(LOGISTIC).fit(GRID_S, value, cap=1.0)
    ahead = fit.predict(3600.0)

    whole = FleetProphet(LOGISTIC).fit(GRID_S, saturating(2), cap=1.0).predict(3600.0)
    assert ahead.mean[:2] == pytest.approx(whole.mean, abs=0.02)
    assert ahead.mean[2] == pytest.approx(0.4, abs=1e-5)
    assert np.isnan(ahead.mean[3]).all()


@pytest.mark.parametrize("cap", [None, 0.0])
def test_growth_without_room_to_grow_is_refused(cap: float | None) -> None:
    with pytest.raises(ValueError, match="give"):
        FleetProphet(LOGISTIC).fit(GRID_S, saturating(2), cap=cap)


def test_turns_move_a_saturated_series_less() -> None:
    value = saturating(1)
    fit = FleetProphet(LOGISTIC).fit(GRID_S, np.vstack([value, value]), cap=np.array([1.0, 5.0]))

    gain = fit.noise(fit.future(7200.0)).gain

    assert gain is not None
    assert np.abs(gain[0]).max() < np.abs(gain[1]).max()


def test_unsure_parameters_widen_an_interval_the_further_the_more() -> None:
    fit = FleetProphet(ProphetSettings(daily=False, ar=False)).fit(GRID_S, walks())

    plain, wider = fit.predict(DAY_S), fit.predict(DAY_S, parameters=True)

    more = (wider.upper - wider.lower) / (plain.upper - plain.lower)
    assert np.all(more > 1)
    assert np.all(wider.upper[:, -1] - plain.upper[:, -1] > wider.upper[:, 0] - plain.upper[:, 0])
