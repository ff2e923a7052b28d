"""Shares are exact: they sum to what they share out, and are what all permutations would give."""

from itertools import permutations

import numpy as np
import pytest

from core.types import Floats
from rca.scm.judge import judge
from rca.scm.links import Kind, link
from rca.scm.model import FitSettings, fit
from rca.scm.shapley import PERMUTATIONS, gaussian_shapley, log_upper
from tests.scm_scenes import GAIN, abnormal_row, diamond, normal_rows, propagate

STEP = 4


def log_chance(push: Floats, variance: Floats, members: tuple[int, ...]) -> float:
    """Log P(|known + noise| >= |all pushes|) with these players' pushes known."""
    known = push[list(members)].sum()
    sigma = np.sqrt(np.delete(variance, list(members)).sum())
    away = abs(push.sum())
    if sigma == 0:
        return 0.0
    z = np.array([(away - known) / sigma, (away + known) / sigma])
    return float(np.logaddexp(*log_upper(z)))


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_the_mean_over_all_permutations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    push, variance = rng.normal(0, 2, 5), rng.uniform(0.2, 2, 5)
    expected = np.zeros(5)
    orders = list(permutations(range(5)))
    for order in orders:
        for place, player in enumerate(order):
            before, after = order[:place], order[: place + 1]
            gained = log_chance(push, variance, after) - log_chance(push, variance, before)
            expected[player] += gained / len(orders)

    np.testing.assert_allclose(gaussian_shapley(push, variance), expected, atol=1e-5)


def test_many_players_are_sampled_the_same_way_each_time() -> None:
    rng = np.random.default_rng(1)
    push, variance = rng.normal(0, 1, 40), rng.uniform(0.2, 2, 40)
    first, again, other = (gaussian_shapley(push, variance, seed=seed) for seed in (3, 3, 4))

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() < 5 / np.sqrt(PERMUTATIONS)
    away = abs(push.sum()) / np.sqrt(variance.sum())
    surprise = -np.log(2) - log_upper(np.array([away]))[0]
    assert first.sum() == pytest.approx(surprise, abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("root", range(5))
def test_a_deviation_is_shared_out_to_the_last_digit(root: int, seed: int) -> None:
    model = fit(normal_rows(), diamond())
    row = abnormal_row(root, 8.0, seed=seed)
    found = judge(model, row, STEP)

    deviation = row[STEP, 0] - model.normal[STEP]
    assert found.deviation.sum() == pytest.approx(deviation, abs=1e-9)
    assert found.order[0] == root


def test_inside_the_trained_range_shares_are_total_effect_times_noise() -> None:
    rows = normal_rows(4000)
    model = fit(rows, diamond(), FitSettings(ridge=0.0, knots=()))
    noise = np.array([[1.0], [0.5], [-2.0], [0.7], [0.1]])

    found = judge(model, propagate(diamond(), GAIN, noise), STEP)

    total = np.array([0.8 * 1.2 * 0.9 - 0.6 * 0.5 * 0.9, 1.2 * 0.9, 0.5 * 0.9, 0.9, 1.0])
    np.testing.assert_allclose(found.deviation, total * noise[:, 0], atol=0.15)


def test_surprise_sums_to_that_of_the_target() -> None:
    model = fit(normal_rows(4000), diamond())
    found = judge(model, abnormal_row(2, 6.0), STEP)

    push, sigma = found.deviation.sum(), 0.0
    total = model.laws.links.total(found.state.slope, STEP)
    sigma = float(np.sqrt(((total * model.tails.scale) ** 2).sum()))
    z = np.array([abs(push) / sigma])
    assert found.surprise.sum() == pytest.approx(-np.log(2) - log_upper(z)[0], rel=1e-5)


def test_of_a_maximum_the_slowest_cause_carries_the_rise() -> None:
    rng = np.random.default_rng(5)
    ranks = rng.normal(10, 0.1, (3, 300))
    links = link(4, np.array([[0, 3], [1, 3], [2, 3]]), kind=np.array([0, 0, 0, Kind.MAX]))
    model = fit(np.concatenate([ranks, ranks.max(axis=0, keepdims=True)]), links)

    found = judge(model, np.array([[10.0], [14.0], [12.0], [14.0]]), 3)

    assert found.deviation.sum() == pytest.approx(14 - model.normal[3])
    assert found.deviation[1] == pytest.approx(found.deviation.sum(), abs=0.2)
    assert found.deviation[2] == 0.0
    assert found.order[0] == 1


def test_the_same_rows_give_the_same_answer() -> None:
    first, again = (judge(fit(normal_rows(), diamond()), abnormal_row(1, 5.0), STEP) for _ in "ab")

    np.testing.assert_array_equal(first.surprise, again.surprise)
    np.testing.assert_array_equal(first.order, again.order)


def test_upper_tails_are_those_of_a_normal_distribution() -> None:
    """Known values; the last underflows as a probability of its own."""
    z = np.array([-3.0, 0.0, 1.0, 5.0, 40.0])
    known = [-0.00135081, -0.69314718, -1.84102165, -15.06499840, -804.60844201]

    np.testing.assert_allclose(log_upper(z), known, atol=2e-6, rtol=2e-6)
