"""The Numenta benchmark's score: what a flag is worth, where it is."""

import numpy as np
import pytest

from agent.evaluations.anomaly import refractory
from agent.evaluations.nab import PROFILES, Scored, at_threshold, nab_score, probation

STANDARD, LOW_FP, LOW_FN = PROFILES
WINDOW = (500, 599)


def flagged(*rows: int, readings: int = 1000) -> list[Scored]:
    score = np.zeros(readings)
    score[list(rows)] = 1.0
    return [Scored(score, (WINDOW,))]


def at_one(*rows: int) -> float:
    return at_threshold(flagged(*rows), STANDARD, 1.0)


def test_nothing_flagged_is_nought_and_the_first_reading_of_each_window_a_hundred() -> None:
    assert at_one() == 0
    assert at_one(WINDOW[0]) == pytest.approx(100)


def test_a_later_flag_in_a_window_is_worth_less_and_one_at_its_end_little() -> None:
    assert at_one(500) > at_one(550) > at_one(599) > 0
    assert at_one(599) == pytest.approx(50, abs=2)  # nothing gained, but no window missed


def test_more_flags_in_a_window_change_nothing() -> None:
    assert at_one(500, 510, 590) == at_one(500)


def test_a_flag_far_from_any_window_costs_what_the_profile_says() -> None:
    # Of two points, one for the window missed and one for the window found.
    assert at_one(500) - at_one(500, 300) == pytest.approx(100 * 0.11 / 2)
    twice = [at_threshold(flagged(*rows), LOW_FP, 1.0) for rows in ((500,), (300, 500))]
    assert twice[0] - twice[1] == pytest.approx(100 * 0.22 / 2)


def test_a_flag_just_behind_a_window_costs_less() -> None:
    assert at_one(500, 605) > at_one(500, 650) > at_one(500, 990)


def test_what_comes_in_probation_does_not_count() -> None:
    assert probation(1000) == 150
    assert probation(100_000) == 750
    assert at_one(500, 149) == at_one(500)
    assert at_one(500, 150) < at_one(500)


def test_the_best_threshold_is_found() -> None:
    score = np.zeros(1000)
    score[[500, 300]] = 0.9, 0.5

    best, threshold = nab_score([Scored(score, (WINDOW,))], LOW_FN)

    assert best == pytest.approx(100)
    assert 0.5 < threshold <= 0.9


def test_a_refractory_period_keeps_the_first_unless_a_later_one_is_higher() -> None:
    score = np.array([0.0, 3.0, 2.0, 3.0, 4.0, *[0.0] * 70, 1.0])

    assert np.flatnonzero(refractory(score)).tolist() == [1, 4, 75]
