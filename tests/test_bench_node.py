"""The node service's memory is measured on a clock that is moved."""

import pytest

from agent.bench.node import day_row, median_slope
from tests.real import program


def test_the_memory_of_some_readings_is_a_figure() -> None:
    program("gcc")

    row = day_row(0.05)

    assert (row.metric, row.unit, row.goal, row.n) == ("growth_mib", "MiB", "<= 1", 8)
    assert row.value is not None
    assert row.note.startswith("0.05 h")


def test_a_leak_is_a_slope_and_a_single_step_is_none() -> None:
    leak = [50 + 0.1 * look for look in range(16)]
    step = [50.0] * 12 + [52.0] * 4

    assert median_slope(leak) == pytest.approx(0.1)
    assert median_slope(step) == 0.0
