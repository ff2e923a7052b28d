"""Odd data give modest answers: missing, constant, counting, few and far out of range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.types import Floats
from rca.scm.judge import judge
from rca.scm.links import Kind, link
from rca.scm.model import FitSettings, fit
from rca.scm.residual import residual
from rca.scm.tails import LEAST_P
from tests.scm_scenes import abnormal_row, diamond, normal_rows, propagate

STEP = 4
PAIR = np.array([[0, 1]])
UNLINKED = np.zeros((0, 2), dtype=np.int64)


@pytest.mark.parametrize("odd", ["all", "column", "half", "row", "two"])
def test_missing_readings_never_make_an_answer_nan(odd: str) -> None:
    value = normal_rows(200)
    if odd == "all":
        value[:] = np.nan
    elif odd == "column":
        value[1] = np.nan
    elif odd == "half":
        value[np.random.default_rng(0).random(value.shape) < 0.5] = np.nan
    else:
        value = value[:, : 1 if odd == "row" else 2]

    found = judge(fit(value, diamond()), abnormal_row(2, 8.0), STEP)

    assert np.isfinite(found.deviation).all()
    assert np.isfinite(found.surprise).all()
    assert sorted(found.order.tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_handful_of_rows_calls_nothing_rare(rows: int) -> None:
    found = judge(fit(normal_rows(rows), diamond()), abnormal_row(2, 50.0), STEP)

    assert found.p_value.min() >= 0.5 / (rows + 1)


def test_one_unread_cause_does_not_cost_the_others_their_fit() -> None:
    value = normal_rows(400)
    value[2] = np.nan

    model = fit(value, diamond())

    assert model.laws.fitted.explained[3] > 0.4
    assert model.laws.fitted.explained[4] > 0.4


def test_an_unread_cause_hands_on_what_reached_it() -> None:
    """The inlet's heat explains the step although nobody reads the temperature between."""
    chain = link(3, np.array([[0, 1], [1, 2]]))
    noise = np.random.default_rng(1).standard_normal((3, 500))
    model = fit(propagate(chain, np.array([1.0, 1.0]), noise), chain)
    hot = np.array([[5.0], [np.nan], [5.0]])

    state = residual(model, hot)

    assert state.level[1] == pytest.approx(5.0, rel=0.1)
    assert np.isnan(state.left[1])
    assert abs(state.left[2]) < 1.0
    assert abs(state.left[0]) > 4.0


def test_a_constant_that_moves_is_the_oddest() -> None:
    value = normal_rows(300)
    value[0] = 7.0
    row = abnormal_row(3, 0.0)
    row[0] = 8.0

    found = judge(fit(value, diamond()), row, STEP)

    assert found.order[0] == 0
    assert found.p_value[0] == LEAST_P


def test_a_law_is_not_stretched_beyond_what_was_seen() -> None:
    """Twenty sigmas of cause explain an effect of the same sign, not one against it."""
    rng = np.random.default_rng(2)
    cause = rng.normal(size=400)
    model = fit(np.stack([cause, cause + rng.normal(0, 1, 400)]), link(2, PAIR))

    along, against = (residual(model, np.array([[20.0], [y]])) for y in (25.0, -25.0))

    assert along.explained[1] == 1.0
    assert along.left[1] == 0.0
    assert against.explained[1] == 0.0
    assert against.left[1] < -20.0


def test_windows_are_judged_by_windows() -> None:
    """A drift of one sigma over ten rows is odd; the tails know the spread of such means."""
    rng = np.random.default_rng(3)
    value = rng.normal(size=(2, 600))
    rows = rng.normal(size=(2, 10)) + np.array([[1.6], [0.0]])

    model = fit(value, link(2, PAIR), FitSettings(window=10))
    found = judge(model, rows, 1)

    assert found.p_value[0] < 1e-3
    assert found.p_value[1] > 0.02


@pytest.mark.parametrize("seed", range(3))
def test_p_values_are_as_rare_as_they_say(seed: int) -> None:
    """Of 500 x 20 normal residuals 10, 1 and 0.1 in 100 fall below those p-values, within half."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(500, 1020))
    model = fit(value[:, :1000], link(500, UNLINKED))
    chance = np.concatenate(
        [model.tails.p_value(residual(model, value[:, [t]]).left) for t in range(1000, 1020)]
    )

    for share in (0.1, 0.01):
        assert (chance < share).mean() == pytest.approx(share, rel=0.5)
    assert (chance < 0.001).mean() < 0.002


def test_heavy_tails_are_not_taken_for_faults() -> None:
    rng = np.random.default_rng(4)
    value = rng.standard_t(3, size=(300, 1040))
    model = fit(value[:, :1000], link(300, UNLINKED))
    chance = np.concatenate(
        [model.tails.p_value(residual(model, value[:, [t]]).left) for t in range(1000, 1040)]
    )

    assert (chance < 0.001).mean() < 0.003


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((4, 9)), r"readings of shape \(4, 9\)"),
        (np.zeros((5, 0)), r"readings of shape \(5, 0\)"),
        (np.zeros(5), r"readings of shape \(5,\)"),
    ],
)
def test_readings_of_the_wrong_shape_are_refused(value: Floats, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit(value, diamond())


def test_links_to_nowhere_and_lags_into_the_past_are_refused() -> None:
    with pytest.raises(InputError, match="variable 7; variables are numbered 0 to 4"):
        link(5, np.array([[0, 7]]))
    with pytest.raises(InputError, match="lag window"):
        link(2, PAIR, lag=(np.array([2]), np.array([1])))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_whatever_the_data_shares_sum_to_the_deviation(seed: int) -> None:
    """Random graphs with maxima, sums, lags and pools; gaps, constants, jumps and huge readings."""
    rng = np.random.default_rng(seed)
    size, rows = int(rng.integers(2, 9)), int(rng.integers(1, 90))
    cause, effect = np.triu_indices(size, 1)
    kept = rng.random(len(cause)) < 0.5
    pairs = np.stack([cause[kept], effect[kept]], axis=1)
    first = rng.integers(0, 3, len(pairs))
    links = link(
        size,
        pairs,
        lag=(first, first + rng.integers(0, 3, len(pairs))),
        pool=rng.integers(-1, 2, len(pairs)),
        kind=rng.choice(np.array([0, 0, 0, Kind.MAX, Kind.SUM]), size),
    )
    value = rng.normal(size=(size, rows + 4)) * 10.0 ** rng.integers(-6, 10, (size, 1))
    value[rng.random(value.shape) < rng.choice([0.0, 0.1, 0.7])] = np.nan
    value[rng.random(size) < 0.2] = 3.0
    value[:, -2:] *= rng.choice([1.0, -40.0], (size, 1))
    model = fit(value[:, :rows], links, FitSettings(window=2))

    found = judge(model, value[:, rows:], size - 1, lead=2)

    # What a law loses to rounding, in its own reading's size, reaches the target in the target's.
    size_of = np.abs(found.state.level) + np.abs(found.state.moved) + model.laws.place.scale
    reached = np.abs(links.total(found.state.slope, size - 1)) @ size_of
    assert abs(found.deviation.sum() - found.state.moved[size - 1]) <= 1e-9 * reached
    assert np.isfinite(found.surprise).all()
    known = found.p_value[np.isfinite(found.state.left)]
    assert ((known >= LEAST_P) & (known <= 1)).all()
