"""A loss that is no number, or has jumped, is found; a noisy one that falls is left alone."""

import numpy as np
import pytest

from core.types import Floats, Severity, Window
from detectors.progress import Losses
from tests.job_readings import of_jobs, watch

COLUMNS, ONSET = 120, 80


def loss(seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    fallen = 2.0 + 8.0 * np.exp(-np.arange(COLUMNS) / 20)
    return np.asarray(fallen + random.normal(0, 0.1, COLUMNS))


def readings(value: Floats, metric: str = "job_loss") -> list[Window]:
    steps = of_jobs("job_steps_total", 7.0 * np.arange(COLUMNS, dtype=np.float64), every_s=15.0)
    return [of_jobs(metric, value, every_s=15.0), steps]


def test_a_loss_that_becomes_no_number_is_found() -> None:
    value = loss()
    value[ONSET:] = np.nan

    seen = watch(Losses(), readings(value))

    assert 0 < min(seen) - ONSET <= 4
    (anomaly,) = seen[COLUMNS - 1]
    assert (anomaly.detector, anomaly.severity) == ("nan-loss", Severity.CRITICAL)
    assert anomaly.target.job == "88"


def test_a_loss_that_ends_with_the_steps_is_no_news() -> None:
    value = loss()
    value[ONSET:] = np.nan
    steps = of_jobs("job_steps_total", 7.0 * np.minimum(np.arange(120.0), ONSET), every_s=15.0)

    assert watch(Losses(), [of_jobs("job_loss", value, every_s=15.0), steps]) == {}


def test_a_sample_that_is_missing_now_and_then_is_no_news() -> None:
    value = loss()
    value[::3] = np.nan

    assert watch(Losses(), readings(value)) == {}


@pytest.mark.parametrize("metric", ["job_loss", "job_grad_norm"])
def test_a_jump_is_found_and_ends(metric: str) -> None:
    value = loss()
    value[ONSET : ONSET + 10] *= 8.0

    seen = watch(Losses(), readings(value, metric))

    assert ONSET < min(seen) <= ONSET + 3
    assert max(seen) == ONSET + 9
    assert seen[min(seen)][0].detector == "loss-spike"


def test_one_odd_batch_is_no_news() -> None:
    value = loss()
    value[ONSET] *= 20.0

    assert watch(Losses(), readings(value)) == {}


@pytest.mark.parametrize("seed", range(10))
def test_a_loss_that_falls_is_left_alone(seed: int) -> None:
    assert watch(Losses(), readings(loss(seed))) == {}


def test_steps_that_the_trainer_counts_are_believed() -> None:
    counts = np.where(np.arange(COLUMNS) < ONSET, 0.0, 3.0)

    seen = watch(Losses(), [of_jobs("job_nan_steps_total", counts, every_s=15.0)])

    assert min(seen) == ONSET
    assert "3 steps of job 88" in seen[ONSET][0].text


def test_what_it_learned_goes_on_in_another_process() -> None:
    value = loss()
    value[ONSET:] *= 8.0
    before, after = Losses(), Losses()

    watch(before, readings(value), range(ONSET))
    after.restore(before.state())

    rest = range(ONSET, COLUMNS)
    assert watch(after, readings(value), rest) == watch(before, readings(value), rest) != {}


def test_a_step_of_no_number_behind_a_missed_scrape_is_told() -> None:
    counts = np.full(COLUMNS, 2.0)
    counts[ONSET - 3 : ONSET] = np.nan
    counts[ONSET:] = 3.0

    seen = watch(Losses(), [of_jobs("job_nan_steps_total", counts, every_s=15.0)])

    assert min(seen) == ONSET
    assert seen[ONSET][0].text.startswith("1 steps of ")


def test_a_count_that_began_anew_counts_both_lives() -> None:
    counts = np.repeat([0.0, 4.0, 0.0, 1.0], (ONSET, 5, 5, COLUMNS - ONSET - 10))

    seen = watch(Losses(), [of_jobs("job_nan_steps_total", counts, every_s=15.0)])

    assert seen[ONSET + 10][0].text.startswith("5 steps of ")
