"""Demand is foretold from what followed at times like this one, and from what is planned."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.types import Floats
from detectors.forecast.demand import Demand, Wanted, demand, gpus_for_requests

STEP_S = 600.0
DAY = 144


def times(steps: int) -> Floats:
    return STEP_S * np.arange(float(steps))


def test_what_never_changes_stays() -> None:
    seen = demand(Wanted(times(300), np.full((2, 300), 16.0)))

    assert (seen.gpus == 16.0).all()


def test_a_rise_that_comes_each_morning_is_foretold_before_it_comes() -> None:
    hour = np.arange(8 * DAY) % DAY
    wanted = np.where((hour >= 54) & (hour < 108), 64.0, 8.0)[None]

    enough = [
        demand(Wanted(times(until), wanted[:, :until]), lead_s=(1800.0,)).gpus[0, 0, 1]
        for until in (7 * DAY + 10, 7 * DAY + 52)  # at night, and 20 minutes before the rise
    ]

    assert enough == [8.0, 64.0]


def test_the_ninth_decile_is_enough_nine_times_in_ten() -> None:
    rng = np.random.default_rng(0)
    walk = 50 + rng.normal(0, 1, (40, 7 * DAY + 3)).cumsum(axis=1) * 0.3

    seen = demand(Wanted(times(7 * DAY), walk[:, : 7 * DAY]), lead_s=(1800.0,))

    enough = (walk[:, -1] <= seen.gpus[:, 0, 1]).mean()
    assert 0.75 <= enough <= 1.0


def test_planned_starts_and_ends_are_known_not_guessed() -> None:
    """Steps that were all announced leave nothing to guess."""
    rng = np.random.default_rng(4)
    wanted = 32 + 8 * np.sign(rng.normal(size=(1, 500))).cumsum(axis=1).clip(-3, 5)
    planned = np.zeros((1, 500, 1))
    planned[:, :-3, 0] = wanted[:, 3:] - wanted[:, :-3]
    planned[:, -1] = -8.0

    blind = demand(Wanted(times(500), wanted), lead_s=(1800.0,))
    told = demand(Wanted(times(500), wanted, planned), lead_s=(1800.0,))

    assert told.gpus[0, 0].tolist() == [wanted[0, -1] - 8.0] * 2
    assert blind.gpus[0, 0, 1] > blind.gpus[0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_quantiles_rise_and_are_never_below_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = np.maximum(rng.normal(4, 6, (3, 200)), 0)
    wanted[rng.uniform(size=wanted.shape) < 0.1] = np.nan
    wanted[:, -1] = 2.0

    gpus = demand(Wanted(times(200), wanted), level=(0.1, 0.5, 0.9)).gpus

    assert (gpus >= 0).all()
    assert (np.diff(gpus, axis=2) >= 0).all()


def test_where_little_is_known_nothing_is_told() -> None:
    wanted = np.full((3, 100), np.nan)
    wanted[0, :-1] = 5.0
    wanted[1, -5:] = 5.0
    wanted[2] = 5.0

    gpus = demand(Wanted(times(100), wanted), lead_s=(1200.0,)).gpus

    assert np.isfinite(gpus).all(axis=(1, 2)).tolist() == [False, False, True]


def test_a_lead_beyond_the_history_is_not_told() -> None:
    gpus = demand(Wanted(times(20), np.ones((1, 20))), lead_s=(600.0, 1e6)).gpus

    assert np.isnan(gpus[0, 1]).all()


def test_what_is_to_be_added_is_whole_and_never_negative() -> None:
    seen = Demand((900.0,), (0.5, 0.9), np.array([[[3.0, 4.2]], [[3.0, 4.2]]]))

    assert seen.to_add(np.array([2.0, 9.0])).tolist() == [[3.0], [0.0]]


def test_requests_take_whole_gpus_with_some_to_spare() -> None:
    assert gpus_for_requests(np.array([0.0, 10.0, 10.1]), 5.0).tolist() == [0.0, 2.0, 3.0]
    assert gpus_for_requests(np.array([10.0]), 5.0, spare=0.2).tolist() == [3.0]


@pytest.mark.parametrize("lead_s", [0.0, -60.0])
def test_the_past_is_no_lead(lead_s: float) -> None:
    with pytest.raises(ValueError, match="above 0 s"):
        demand(Wanted(times(20), np.ones((1, 20))), lead_s=(lead_s,))


def test_a_gpu_that_serves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        gpus_for_requests(np.ones(1), 0.0)
