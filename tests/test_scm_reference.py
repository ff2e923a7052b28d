"""The closed forms and DoWhy agree where both can be asked: shares, changes, and what returns."""

import numpy as np
import pytest

from agent.bench.rca_child import kendall_tau
from agent.bench.rca_graphs import draw
from core.errors import InputError
from rca.reference.change import ChangeTask, distribution_change
from rca.reference.gcm import AttributionTask, shares_of
from rca.reference.model import exactly, reference_of
from rca.reference.scorer import SortedQuantileScorer
from rca.reference.what_if import WhatIfTask, what_if
from rca.scm.judge import judge
from rca.scm.model import fit
from tests.scm_scenes import DIAMOND, GAIN, abnormal_row, diamond, normal_rows, propagate

NAMES = ("inlet", "left", "right", "clock", "step")
LINKS = tuple((int(cause), int(effect)) for cause, effect in DIAMOND)
STEP = 4


def test_the_sorted_scorer_gives_dowhys_own_numbers() -> None:
    from dowhy.gcm.anomaly_scorers import MedianCDFQuantileScorer

    rng = np.random.default_rng(0)
    samples = np.round(rng.normal(size=400), 1)
    values = np.round(np.concatenate([rng.normal(size=50), [-9, 9, samples[0]]]), 1)
    ours, theirs = SortedQuantileScorer(), MedianCDFQuantileScorer()
    ours.fit(samples)
    theirs.fit(samples)

    np.testing.assert_allclose(ours.score(values), theirs.score(values), atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_surprise_is_shared_as_dowhy_shares_it(seed: int) -> None:
    """10,000 samples, all coalitions of 5; a cause of 3 sigmas, which they still resolve."""
    drawn = draw(5, seed=seed, shift=3.0)
    found = judge(fit(drawn.normal, drawn.links), drawn.abnormal[:, :1], drawn.target)
    pairs = tuple(zip(drawn.links.cause.tolist(), drawn.links.effect.tolist(), strict=True))
    task = AttributionTask(tuple("abcde"), pairs, drawn.normal, drawn.abnormal[:, 0], drawn.target)

    shares = shares_of(
        reference_of(pairs, drawn.normal, drawn.target, seed=0),
        task,
        anomaly_scorer=SortedQuantileScorer(),
        num_distribution_samples=10_000,
        shapley_config=exactly(),
    )

    assert kendall_tau(found.surprise, np.array(shares)) >= 0.8
    np.testing.assert_allclose(found.surprise, shares, atol=0.15 * np.abs(shares).sum())


def test_what_returns_the_target_is_the_same_to_both() -> None:
    rows, row = normal_rows(600), abnormal_row(1, 5.0)
    task = WhatIfTask(NAMES, LINKS, rows, row[:, 0], (1, 2), STEP)

    theirs = what_if(task)
    model = fit(rows, diamond())
    state = judge(model, row, STEP).state
    brought = model.laws.links.total(state.slope, STEP) * state.moved

    np.testing.assert_allclose(theirs.counterfactual, row[STEP, 0] - brought[[1, 2]], atol=0.1)
    assert theirs.returned()[0][0] == "left"
    assert abs(theirs.intervened[0] - theirs.normal) < 0.3


def test_what_is_no_cause_cannot_return_the_target() -> None:
    task = WhatIfTask(NAMES, LINKS, normal_rows(100), abnormal_row(1, 5.0)[:, 0], (STEP,), 1)

    with pytest.raises(InputError, match="step is no cause of it"):
        what_if(task)


def test_a_changed_law_is_the_same_to_both() -> None:
    noise = np.random.default_rng(1).standard_normal((5, 300))
    noise[1] += 3
    before, after = normal_rows(300), propagate(diamond(), GAIN, noise)

    theirs = distribution_change(ChangeTask(NAMES, LINKS, before, after, STEP))
    slope = propagate(diamond(), GAIN, np.eye(5))[STEP, 1]

    assert theirs.ranked()[0][0] == "left"
    assert theirs.mean[1] == pytest.approx(3 * slope, abs=0.4)
    assert theirs.mean_change == pytest.approx(after[STEP].mean() - before[STEP].mean(), abs=1e-9)


def test_a_bent_law_gets_a_tree_and_a_straight_one_a_line() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    rows = np.stack([x, x**2 + rng.normal(0, 0.3, 400), x + rng.normal(0, 0.3, 400)])

    made = reference_of(((0, 1), (1, 2), (0, 2)), rows, 2, seed=0)

    models = [made.model.causal_mechanism(name).prediction_model.sklearn_model for name in "12"]
    assert made.bent.tolist() == [False, True, False]
    assert [type(model).__name__ for model in models] == [
        "RandomForestRegressor",
        "LinearRegression",
    ]
