"""The fleet's Prophet is facebook's model at its true optimum."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from core.types import Floats
from detectors.forecast import FleetFit, FleetProphet, ProphetSettings
from detectors.forecast.prophet.settings import Event, Regressor, Seasonality
from tests.prophet_series import grid, kkt_violation, posterior, series_with_turns

DAILY = ProphetSettings(daily=True)


def brute_force(fit: FleetFit, row: int, value: Floats) -> float:
    """Return the least posterior that a general optimiser finds: knots split into + and -."""
    smooth, knots = fit.design.smooth, len(fit.design.changepoints)

    def loss(x: Floats) -> float:
        w = np.concatenate([x[:smooth], x[smooth : smooth + knots] - x[smooth + knots : -1]])
        return posterior(fit, row, value, at=w, sigma=float(np.exp(x[-1])))

    bounds = [(None, None)] * smooth + [(0, None)] * (2 * knots) + [(-12, 2)]
    start = np.concatenate([np.zeros(smooth), np.full(2 * knots, 0.01), [-1.0]])
    options = {"maxiter": 20_000, "maxfun": 400_000, "ftol": 1e-13, "gtol": 1e-9}
    return float(minimize(loss, start, bounds=bounds, method="L-BFGS-B", options=options).fun)


@pytest.mark.parametrize("seed", range(4))
def test_no_general_optimiser_finds_a_better_point(seed: int) -> None:
    time_s, value = grid(80), series_with_turns(1, 80, seed=seed)
    model = FleetProphet(n_changepoints=4, changepoint_prior_scale=0.5)

    fit = model.fit(time_s, value)

    assert fit.loss[0] <= brute_force(fit, 0, value[0]) + 1e-6


@given(seed=st.integers(0, 10_000), noise=st.sampled_from([1e-4, 0.01, 0.3, 5.0]))
@settings(max_examples=25, deadline=None)
def test_the_optimum_meets_its_conditions(seed: int, noise: float) -> None:
    time_s, value = grid(300), series_with_turns(3, 300, seed=seed, noise=noise)

    fit = FleetProphet().fit(time_s, value)

    assert max(kkt_violation(fit, row, value[row]) for row in range(3)) < 1e-5


def test_the_objective_is_that_of_prophet_stan() -> None:
    time_s, value = grid(2 * 1440 + 1), series_with_turns(5, 2 * 1440 + 1)

    fit = FleetProphet().fit(time_s, value)

    assert [b.effect.name for b in fit.design.blocks] == ["daily"]
    written_out = [posterior(fit, row, value[row]) for row in range(5)]
    np.testing.assert_allclose(fit.loss, written_out, rtol=0, atol=1e-6)


def test_no_small_step_lowers_the_objective() -> None:
    time_s, value = grid(1440), series_with_turns(1, 1440)
    fit = FleetProphet(DAILY).fit(time_s, value)
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-6, -2, 300)
    steps = sizes[:, np.newaxis] * rng.standard_normal((300, fit.design.width))

    lowest = min(posterior(fit, 0, value[0], at=fit.coefficients[0] + step) for step in steps)

    assert lowest > fit.loss[0] - 1e-7


def test_recorded_windows_meet_the_conditions(shared_data: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(shared_data / "telemetry" / "mscm_1min.parquet")
    series = [group.value.to_numpy(float) for _, group in table.groupby("series", observed=True)]
    windows = np.array([s[a : a + 1440] for s in series for a in range(0, len(s) - 1440, 4000)])
    windows = windows[np.isfinite(windows).all(axis=1) & (np.ptp(windows, axis=1) > 0)]

    fit = FleetProphet().fit(grid(1440), windows)

    assert len(windows) >= 20
    missed = [kkt_violation(fit, row, windows[row]) for row in range(len(windows))]
    assert max(missed) < 1e-5


def test_readings_missing_leave_the_optimum_exact() -> None:
    time_s, value = grid(600), series_with_turns(20, 600)
    rng = np.random.default_rng(1)
    value[:15][rng.random((15, 600)) < 0.05] = np.nan
    value[15:18, 100:450] = np.nan  # more missing than present
    value[18:, :30] = np.nan

    fit = FleetProphet().fit(time_s, value)

    assert max(kkt_violation(fit, row, value[row]) for row in range(20)) < 1e-5
    written_out = [posterior(fit, row, value[row]) for row in range(20)]
    np.testing.assert_allclose(fit.loss, written_out, rtol=0, atol=1e-6)


def test_few_gaps_move_the_forecast_little() -> None:
    time_s, value = grid(1440), series_with_turns(300, 1440)
    gapped = value.copy()
    gapped[np.random.default_rng(2).random(value.shape) < 0.05] = np.nan

    whole, holed = (FleetProphet(DAILY).fit(time_s, v).predict(7200) for v in (value, gapped))

    moved = np.abs(whole.mean - holed.mean).mean(axis=1) / value.std(axis=1)
    assert np.median(moved) <= 0.05


def test_a_warm_start_ends_at_the_same_optimum() -> None:
    time_s, value = grid(1500), series_with_turns(50, 1500)
    before = FleetProphet(DAILY).fit(time_s[:1440], value[:, :1440])

    cold = FleetProphet(DAILY).fit(time_s[60:], value[:, 60:])
    warm = FleetProphet(DAILY).fit(time_s[60:], value[:, 60:], warm=before)

    np.testing.assert_allclose(warm.loss, cold.loss, rtol=0, atol=1e-5)


def test_every_effect_is_recovered() -> None:
    time_s = grid(3000)
    at = (time_s - time_s[0]) / 60.0
    event = Event("maintenance", ((time_s[500], time_s[600]), (time_s[2500], time_s[3100 - 101])))
    load = Regressor("load", time_s, np.cumsum(np.random.default_rng(0).normal(size=3000)))
    shift = Seasonality("shift", 8 * 3600.0, 2)
    model = FleetProphet(daily=False, events=(event,), regressors=(load,), seasonalities=(shift,))
    value = 5 + 2 * event.column(time_s) + 0.3 * load.value + np.sin(2 * np.pi * at / 480)

    fit = model.fit(time_s, value[np.newaxis])

    np.testing.assert_allclose(fit.fitted()[0], value, atol=0.02)


def test_flat_growth_has_no_slope() -> None:
    time_s, value = grid(500), series_with_turns(3, 500)

    fit = FleetProphet(growth="flat").fit(time_s, value)

    np.testing.assert_allclose(fit.fitted(), np.repeat(value.mean(axis=1), 500).reshape(3, 500),
                               rtol=1e-3)  # fmt: skip
    assert not fit.k.any()


def test_without_changepoints_the_rate_is_one() -> None:
    time_s = grid(500)
    value = 3 + 2 * np.linspace(0, 1, 500) + 0.01 * np.random.default_rng(0).normal(size=500)

    fit = FleetProphet(n_changepoints=0).fit(time_s, value[np.newaxis])

    assert fit.scale[0] * fit.k[0] == pytest.approx(2, abs=0.01)
    assert not fit.delta.any()
    np.testing.assert_allclose(fit.fitted()[0], value, atol=0.05)
