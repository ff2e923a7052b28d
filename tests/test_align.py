"""Readings land on the grid point at or after them, and nothing lands that was not read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.align import Grid, align, sift
from core.ports import Query
from core.types import Floats

STEP_S = 15.0
GRID = Grid(first=100, count=8, step_s=STEP_S)


def on_grid(*readings: tuple[float, float], series: int = 0, rows: int = 1) -> Floats:
    """Align readings of one series."""
    time_s, value = np.array(readings, float).reshape(-1, 2).T
    return align(GRID, np.full(len(time_s), series), time_s, value, rows=rows)


def test_a_reading_lands_at_or_after_its_time() -> None:
    row = on_grid((1500.0, 1.0), (1500.01, 2.0), (1529.9, 3.0))[0]

    assert row[:3].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(row[3:]).all()


def test_float_noise_does_not_push_a_reading_to_the_next_point() -> None:
    assert on_grid((1500.0000001, 1.0))[0, 0] == 1.0


def test_nothing_outside_the_grid_is_taken() -> None:
    row = on_grid((1484.9, 1.0), (1605.1, 2.0), (np.nan, 3.0), (np.inf, 4.0), (-1e308, 5.0))

    assert np.isnan(row).all()


def test_no_reading_gives_an_empty_row() -> None:
    assert align(GRID, np.zeros(0, int), np.zeros(0), np.zeros(0), rows=2).shape == (2, 8)


readings = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(1400, 1700, allow_nan=False),
        st.one_of(st.just(np.nan), st.floats(-1e6, 1e6)),
    ),
    max_size=60,
)


@given(readings)
def test_alignment_is_what_a_plain_loop_would_do(
    given_readings: list[tuple[int, float, float]],
) -> None:
    """The newest reading of each cell stands; of equal times the one given last; NaN hides none."""
    wanted = np.full((4, GRID.count), np.nan)
    newest = np.full((4, GRID.count), -np.inf)
    for series, time_s, value in given_readings:
        column = int(np.ceil(time_s / STEP_S - 1e-4)) - GRID.first
        if 0 <= column < GRID.count and not np.isnan(value) and time_s >= newest[series, column]:
            wanted[series, column], newest[series, column] = value, time_s

    columns = np.array(given_readings, float).reshape(-1, 3).T
    out = align(GRID, columns[0].astype(int), columns[1], columns[2], rows=4)

    np.testing.assert_array_equal(out, wanted)


@given(st.floats(0, 2e9), st.floats(0, 2e4), st.sampled_from([0.5, 1.0, 15.0, 60.0]))
def test_a_grid_lies_within_its_query(start_s: float, span_s: float, step_s: float) -> None:
    grid = Grid.of(Query((), start_s, start_s + span_s, step_s))

    slack_s = 2e-4 * step_s
    assert (grid.time_s >= start_s - slack_s).all()
    assert (grid.time_s <= start_s + span_s + slack_s).all()
    assert grid.count >= int(span_s / step_s) - 1


@given(st.integers(0, 10**9), st.integers(0, 500), st.integers(1, 90))
def test_a_grid_in_parts_is_the_grid(first: int, count: int, size: int) -> None:
    parts = Grid(first, count, 1.0).parts(size)

    points = [point for part in parts for point in range(part.first, part.first + part.count)]
    assert points == list(range(first, first + count))
    assert all(part.count <= size for part in parts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1.0, 1.001])
def test_a_ratio_that_cannot_be_is_missing(bad: float) -> None:
    sifted = sift("node_memory_used_ratio", np.array([0.5, bad]))

    assert sifted.value[0] == 0.5
    assert np.isnan(sifted.value[1])
    assert sifted.not_finite + sifted.implausible == 1
