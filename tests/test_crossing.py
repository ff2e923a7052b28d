"""The time a limit is crossed follows from the possible futures, and from nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.types import Floats
from core.units import Bad
from detectors.forecast.crossing import NEVER, Edge, already_crossed, crossing, first_crossings
from tests.forecast_series import START_S, grid, series

STEP_S = 60.0


def ahead(steps: int) -> Floats:
    return grid(steps, STEP_S) + STEP_S


def edge(value: float = 0.0, *, limit: float = 1.0, bad: Bad = Bad.HIGH, s: float = 0.0) -> Edge:
    return Edge(START_S, value, limit, bad, s)


def test_a_straight_rise_crosses_between_two_steps() -> None:
    path = np.array([[0.4, 0.8, 1.2, 1.6]])

    seen = crossing(path, ahead(4), edge())

    assert seen.probability == 1.0
    assert seen.expected_s == pytest.approx(START_S + 2.5 * STEP_S)


def test_half_of_the_paths_is_half_a_chance() -> None:
    paths = np.array([[0.5, 1.5], [0.1, 0.2], [0.5, 1.5], [0.0, 0.9]])

    assert crossing(paths, ahead(2), edge()).probability == 0.5


def test_where_no_path_crosses_no_time_is_made_up() -> None:
    assert crossing(np.zeros((5, 4)), ahead(4), edge()) is NEVER


def test_a_spike_shorter_than_the_sustain_time_is_no_crossing() -> None:
    spike = np.array([[0.0, 2.0, 0.0, 0.0, 0.0]])

    assert crossing(spike, ahead(5), edge(s=300.0)) is NEVER
    assert crossing(spike, ahead(5), edge(s=60.0)).probability == 1.0


def test_the_crossing_that_lasts_is_taken_not_the_spike() -> None:
    path = np.array([[2.0, 0.0, 0.0, 2.0, 2.0, 2.0]])

    seen = crossing(path, ahead(6), edge(s=120.0))

    assert START_S + 3 * STEP_S < seen.expected_s <= START_S + 4 * STEP_S


def test_a_crossing_that_lasts_to_the_horizon_counts() -> None:
    path = np.array([[0.0, 0.0, 0.0, 2.0]])

    assert crossing(path, ahead(4), edge(s=3600.0)).probability == 1.0


def test_a_limit_below_is_crossed_downwards() -> None:
    falling = np.array([[0.8, 0.4, 0.0]])

    seen = crossing(falling, ahead(3), edge(1.2, limit=0.6, bad=Bad.LOW))

    assert seen.expected_s == pytest.approx(START_S + 1.5 * STEP_S)


paths = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 15)),
    elements=st.floats(-2, 2, width=32),
)


@settings(max_examples=200, deadline=None)
@given(paths=paths, limit=st.floats(-1, 1), sustain_s=st.sampled_from([0.0, 60.0, 130.0, 600.0]))
def test_first_crossings_are_those_found_by_walking(
    paths: Floats, limit: float, sustain_s: float
) -> None:
    """The array form agrees with a plain loop over each path."""
    time_s = ahead(paths.shape[1])

    first = first_crossings(paths - limit, -1.0, time_s=time_s, now_s=START_S, sustain_s=sustain_s)

    assert np.allclose(
        first, [walked(path - limit, time_s, sustain_s) for path in paths], equal_nan=True
    )


def walked(excess: Floats, time_s: Floats, sustain_s: float) -> float:
    values, times = [-1.0, *excess], [START_S, *time_s]
    for i in range(1, len(values)):
        if values[i] < 0 or values[i - 1] >= 0:
            continue
        share = -values[i - 1] / (values[i] - values[i - 1])
        begin_s = times[i - 1] + share * (times[i] - times[i - 1])
        ends = [times[j] for j in range(i, len(values)) if values[j] < 0]
        if not ends or ends[0] - begin_s >= sustain_s:
            return float(begin_s)
    return float("nan")


@settings(max_examples=100, deadline=None)
@given(paths=paths, limit=st.floats(-1, 1))
def test_a_higher_limit_is_never_likelier_or_sooner(paths: Floats, limit: float) -> None:
    time_s = ahead(paths.shape[1])

    near, far = (crossing(paths, time_s, edge(-3.0, limit=x)) for x in (limit, limit + 0.3))

    assert far.probability <= near.probability
    assert near.probability == 0 or START_S <= near.earliest_s <= near.expected_s
    assert near.probability == 0 or near.expected_s <= near.latest_s <= time_s[-1]


def test_a_limit_crossed_a_while_ago_is_known_as_such() -> None:
    over = series(np.array([0.5, 0.6, np.nan, 1.0, 1.1, 1.2]), step_s=STEP_S)

    since = already_crossed(over, limit=0.9, bad=Bad.HIGH, sustain_s=120.0)
    too_short = already_crossed(over, limit=0.9, bad=Bad.HIGH, sustain_s=180.0)

    assert since == START_S + 3 * STEP_S
    assert too_short is None


def test_a_series_on_the_good_side_has_not_crossed() -> None:
    back = series(np.array([1.0, 1.0, 1.0, 0.2]), step_s=STEP_S)

    assert already_crossed(back, limit=0.9, bad=Bad.HIGH, sustain_s=0.0) is None
