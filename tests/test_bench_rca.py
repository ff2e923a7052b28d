"""The bench of root cause says what it measured: a DoWhy that was stopped gives a lower bound."""

import numpy as np
import pytest

from agent.bench.rca import rows_of
from agent.bench.rca_child import Agreement, Ours, OutOfTimeError, Theirs, kendall_tau, limited
from agent.bench.rca_graphs import ROWS, draw

OURS = Ours(50, 85, 0.02, (0.002, 0.001, 0.003), 9, 8, 9)


def test_a_stopped_reference_is_reported_as_a_lower_bound() -> None:
    stopped, finished = (
        {row.metric: row for row in rows_of([OURS], [theirs], [Agreement(5, 1.0, 0.8)])}
        for theirs in (Theirs(50, 9.0, False), Theirs(50, 90.0, True))
    )

    assert stopped["ratio_vs_dowhy_50"].value == pytest.approx(4500)
    assert "at least: stopped after 9 CPU s" in stopped["ratio_vs_dowhy_50"].note
    assert "at least" not in finished["ratio_vs_dowhy_50"].note
    assert finished["ratio_vs_dowhy_50"].ok
    assert finished["kendall_tau"].ok
    assert not finished["kendall_tau_deviation"].ok


def solve_for_ever() -> None:
    while True:
        np.linalg.solve(np.eye(50), np.ones(50))


def test_work_beyond_its_processor_time_is_stopped() -> None:
    with pytest.raises(OutOfTimeError), limited(0.1):
        solve_for_ever()


@pytest.mark.parametrize("variables", [5, 200])
def test_every_variable_of_a_drawn_graph_reaches_the_target(variables: int) -> None:
    drawn, again = (draw(variables, seed=3, shift=5.0) for _ in "ab")

    assert len(drawn.links.ancestors(drawn.target)) == variables
    assert drawn.normal.shape == (variables, ROWS)
    assert drawn.abnormal.shape == (variables, len(drawn.root))
    np.testing.assert_array_equal(drawn.abnormal, again.abnormal)


def test_tau_counts_pairs_in_the_same_order() -> None:
    assert kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 9.0])) == 1.0
    assert kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == -1.0
    assert kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx(1 / 3)
