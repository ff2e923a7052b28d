"""All variables are fitted in one go, as exactly as one by one, and bend only where that helps."""

import numpy as np
import pytest

from core.errors import InputError
from core.types import Floats
from rca.scm.links import Kind, link
from rca.scm.model import FitSettings, Model, fit
from tests.scm_scenes import DIAMOND, diamond, normal_rows

STRAIGHT = FitSettings(ridge=0.0, knots=())


def lasting(model: Model) -> Floats:
    """(E,) each link's coefficients summed over lags."""
    terms, fitted = model.laws.terms, model.laws.fitted
    return np.bincount(terms.link, fitted.coefficient).astype(np.float64)


def test_the_batched_fit_is_the_least_squares_of_each_variable() -> None:
    value = normal_rows()
    model = fit(value, diamond(), STRAIGHT)

    for effect in range(1, 5):
        links = np.flatnonzero(DIAMOND[:, 1] == effect)
        design = np.vstack([value[DIAMOND[links, 0]], np.ones(value.shape[1])]).T
        expected = np.linalg.lstsq(design, value[effect], rcond=None)
        np.testing.assert_allclose(lasting(model)[links], expected[0][:-1], atol=1e-9)
        spread = np.sqrt(expected[1][0] / value.shape[1])
        assert model.laws.fitted.sd[effect] == pytest.approx(spread, abs=1e-9)


def test_lags_are_found_where_they_are() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=300)
    y = 3 * np.roll(x, 2) + rng.normal(0, 0.1, 300)
    links = link(2, np.array([[0, 1]]), lag=(np.array([1]), np.array([3])))

    model = fit(np.stack([x, y]), links, STRAIGHT)

    assert model.laws.terms.lag.tolist() == [1, 2, 3]
    np.testing.assert_allclose(model.laws.fitted.coefficient, [0, 3, 0], atol=0.05)


def test_a_pool_of_links_shares_what_no_single_one_could_learn() -> None:
    """Twenty GPUs with eight readings each: alone none is fitted, together all are."""
    rng = np.random.default_rng(2)
    heat = rng.normal(size=(20, 8))
    clock = -2 * heat + 100 * np.arange(20)[:, None] + rng.normal(0, 0.1, (20, 8))
    pairs = np.stack([np.arange(20), np.arange(20, 40)], axis=1)
    value = np.concatenate([heat, clock])

    alone = fit(value, link(40, pairs), STRAIGHT)
    pooled = fit(value, link(40, pairs, pool=np.zeros(20, dtype=np.int64)), STRAIGHT)

    assert (lasting(alone) == 0).all()
    np.testing.assert_allclose(lasting(pooled), -2, atol=0.05)


@pytest.mark.parametrize("law", ["square", "threshold"])
def test_a_bent_law_is_taken_where_a_straight_one_forecasts_worse(law: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=600)
    y = 0.5 * x**2 if law == "square" else 2 * np.maximum(x - 0.7, 0)
    value = np.stack([x, y + rng.normal(0, 0.4, 600), 0.5 * x + rng.normal(0, 0.4, 600)])

    model = fit(value, link(3, np.array([[0, 1], [0, 2]])))
    straight = fit(value, link(3, np.array([[0, 1], [0, 2]])), STRAIGHT)

    assert model.bent.tolist() == [False, True, False]
    assert model.laws.fitted.explained[1] > straight.laws.fitted.explained[1] + 0.1


def test_straight_laws_are_seldom_taken_for_bent() -> None:
    """Of 400 straight laws at the least rows that may bend, at most 2 in 100 do."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 200))
    value = np.concatenate([x, 0.5 * x + rng.normal(size=x.shape)])
    pairs = np.stack([np.arange(400), np.arange(400, 800)], axis=1)

    assert fit(value, link(800, pairs)).bent.mean() <= 0.02


def test_a_cycle_is_refused_by_its_members_names() -> None:
    pairs = np.array([[0, 1], [1, 2], [2, 1], [2, 3]])

    with pytest.raises(InputError, match=r"left, right cause each other in a cycle") as refused:
        link(4, pairs, names=("inlet", "left", "right", "step"))

    assert "step" not in str(refused.value)


def test_a_maximum_is_arithmetic_and_has_no_coefficient() -> None:
    rng = np.random.default_rng(7)
    ranks = rng.normal(10, 1, (3, 200))
    job = ranks.max(axis=0) + 0.5 + rng.normal(0, 0.01, 200)
    kind = np.array([0, 0, 0, Kind.MAX])
    links = link(4, np.array([[0, 3], [1, 3], [2, 3]]), kind=kind)

    model = fit(np.concatenate([ranks, job[None]]), links)

    assert len(model.laws.fitted.coefficient) == 0
    assert model.laws.fitted.sd[3] == pytest.approx(0.01, rel=0.2)
