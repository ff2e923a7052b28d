"""A counter's growth survives restarts of its source and gaps between its readings."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.counters import growth, increase
from core.target import Target
from core.types import Window

NAN = np.nan


def test_growth_is_the_difference_to_the_reading_before() -> None:
    np.testing.assert_array_equal(growth(np.array([[5.0, 5, 7, 17]])), [[NAN, 0, 2, 10]])


def test_a_restart_counts_from_zero() -> None:
    np.testing.assert_array_equal(growth(np.array([[100.0, 3, 4]])), [[NAN, 3, 1]])


def test_growth_across_a_gap_stands_behind_it() -> None:
    out = growth(np.array([[NAN, 10.0, NAN, NAN, 16, 2]]))

    np.testing.assert_array_equal(out, [[NAN, NAN, NAN, NAN, 6, 2]])


def test_an_empty_window_has_no_growth() -> None:
    assert growth(np.zeros((3, 0))).shape == (3, 0)
    assert growth(np.zeros((0, 4))).shape == (0, 4)


steps = st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans()), min_size=1)


@given(steps)
def test_growth_never_exceeds_what_was_counted(history: list[tuple[int, bool, bool]]) -> None:
    """Each step adds to the counter; it may restart first, and may not be scraped."""
    count, values = 0, []
    for grown, restarted, missed in history:
        count = grown if restarted else count + grown
        values.append(NAN if missed else float(count))

    total = np.nansum(growth(np.array([values])))

    assert 0 <= total <= sum(grown for grown, _, _ in history)


@given(steps)
def test_without_restarts_growth_adds_up(history: list[tuple[int, bool, bool]]) -> None:
    counts = np.cumsum([grown for grown, _, _ in history]).astype(float)
    counts[[missed for _, _, missed in history]] = NAN
    window = Window(
        "port_errors_total", (Target("n"),), np.arange(float(len(counts))), counts[None]
    )

    total = np.nansum(increase(window).value)

    seen = counts[~np.isnan(counts)]
    assert total == (seen[-1] - seen[0] if seen.size else 0)
