import math

import pytest

from core.errors import InputError
from remediation.policies.interval import best_interval_s, failure_s, lost_share


def test_the_best_interval_loses_least() -> None:
    best = best_interval_s(30.0, 8 * 3600.0)
    losses = [lost_share(best * factor, 30.0, 8 * 3600.0) for factor in (0.7, 1.0, 1.4)]
    assert min(losses) == losses[1]


def test_it_is_young_s_square_root_where_saves_are_short() -> None:
    assert best_interval_s(1.0, 1e6) == pytest.approx(math.sqrt(2e6), rel=2e-3)


def test_a_save_that_takes_longer_than_a_job_lives_is_made_once_a_life() -> None:
    assert best_interval_s(100.0, 40.0) == 40.0


def test_a_free_save_is_made_always_and_a_job_that_never_fails_never_saves() -> None:
    assert best_interval_s(0.0, 3600.0) == 0.0
    assert best_interval_s(10.0, math.inf) == math.inf


def test_a_job_of_16384_gpus_fails_every_two_hours_at_the_published_rate() -> None:
    assert failure_s(2048) == pytest.approx(1.8 * 3600, rel=0.01)


@pytest.mark.parametrize(
    ("save_s", "between_s"), [(-1.0, 60.0), (math.inf, 60.0), (1.0, 0.0), (math.nan, 60.0)]
)
def test_figures_that_cannot_be_are_refused(save_s: float, between_s: float) -> None:
    with pytest.raises(InputError, match="no best interval"):
        best_interval_s(save_s, between_s)
