"""What must not matter to the fleet's Prophet: units, neighbours, chunks, the day of the year."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.types import Floats
from detectors.forecast import FleetProphet, ProphetSettings
from detectors.forecast.prophet.prediction import Prediction
from tests.prophet_series import DAY_S, grid, series_with_turns

LENGTH, AHEAD_S = 150, 1800.0
KINDS = (
    ProphetSettings(),
    ProphetSettings(daily=2),
    ProphetSettings(growth="flat", daily=2),
    ProphetSettings(scaling="minmax"),
    ProphetSettings(robust=True),
)
kinds = st.sampled_from(KINDS)
seeds = st.integers(0, 10_000)


def forecast(kind: ProphetSettings, value: Floats, *, start_s: float = 0.0) -> Prediction:
    return FleetProphet(kind).fit(start_s + grid(LENGTH), value).predict(AHEAD_S)


def same(one: Prediction, other: Prediction, sd: Floats) -> bool:
    """Say whether two forecasts differ by less than 1e-5 standard deviations of the series."""
    return all(
        np.all(np.abs(getattr(one, part) - getattr(other, part)) < 1e-5 * sd[:, None])
        for part in ("mean", "lower", "upper")
    )


@settings(max_examples=30, deadline=None)
@given(kinds, seeds, st.floats(-100, 100), st.sampled_from([1.0, -1.0]))
def test_another_unit_is_the_same_forecast(
    kind: ProphetSettings, seed: int, decades: float, sign: float
) -> None:
    value = series_with_turns(4, LENGTH, seed=seed)
    # A range has a lower end, from which the level's prior is centred: no mirror image.
    sign = 1.0 if kind.scaling == "minmax" else sign
    factor = sign * 10.0**decades
    plain, other = forecast(kind, value), forecast(kind, value * factor)
    sides = ("lower", "upper") if sign > 0 else ("upper", "lower")
    lower, upper = (getattr(other, side) / factor for side in sides)
    back = Prediction(plain.time_s, other.mean / factor, lower, upper, plain.coverage)

    assert same(plain, back, value.std(axis=1))


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(-1e6, 1e6))
def test_another_zero_is_the_same_forecast_scaled_by_range(seed: int, zero: float) -> None:
    value = series_with_turns(4, LENGTH, seed=seed)
    plain, other = (
        forecast(ProphetSettings(scaling="minmax"), each) for each in (value, value + zero)
    )
    mean, lower, upper = (each - zero for each in (other.mean, other.lower, other.upper))
    back = Prediction(plain.time_s, mean, lower, upper, plain.coverage)

    assert same(plain, back, value.std(axis=1))


@settings(max_examples=20, deadline=None)
@given(kinds, seeds, st.integers(-5000, 5000))
def test_whole_days_later_is_the_same_forecast(kind: ProphetSettings, seed: int, days: int) -> None:
    value = series_with_turns(4, LENGTH, seed=seed)
    plain, later = (forecast(kind, value, start_s=shift) for shift in (0.0, days * DAY_S))

    assert same(plain, later, value.std(axis=1))


@settings(max_examples=20, deadline=None)
@given(kinds, seeds, st.floats(0, 1))
def test_neighbours_do_not_matter(kind: ProphetSettings, seed: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    value = series_with_turns(6, LENGTH, seed=seed)
    value[1::2][rng.random((3, LENGTH)) < gaps] = np.nan
    order = rng.permutation(6)
    nobody = np.full((20, LENGTH), np.nan)
    alone = forecast(kind, value)
    among = forecast(kind, np.concatenate([nobody, value[order], 1e30 * value]))

    assert np.array_equal(among.mean[20:26], alone.mean[order], equal_nan=True)
    assert np.array_equal(among.upper[20:26], alone.upper[order], equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_do_not_matter(kind: ProphetSettings) -> None:
    value = series_with_turns(50, LENGTH)
    value[::7, 20:40] = np.nan
    few, many = forecast(kind, value), forecast(kind, np.tile(value, (180, 1)))

    assert np.array_equal(many.mean.reshape(180, 50, -1), np.tile(few.mean, (180, 1, 1)))
    assert np.array_equal(many.lower.reshape(180, 50, -1), np.tile(few.lower, (180, 1, 1)))
