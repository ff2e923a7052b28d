"""Rows of many series in any order, with gaps and doubles, become one even grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import even_grid
from agent.even_grid import shorter, tidy
from core.errors import InputError

rows = st.lists(
    st.tuples(
        st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 50).map(float)),
        st.floats(allow_nan=True, allow_infinity=True),
        st.floats(allow_nan=True, allow_infinity=True),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(rows=rows)
def test_no_rows_break_the_grid(rows: list[tuple[float, float, float]]) -> None:
    """Even spacing, ascending, all rows accounted for; or a message, for times past 2255."""
    time_s, *value = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    finite = np.isfinite(value) & (np.abs(value) <= 1e100)
    usable = np.isfinite(time_s) & finite.any(axis=0)
    if (np.abs(time_s[usable]) > 9e9).any():
        with pytest.raises(InputError, match="past the year 2255"):
            tidy(time_s, np.array(value), name="value")
        return

    tidied = tidy(time_s, np.array(value), name="value")

    assert tidied.value.shape == (2, len(tidied.time_s))
    assert len(tidied.time_s) <= 100_002
    assert (np.diff(tidied.time_s) > 0).all()
    found = np.isfinite(tidied.value).any(axis=1)
    assert found.tolist() == (finite & np.isfinite(time_s)).any(axis=1).tolist()


def test_jitter_around_a_step_is_put_on_the_step() -> None:
    rng = np.random.default_rng(0)
    time_s = 15.0 * np.arange(100) + rng.uniform(-3, 3, 100)

    tidied = tidy(time_s, np.arange(200.0).reshape(2, 100), name="value")

    step_s = np.diff(tidied.time_s)
    assert np.allclose(step_s, 15.0, atol=0.5)
    assert np.isfinite(tidied.value).mean() > 0.9


def test_rows_of_one_time_are_averaged_series_by_series() -> None:
    time_s = np.array([60.0, 0.0, 60.0, 120.0])
    value = np.array([[1.0, 2.0, 3.0, 4.0], [np.nan, 5.0, 7.0, np.inf]], np.float32)

    tidied = tidy(time_s, value, name="value")

    assert tidied.time_s.tolist() == [0, 60, 120]
    np.testing.assert_array_equal(tidied.value, [[2, 2, 4], [5, 7, np.nan]])
    assert tidied.value.dtype == np.float32
    assert tidied.notes == (
        "rows were not in order of time: sorted",
        "1 row with a time seen before averaged",
    )


def test_a_table_in_order_is_not_copied() -> None:
    value = np.arange(20.0).reshape(2, 10)

    assert np.shares_memory(tidy(60 * np.arange(10.0), value, name="value").value, value)


def test_uneven_times_do_not_blow_the_grid_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst a second apart and then a row a day: the step is widened, and a note says so."""
    monkeypatch.setattr(even_grid, "MOST_READINGS", 1000)
    time_s = np.concatenate([np.arange(100.0), 86_400.0 * np.arange(1, 30)])

    tidied = tidy(time_s, np.ones((4, len(time_s))), name="value")

    assert tidied.value.shape[1] <= 251
    assert "a grid of 1 s would be too long" in tidied.notes[0]
    assert "without a row left as a gap" in tidied.notes[1]


def test_a_long_grid_is_averaged_and_a_ramp_stays_where_it_was() -> None:
    time_s = 15.0 * np.arange(1003.0)
    value = np.stack([time_s, np.full(1003, np.nan)])
    value[0, 500] = np.nan

    short_s, short = shorter(time_s, value, 200)

    assert len(short_s) == 200
    known = np.isfinite(short[0])
    np.testing.assert_allclose(short[0][known], short_s[known], atol=15)
    assert known.all()
    assert np.isnan(short[1]).all()
    assert shorter(time_s, value, 600)[1] is value
