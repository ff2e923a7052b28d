"""Medians, their intervals and paired differences are what they are called."""

import numpy as np
import pytest

from agent.experiments.summary import differences, estimate, grouped
from tests.experiments import result


def test_one_seed_has_no_interval() -> None:
    found = estimate(np.array([0.7]))

    assert (found.median, found.low, found.high, found.n) == (0.7, None, None, 1)


def test_no_value_is_nan_and_not_an_error() -> None:
    assert np.isnan(estimate(np.array([np.nan])).median)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    """95 % intended; of 200 experiments of 25 seeds at least 88 % (below: p < 1e-4 if true)."""
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = estimate(random.normal(size=25))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0 <= found.high

    assert hits / 200 >= 0.88


def test_a_difference_is_taken_seed_by_seed() -> None:
    """Seeds differ by more than the policies do: only the pairs show which is better."""
    alone = [result(seed, goodput=0.2 + 0.1 * seed) for seed in range(5)]
    healed = [result(seed, policy="rules", goodput=0.25 + 0.1 * seed) for seed in range(5)]

    found = differences(grouped([*alone, *healed]))

    assert [(d.policy, d.other, d.measure) for d in found] == [
        ("rules", "none", "goodput_ratio"),
        ("rules", "none", "lost_gpu_h"),
    ]
    assert found[0].value.median == pytest.approx(0.05)
    assert found[0].value.low == pytest.approx(0.05)


def test_a_seed_that_one_policy_lacks_is_left_out() -> None:
    groups = grouped([result(0), result(1), result(1, policy="rules", goodput=0.9)])

    assert differences(groups)[0].value.n == 1
