"""When a fleet's series cross their limits follows from their forecasts and from nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.types import Floats
from core.units import Bad
from detectors.forecast.crossing import Ahead, crossings, standing

NOW_S = 1_000_000.0
STEP_S = 60.0


def ahead(
    mean: Floats | list[float],
    half: Floats | float = 0.0,
    *,
    now: float = 0.0,
    persistence: float = 1.0,
) -> Ahead:
    """Forecasts with an 80 % band of ``half`` on either side; means of shape (S, H)."""
    mean = np.atleast_2d(np.asarray(mean, dtype=float))
    time_s = NOW_S + STEP_S * np.arange(1, mean.shape[1] + 1)
    wide = np.broadcast_to(half, mean.shape)
    now_each = np.full(len(mean), now)
    return Ahead(NOW_S, now_each, time_s, mean, mean - wide, mean + wide, 0.8, persistence)


def test_a_sure_straight_rise_crosses_between_two_steps() -> None:
    seen = crossings(ahead([0.4, 0.8, 1.2, 1.6]), 1.0)

    assert seen.probability[0] == 1.0
    for when in (seen.earliest_s, seen.expected_s, seen.latest_s):
        assert when[0] == pytest.approx(NOW_S + 2.5 * STEP_S)


def test_a_level_at_its_limit_in_a_band_that_persists_is_half_a_chance() -> None:
    flat = np.full(30, 1.0)

    seen = crossings(ahead(flat, 0.2, now=0.5), 1.0, sustain_s=600.0)

    assert seen.probability[0] == pytest.approx(0.5, abs=0.04)


def test_a_random_walks_chance_is_twice_that_of_its_end() -> None:
    """The reflection principle, less what a walk seen once a step misses."""
    steps = np.arange(1, 241)
    half = 1.2816 * 0.1 * np.sqrt(steps)

    seen = crossings(ahead(np.zeros(240), half), 0.1 * np.sqrt(240), sustain_s=0.0)

    assert seen.probability[0] == pytest.approx(2 * 0.1587, abs=0.05)


def test_noise_that_fades_crosses_for_good_only_where_the_horizon_cuts_it_off() -> None:
    flat = np.zeros(120)

    brief, lasting = (
        crossings(ahead(flat, 1.28, persistence=0.0), 1.0, sustain_s=s).probability[0]
        for s in (0.0, 600.0)
    )

    assert brief > 0.99
    assert lasting == pytest.approx(0.159, abs=0.04)  # one sigma, at the last step


def test_a_spike_shorter_than_the_sustain_time_is_no_crossing() -> None:
    spike = ahead([0.0, 2.0, 0.0, 0.0, 0.0])

    assert crossings(spike, 1.0, sustain_s=300.0).probability[0] == 0.0
    assert crossings(spike, 1.0, sustain_s=60.0).probability[0] == 1.0


def test_the_crossing_that_lasts_is_taken_not_the_spike() -> None:
    seen = crossings(ahead([2.0, 0.0, 0.0, 2.0, 2.0, 2.0]), 1.0, sustain_s=120.0)

    assert NOW_S + 3 * STEP_S < seen.expected_s[0] <= NOW_S + 4 * STEP_S


def test_a_crossing_that_lasts_to_the_horizon_counts() -> None:
    assert crossings(ahead([0.0, 0.0, 2.0]), 1.0, sustain_s=3600.0).probability[0] == 1.0


def test_where_no_path_crosses_no_time_is_made_up() -> None:
    seen = crossings(ahead(np.zeros(5), 0.01), 1.0)

    assert seen.probability[0] == 0.0
    assert np.isnan(seen.expected_s[0])


def test_each_series_has_a_limit_of_its_own_and_none_where_it_is_nan() -> None:
    rise = np.tile(np.linspace(0.1, 2.0, 20), (3, 1))

    seen = crossings(ahead(rise), np.array([0.5, 1.5, np.nan]))

    assert seen.expected_s[0] < seen.expected_s[1]
    assert np.isnan(seen.probability[2])


def test_a_row_without_forecast_has_no_probability() -> None:
    rows = np.array([[np.nan, np.nan], [0.0, 2.0]])

    probability = crossings(ahead(rows), 1.0).probability

    assert np.isnan(probability[0])
    assert probability[1] == 1.0


def test_no_direction_is_bad_no_crossing() -> None:
    assert np.isnan(crossings(ahead([0.0, 2.0]), 1.0, bad=Bad.NEITHER).probability[0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), level=st.floats(-1, 1), sustain_s=st.floats(0, 600))
def test_falling_below_is_rising_above_upside_down(
    seed: int, level: float, sustain_s: float
) -> None:
    rng = np.random.default_rng(seed)
    mean, half = rng.normal(size=(4, 30)).cumsum(axis=1) / 5, rng.uniform(0.05, 0.5, (4, 30))

    up = crossings(ahead(mean, half), level, sustain_s=sustain_s)
    down = crossings(ahead(-mean, half), -level, bad=Bad.LOW, sustain_s=sustain_s)

    assert np.array_equal(up.probability, down.probability)
    assert np.array_equal(up.expected_s, down.expected_s, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.floats(-1, 1))
def test_a_higher_limit_is_never_likelier_and_times_are_in_order(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    task = ahead(rng.normal(size=(5, 20)).cumsum(axis=1) / 4, 0.3, now=-9.0)

    near, far = crossings(task, limit), crossings(task, limit + 0.3)

    assert (far.probability <= near.probability).all()
    seen = near.probability > 0
    assert (near.earliest_s[seen] >= NOW_S).all()
    assert (near.earliest_s[seen] <= near.expected_s[seen]).all()
    assert (near.expected_s[seen] <= near.latest_s[seen]).all()
    assert (near.latest_s[seen] <= task.time_s[-1]).all()


def test_a_series_is_judged_alike_alone_and_among_ten_thousand() -> None:
    rng = np.random.default_rng(3)
    mean = rng.normal(size=(10_000, 12)).cumsum(axis=1)

    fleet = crossings(ahead(mean, 0.5), 6.0)
    alone = crossings(ahead(mean[17], 0.5), 6.0)

    assert fleet.probability[17] == alone.probability[0]


def times(readings: int) -> Floats:
    return NOW_S + STEP_S * np.arange(1.0 - readings, 1.0)


def test_a_limit_crossed_a_while_ago_is_known_as_such_across_a_gap() -> None:
    value = np.array([[0.5, 0.6, np.nan, 1.0, np.nan, 1.2]])

    since, too_short = (
        standing(times(6), value, 0.9, bad=Bad.HIGH, sustain_s=s)[0] for s in (120.0, 180.0)
    )

    assert since == NOW_S - 2 * STEP_S
    assert np.isnan(too_short)


def test_a_series_that_came_back_does_not_stand_beyond_its_limit() -> None:
    value = np.array([[1.0, 1.0, 0.2], [0.2, 1.0, 1.0], [np.nan] * 3, [1.0, 1.0, 1.0]])
    limit = np.array([0.9, 0.9, 0.9, np.nan])

    since = standing(times(3), value, limit, bad=Bad.HIGH, sustain_s=0.0)

    assert np.isfinite(since).tolist() == [False, True, False, False]
