"""The pieces of a forecast by themselves: grid, yardsticks, line, regime, back-test."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.target import Target
from core.types import Floats
from detectors.forecast.backtest import errors, skill
from detectors.forecast.fit import forecast
from detectors.forecast.forecaster import Forecaster, PathModel, Series, TooLittleData
from detectors.forecast.grid import MAX_STEPS, ahead, clean, thinned, trimmed
from detectors.forecast.linear import Linear
from detectors.forecast.naive import LastValue, SeasonalNaive, seasonal
from detectors.forecast.noise import fit_ar1
from detectors.forecast.regime import regime_start
from tests.forecast_series import START_S, days, series, task, walk

MODELS = (LastValue(), SeasonalNaive(3600.0), Linear())


def drawn(
    model: PathModel, given: Series, steps: int, *, draws: int = 400, seed: int = 0
) -> Floats:
    ahead_s = given.time_s[-1] + given.step_s * np.arange(1, steps + 1)
    return model.paths(given, ahead_s, draws=draws, rng=np.random.default_rng(seed))


@given(step_s=st.floats(0.1, 3600), horizon_s=st.floats(1, 1e6))
def test_times_ahead_grow_to_the_horizon_exactly(step_s: float, horizon_s: float) -> None:
    time_s = ahead(0.0, step_s=step_s, horizon_s=horizon_s)

    assert time_s[-1] == pytest.approx(horizon_s)
    assert (np.diff(time_s, prepend=0.0) > 0).all()
    assert len(time_s) <= MAX_STEPS


def test_the_near_future_is_seen_at_the_readings_own_step() -> None:
    time_s = ahead(0.0, step_s=1.0, horizon_s=7200.0)

    assert np.allclose(time_s[:120], np.arange(1, 121))


def test_thinning_keeps_a_ramp_where_it_is() -> None:
    ramp = series(np.linspace(0, 1, 5000), step_s=1.0)

    thin = thinned(ramp, 700)

    assert len(thin.value) <= 700
    assert np.allclose(thin.value, np.interp(thin.time_s, ramp.time_s, ramp.value))


def test_what_is_not_plausible_is_a_gap() -> None:
    cleaned = clean(np.array([0.5, 1.5, -0.1, np.inf, np.nan, 1e300]), low=0.0, high=1.0)

    assert np.array_equal(cleaned, [0.5, np.nan, np.nan, np.nan, np.nan, np.nan], equal_nan=True)


def test_gaps_at_the_ends_are_cut_off() -> None:
    cut = trimmed(series(np.array([np.nan, 1.0, np.nan, 2.0, np.nan])))

    assert np.array_equal(cut.value, [1.0, np.nan, 2.0], equal_nan=True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_draws_finite_paths_from_its_seed(model: PathModel) -> None:
    gappy = walk(3)
    gappy.value[[5, 17, 18, 19, 200]] = np.nan

    first, again, other = (drawn(model, gappy, 30, seed=seed) for seed in (1, 1, 2))

    assert first.shape == (400, 30)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(20))
def test_the_last_values_band_grows_as_a_walk_does(seed: int) -> None:
    """A walk's spread doubles when the distance grows fourfold; 1.4 to 2.6 is 4 sigmas here."""
    paths = drawn(LastValue(), walk(seed, 960), 100)

    near, far = np.std(paths[:, 24]), np.std(paths[:, 99])

    assert 1.4 <= far / near <= 2.6


def test_noise_around_a_level_is_no_walk() -> None:
    calm = series(0.5 + np.random.default_rng(0).normal(0, 0.01, 600))

    assert np.std(drawn(LastValue(), calm, 200)[:, -1]) < 0.03


def test_seasonal_naive_repeats_yesterday() -> None:
    given = days(0, 2.5, noise=0.0)

    paths = drawn(SeasonalNaive(), given, 288)

    assert np.allclose(np.median(paths, axis=0), given.value[-288:], atol=0.01)


def test_two_whole_days_make_a_season() -> None:
    assert seasonal(days(0, 2.1))
    assert not seasonal(days(0, 1.9))


def test_a_line_goes_on_and_is_less_sure_further_out() -> None:
    ramp = series(np.linspace(0.2, 0.5, 121) + np.random.default_rng(1).normal(0, 0.005, 121))

    paths = drawn(Linear(), ramp, 120)

    assert np.median(paths[:, -1]) == pytest.approx(0.8, abs=0.02)
    assert np.std(paths[:, -1]) > np.std(paths[:, 10])


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_the_persistence_of_residuals_is_found(persistence: float) -> None:
    rng = np.random.default_rng(5)
    residual = np.zeros(4000)
    for i in range(1, 4000):
        residual[i] = persistence * residual[i - 1] + rng.normal()

    found = fit_ar1(residual)

    assert found.persistence == pytest.approx(persistence, abs=0.06)
    assert found.shock == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("onset", [60, 300, 460])
def test_the_onset_of_a_leak_is_found(onset: int) -> None:
    rng = np.random.default_rng(onset)
    leak = 0.3 + 0.002 * np.clip(np.arange(500.0) - onset, 0, None) + rng.normal(0, 0.002, 500)

    start_s = regime_start(series(leak))

    assert start_s is not None
    assert abs((start_s - START_S) / 15.0 - onset) <= 15


def test_a_restart_begins_a_new_regime() -> None:
    value = np.concatenate([np.linspace(0.2, 0.9, 200), np.linspace(0.1, 0.2, 100)])

    start_s = regime_start(series(value + np.random.default_rng(0).normal(0, 0.003, 300)))

    assert start_s is not None
    assert abs((start_s - START_S) / 15.0 - 200) <= 3


def test_steady_noise_is_one_regime() -> None:
    """Of 200 calm series at most 2 may be cut; each cut costs a fit and no more."""
    rng = np.random.default_rng(1)
    cut = [regime_start(series(rng.normal(0.5, 0.01, 400))) for _ in range(200)]

    assert sum(start_s is not None for start_s in cut) <= 2


def test_a_line_beats_last_value_on_a_ramp_and_not_on_a_walk() -> None:
    ramp = series(np.linspace(0, 1, 200))
    on_ramp = errors([Linear(), LastValue()], ramp, length=200, horizon=40)
    on_walks = np.array(
        [errors([Linear(), LastValue()], walk(s), length=240, horizon=60) for s in range(20)]
    ).mean(axis=0)

    assert on_ramp[0] < 0.2 * on_ramp[1]
    assert on_walks[0] > on_walks[1]


def test_a_backtest_sees_nothing_of_the_future() -> None:
    """The newest readings, however wild, do not change what was forecast before them."""
    calm, wild = walk(1), walk(1)
    wild.value[-20:] = 1e6
    heard: dict[str, list[Floats]] = {"calm": [], "wild": []}

    class Listener(LastValue):
        def __init__(self, label: str) -> None:
            self.label = label

        def paths(
            self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
        ) -> Floats:
            heard[self.label].append(series.value)
            assert series.time_s[-1] < ahead_s[0]
            return super().paths(series, ahead_s, draws=draws, rng=rng)

    for label, past in (("calm", calm), ("wild", wild)):
        errors([Listener(label)], past, length=240, horizon=20)

    assert len(heard["calm"]) == 3
    assert all(np.array_equal(a, b) for a, b in zip(*heard.values(), strict=True))


def test_skill_compares_with_the_yardstick() -> None:
    assert skill(0.5, 1.0) == 0.5
    assert skill(0.0, 0.0) == 0.0
    assert skill(1.0, 0.0) == -np.inf
    assert np.isnan(skill(float("nan"), 1.0))


def test_the_forecaster_is_one_behind_its_interface() -> None:
    forecaster: Forecaster = forecast
    both = replace(
        task(series(np.full(5, 0.5))),
        targets=(Target(node="a"), Target(node="b")),
        value=np.full((2, 5), 0.5),
    )

    answers = forecaster(both)

    assert [type(answer) for answer in answers] == [TooLittleData, TooLittleData]
    assert [answer.target.node for answer in answers if isinstance(answer, TooLittleData)] == [
        "a",
        "b",
    ]
