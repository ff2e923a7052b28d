"""How the evaluation of forecasts cuts windows and scores them."""

import numpy as np
import pytest

from agent.evaluations.forecast import (
    Bands,
    coverage,
    errors,
    gap_change,
    on_edge,
    pinballs,
    pool_bands,
    ratio_interval,
    winsorised,
)
from agent.evaluations.lookalikes import LOOKALIKES
from agent.evaluations.recorded import Panel
from agent.evaluations.weights import KNOT_S, at_leads, learn_weights, learn_widths, sample
from agent.evaluations.windows import Source, Windows, windows


def cut(name: str) -> Windows:
    source = LOOKALIKES[name]
    return windows(name, source.panel(None), source)  # type: ignore[arg-type]


def ramp() -> Windows:
    value = np.arange(1000.0) + np.zeros((2, 1))
    panel = Panel("ramp", "ramp", ("a", "b"), np.arange(1000, dtype=np.float64) * 60.0, value)
    return windows("ramp", panel, Source(lambda _: panel, 480, 5))


def test_a_window_ends_where_its_future_begins() -> None:
    made = ramp()
    assert made.past.shape == (10, 480)
    assert made.future.shape == (10, 120)
    assert (made.future[:, 0] - made.past[:, -1] == 1).all()
    assert sorted(set(made.turn.tolist())) == [0, 1, 2, 3, 4]


def test_windows_that_stood_still_are_left_out() -> None:
    value = np.random.default_rng(0).standard_normal((1, 2000))
    value[:, 400:1000] = 0.0
    panel = Panel("still", "still", ("a",), np.arange(2000, dtype=np.float64) * 60.0, value)
    made = windows("still", panel, Source(lambda _: panel, 480, 20))
    assert 0 < len(made.past) < 20
    assert made.spread.min() > 0.1


def test_a_perfect_forecast_has_no_error() -> None:
    made = ramp()
    perfect = Bands(made.future, made.future, made.future)
    assert errors(made, perfect, 7200.0).max() == 0
    assert pinballs(made, perfect, 1800.0).max() == 0
    assert coverage(made, perfect) == 1.0


def test_an_error_is_counted_in_standard_deviations() -> None:
    made = ramp()
    off = Bands(made.future, made.future + made.spread[:, None], made.future)
    assert errors(made, off, 1800.0) == pytest.approx(1.0)
    assert pinballs(made, off, 1800.0) == pytest.approx(0.5 / 3)


def test_one_wild_window_does_not_decide_the_mean() -> None:
    value = np.ones(200)
    value[0] = 1e9
    assert winsorised(value) == 1.0


def test_the_pool_beats_the_last_value_on_lookalikes() -> None:
    for name in ("L1", "L2"):
        made = cut(name)
        pool = pool_bands(made, lambda *_: None)
        last = np.repeat(made.past[:, -1:], made.future.shape[1], axis=1)
        naive = winsorised(errors(made, Bands(last, last, last), 7200.0))
        assert winsorised(errors(made, pool, 7200.0)) < naive
        assert coverage(made, pool) > 0.5


def test_gaps_hardly_move_forecasts_of_lookalikes() -> None:
    assert gap_change(cut("L2")) <= 0.05


def test_readings_on_the_edge_are_inside_and_counted() -> None:
    made = ramp()
    edge = Bands(made.future, made.future, made.future + 1)
    wide = Bands(made.future - 1, made.future, made.future + 1)
    assert coverage(made, edge) == 1.0
    assert on_edge(made, edge) == 1.0
    assert on_edge(made, wide) == 0.0


def test_the_interval_of_a_ratio_counts_series_not_windows() -> None:
    rng = np.random.default_rng(0)
    series = np.repeat(np.arange(4), 50)
    theirs = 1 + rng.random(200)
    ours = theirs * np.repeat([0.5, 0.7, 0.9, 1.1], 50)
    low, high = ratio_interval(ours, theirs, series)
    alone = ratio_interval(ours, theirs, np.arange(200))
    assert 0.5 <= low < 0.7
    assert 0.9 < high <= 1.1
    assert alone[1] - alone[0] < high - low
    assert ratio_interval(theirs, theirs, series) == (1.0, 1.0)


def test_learned_weights_are_convex_and_bend_little() -> None:
    made = [sample(cut("L2").rows(np.arange(0, 96, 3)))]
    weights = learn_weights(made)
    leads = np.geomspace(KNOT_S[0], KNOT_S[-1], 50)
    shares = at_leads(weights, leads)
    assert weights.min() >= 0
    assert shares.sum(axis=1) == pytest.approx(1)
    assert np.abs(np.diff(shares, axis=0)).max() < 0.25
    assert learn_widths(made, weights).min() >= 0
