"""Of thousands of series, those that could reach their limit are found, the most urgent first."""

import numpy as np
import pytest

from core.target import Target
from core.types import Floats, Window
from core.units import Bad
from detectors.forecast.screen import screen
from tests.forecast_series import grid

STEPS = 240


def window(value: Floats, metric: str = "volume_used_ratio") -> Window:
    targets = tuple(Target(node=f"node-{row}") for row in range(len(value)))
    return Window(metric, targets, grid(value.shape[1], 15.0), value)


def calm(rows: int, seed: int = 0, level: float = 0.4) -> Floats:
    return level + np.random.default_rng(seed).normal(0, 0.005, (rows, STEPS))


def test_a_ramp_is_found_among_thousands() -> None:
    value = calm(5000)
    value[1234] += np.linspace(0, 0.4, STEPS)

    assert screen(window(value), limit=0.95, horizon_s=7200).tolist() == [1234]


def test_a_ramp_that_began_just_now_is_found() -> None:
    value = calm(100)
    value[7, -30:] += np.linspace(0, 0.2, 30)

    assert screen(window(value), limit=0.95, horizon_s=7200).tolist() == [7]


@pytest.mark.parametrize("length", [20, 40, 100])
def test_a_young_ramp_in_a_long_window_is_found(length: int) -> None:
    """A volume mounted a minute ago fills up; the history has hours of columns before it."""
    value = np.full((5, 2400), np.nan)
    value[1:] = 0.4 + np.random.default_rng(0).normal(0, 0.001, (4, 2400))
    value[0, -length:] = np.linspace(0.1, 0.1 + 0.01 * length / 2, length)

    assert screen(window(value), limit=0.95, horizon_s=7200)[:1].tolist() == [0]


def test_the_sooner_comes_first_and_the_crossed_before_all() -> None:
    value = calm(6)
    for row, height in ((1, 0.2), (2, 0.4), (3, 0.3)):
        value[row] += np.linspace(0, height, STEPS)
    value[4] += 0.56

    found = screen(window(value), limit=0.95, horizon_s=7200)

    assert found.tolist()[:4] == [4, 2, 3, 1]


def test_a_restless_series_near_its_limit_is_a_candidate() -> None:
    value = calm(3)
    value[1] = 0.88 + 0.01 * np.sin(np.arange(STEPS) / 20)
    value[2] = 0.88

    found = screen(window(value), limit=0.95, horizon_s=7200)

    assert found.tolist() == [1]


def test_spikes_are_not_a_slope() -> None:
    value = calm(1)
    value[0, [50, 130, 180]] = 0.9

    assert screen(window(value), limit=0.95, horizon_s=3600).size == 0


def test_a_falling_reading_counts_where_low_is_bad() -> None:
    value = calm(2, level=0.6)
    value[1] -= np.linspace(0, 0.4, STEPS)

    assert screen(window(value), limit=0.1, horizon_s=7200, bad=Bad.LOW).tolist() == [1]


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_gaps_do_not_hide_a_ramp(share: float) -> None:
    value = calm(3)
    value[1] += np.linspace(0, 0.45, STEPS)
    value[np.random.default_rng(1).random(value.shape) < share] = np.nan

    assert screen(window(value), limit=0.95, horizon_s=7200).tolist() == [1]


def test_a_series_that_is_gone_has_no_future() -> None:
    value = calm(3) + 0.58
    value[1, -25:] = np.nan
    value[2, -10:] = np.nan

    assert screen(window(value), limit=0.95, horizon_s=7200).tolist() == [0, 2]


def test_empty_short_or_silent_windows_give_nothing() -> None:
    silent = np.full((3, STEPS), np.nan)

    assert screen(window(silent), limit=0.9, horizon_s=7200).size == 0
    assert screen(window(np.empty((0, STEPS))), limit=0.9, horizon_s=7200).size == 0
    assert screen(window(np.full((2, 3), 0.99)), limit=0.9, horizon_s=7200).size == 0
    assert screen(window(calm(2)), limit=float("nan"), horizon_s=7200).size == 0
