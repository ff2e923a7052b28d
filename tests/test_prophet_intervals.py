"""Intervals follow upstream's law of turns and noise, without drawing it."""

import numpy as np
import pytest

from core.types import Floats
from detectors.forecast.prophet.intervals import Noise, TrendLaw, half_widths

DAY = TrendLaw(changepoints=25, step=1 / 1439, steps=120)
NORMAL_80 = 1.2815515655446004


def drawn(law: TrendLaw, sigma: float, coverage: float, draws: int = 40_000) -> Floats:
    """Draw upstream's futures of a series whose rate is 1: (H,) half widths."""
    rng = np.random.default_rng(0)
    turn = rng.laplace(0, 1, (draws, law.steps)) * (
        rng.uniform(size=(draws, law.steps)) < law.turning
    )
    before = np.hstack([np.zeros((draws, 1)), turn[:, :-1]])
    trend = law.step * ((turn + before) / 2).cumsum(axis=1).cumsum(axis=1)
    future = trend + sigma * rng.standard_normal(trend.shape)
    return np.asarray(np.quantile(np.abs(future), coverage, axis=0))


@pytest.mark.parametrize("sigma", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("law", [DAY, TrendLaw(25, 1 / 24, 20)], ids=["minutes", "hours"])
def test_half_widths_are_those_of_many_draws(law: TrendLaw, sigma: float) -> None:
    width = half_widths(law, np.array([sigma]), np.array([1.0]), coverage=0.8)[0]

    assert width == pytest.approx(drawn(law, sigma, 0.8), rel=0.03)


def test_a_wide_interval_follows_the_long_tail_of_turns() -> None:
    width = half_widths(DAY, np.array([0.01]), np.array([1.0]), coverage=0.95)[0]

    assert width[19:] == pytest.approx(drawn(DAY, 0.01, 0.95)[19:], rel=0.04)


def test_noise_alone_is_normal_at_every_horizon() -> None:
    width = half_widths(DAY, np.array([2.0, 0.5]), np.array([0.0, 1e-9]), coverage=0.8)

    assert width == pytest.approx(NORMAL_80 * np.array([[2.0], [0.5]]) * np.ones(120), rel=1e-3)


def test_a_flat_trend_does_not_turn() -> None:
    width = half_widths(TrendLaw(0, 1 / 1439, 5), np.ones(1), np.ones(1), coverage=0.8)

    assert width == pytest.approx(np.full((1, 5), NORMAL_80))


def test_widths_scale_with_the_unit() -> None:
    small = half_widths(DAY, np.array([0.02]), np.array([0.1]), coverage=0.8)
    large = half_widths(DAY, np.array([20.0]), np.array([100.0]), coverage=0.8)

    assert large == pytest.approx(1000 * small)


def test_a_carried_residual_is_surer_at_first() -> None:
    noise = Noise(persistence=np.array([0.9]))

    width = half_widths(DAY, np.ones(1), np.zeros(1), coverage=0.8, noise=noise)[0]

    left = 1 - 0.81 ** np.arange(1, 121)
    assert width == pytest.approx(NORMAL_80 * np.sqrt(left), rel=1e-3)


def test_further_variance_adds_to_that_of_noise() -> None:
    noise = Noise(extra=np.full((1, 120), 3.0))

    width = half_widths(DAY, np.ones(1), np.zeros(1), coverage=0.8, noise=noise)

    assert width == pytest.approx(2 * NORMAL_80, rel=1e-3)


def test_a_gain_makes_turns_count_as_much_more() -> None:
    doubled = Noise(gain=np.full((1, 120), -2.0))

    width = half_widths(DAY, np.ones(1) * 0.1, np.ones(1), coverage=0.8, noise=doubled)

    assert width == pytest.approx(half_widths(DAY, np.ones(1) * 0.1, np.ones(1) * 2, coverage=0.8))
