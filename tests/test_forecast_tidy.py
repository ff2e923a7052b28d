"""Rows in any order, with gaps and doubles, become one even grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.forecast_file import tidy
from core.errors import InputError

rows = st.lists(
    st.tuples(
        st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(0, 50).map(float)),
        st.floats(allow_nan=True, allow_infinity=True),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(rows=rows)
def test_no_rows_break_the_grid(rows: list[tuple[float, float]]) -> None:
    """Even spacing, ascending, all rows accounted for; or a message, for times past 2255."""
    time_s, value = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    usable = np.isfinite(time_s) & np.isfinite(value) & (np.abs(value) <= 1e100)
    if (np.abs(time_s[usable]) > 9e9).any():
        with pytest.raises(InputError, match="past the year 2255"):
            tidy(time_s, value, name="value")
        return

    tidied = tidy(time_s, value, name="value")

    assert len(tidied.time_s) == len(tidied.value) <= 100_002
    assert (np.diff(tidied.time_s) > 0).all()
    assert np.isfinite(tidied.value).any() == usable.any()


def test_jitter_around_a_step_is_put_on_the_step() -> None:
    rng = np.random.default_rng(0)
    time_s = 15.0 * np.arange(100) + rng.uniform(-3, 3, 100)

    tidied = tidy(time_s, np.arange(100.0), name="value")

    step_s = np.diff(tidied.time_s)
    assert np.allclose(step_s, 15.0, atol=0.5)
    assert np.isfinite(tidied.value).mean() > 0.9
