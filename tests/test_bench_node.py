"""The node service's memory is measured on a clock that is moved."""

from agent.bench.node import day_row
from tests.real import program


def test_the_memory_of_some_readings_is_a_figure() -> None:
    program("gcc")

    row = day_row(4)

    assert (row.metric, row.unit, row.goal) == ("growth_mib", "MiB", "<= 1")
    assert row.value is not None
    assert "0.0666667 h" in row.note
