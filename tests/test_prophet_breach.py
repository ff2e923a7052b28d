"""A breach is dated from shared futures: its probability and time follow from the forecast."""

import numpy as np
import pytest

from core.types import Floats
from core.units import Bad
from detectors.forecast.prophet.breach import Outlook, breach, crossings_of
from detectors.forecast.prophet.intervals import Noise, TrendLaw

AHEAD_S = 60.0 * np.arange(1, 121, dtype=np.float64)
LAW = TrendLaw(25, 1 / 1439, 120)


def outlook(mean: Floats, *, sigma: float = 0.001, rate: float = 0.0, **noise: Floats) -> Outlook:
    """Series whose newest reading, at 0 s, is their first forecast."""
    mean = np.atleast_2d(mean)
    every = np.ones(len(mean))
    return Outlook(0.0, mean[:, 0], AHEAD_S, mean, LAW, sigma * every, rate * every, Noise(**noise))


RISING = np.linspace(0.5, 0.9, 120)


def test_a_sure_rise_is_dated_where_it_meets_the_limit() -> None:
    found = breach(outlook(RISING), 0.7)

    meets_s = AHEAD_S[0] + (0.7 - 0.5) / 0.4 * (AHEAD_S[-1] - AHEAD_S[0])
    assert found.probability[0] == 1.0
    assert found.expected_s[0] == pytest.approx(meets_s, abs=90)
    assert found.earliest_s[0] <= found.expected_s[0] <= found.latest_s[0]


def test_the_bad_side_decides() -> None:
    found = breach(outlook(np.stack([RISING, RISING[::-1]])), 0.7, bad=Bad.LOW, sustain_s=600.0)

    # The first is below already and rises: it stays there for an hour yet.
    assert found.probability.tolist() == [1.0, 1.0]
    assert found.expected_s[0] == 0.0
    assert found.expected_s[1] == pytest.approx(3600, abs=120)


def test_a_limit_out_of_reach_or_missing_is_told_apart() -> None:
    found = breach(outlook(np.stack([RISING, RISING])), np.array([5.0, np.nan]))

    assert found.probability[0] == 0.0
    assert np.isnan(found.probability[1])
    assert np.isnan(found.expected_s).all()


def test_a_metric_with_no_bad_side_has_no_breach() -> None:
    assert np.isnan(breach(outlook(RISING), 0.7, bad=Bad.NEITHER).probability[0])


def test_a_level_on_the_limit_is_an_even_chance_after_one_uncertain_slope() -> None:
    slope = (AHEAD_S / AHEAD_S[-1])[None] ** 2
    level = outlook(np.zeros(120), sigma=1e-6, extra=slope)

    found = breach(level, 0.3)

    # Only the parameters err, along one line: P(N(0, 1) > 0.3).
    assert found.probability[0] == pytest.approx(0.382, abs=0.03)


def test_unsteadier_slopes_make_a_breach_likelier() -> None:
    flat = np.full(120, 0.5)

    chances = [breach(outlook(flat, rate=rate), 0.52).probability[0] for rate in (0.1, 1.0, 10.0)]

    assert chances[0] < chances[1] < chances[2] < 0.5


def test_a_short_spike_is_no_breach_that_lasts() -> None:
    noisy = outlook(np.full(120, 0.5), sigma=0.1)

    brief = breach(noisy, 0.65, sustain_s=0.0).probability[0]
    lasting = breach(noisy, 0.65, sustain_s=600.0).probability[0]

    assert brief > 0.99
    # What is over at the horizon's end counts, as nobody knows how it goes on: P(N > 1.5).
    assert lasting == pytest.approx(0.067, abs=0.02)


def test_the_same_question_gets_the_same_answer() -> None:
    asked = outlook(np.stack([RISING, RISING - 0.2]), sigma=0.05, rate=0.5)

    first, second = breach(asked, 0.8), breach(asked, 0.8)

    assert np.array_equal(first.probability, second.probability)
    assert np.array_equal(first.expected_s, second.expected_s)


def test_a_series_is_judged_alike_alone_and_in_company() -> None:
    pair = outlook(np.stack([RISING, RISING - 0.2]), sigma=0.05, rate=0.5)
    alone = outlook(RISING - 0.2, sigma=0.05, rate=0.5)

    assert breach(pair, 0.8).probability[1] == breach(alone, 0.8).probability[0]


def test_paths_cross_between_two_steps() -> None:
    paths = np.array([[-1.0, 1.0, 1.0], [-3.0, -2.0, -1.0]])

    probability, _, expected_s, _ = crossings_of(
        paths, -2.0, time_s=np.array([10.0, 20.0, 30.0]), now_s=0.0, sustain_s=10.0
    )

    assert (probability, expected_s) == (0.5, 15.0)
