"""A job that is slower than it was is told by the part of its step that has grown."""

from collections.abc import Mapping

import numpy as np
import pytest

from core.types import Floats, Window
from detectors.progress import Slowdowns
from tests.job_readings import of_jobs, of_ranks, watch

COLUMNS, ONSET = 120, 80
PARTS = {
    "rank_step_time_s": (2.0, "slow-compute"),
    "rank_data_wait_s": (0.1, "slow-loading"),
    "rank_collective_time_s": (0.4, "slow-collective"),
}


def parts(seed: int = 0) -> dict[str, Floats]:
    random = np.random.default_rng(seed)
    return {
        name: mean * np.exp(random.normal(0, 0.03, (16, COLUMNS)))
        for name, (mean, _) in PARTS.items()
    }


def found(value: Mapping[str, Floats], *more: Window) -> dict[str, int]:
    """Detector -> the column of its first finding, all of job 88."""
    first: dict[str, int] = {}
    windows = [*(of_ranks(name, rows) for name, rows in value.items()), *more]
    for column, anomalies in watch(Slowdowns(), windows).items():
        for anomaly in anomalies:
            assert anomaly.target.job == "88"
            first.setdefault(anomaly.detector, column)
    return first


@pytest.mark.parametrize("metric", PARTS)
def test_the_part_that_grows_is_named(metric: str) -> None:
    value = parts()
    value[metric][:, ONSET:] += 0.5

    ((detector, column),) = found(value).items()

    assert detector == PARTS[metric][1]
    assert 0 < column - ONSET <= 10


@pytest.mark.parametrize("seed", range(5))
def test_a_job_that_is_what_it_was_is_left_alone(seed: int) -> None:
    assert found(parts(seed)) == {}


def test_a_straggler_is_not_the_networks_fault() -> None:
    """The others wait for it in their collectives; itself it waits for nobody."""
    value = parts()
    value["rank_step_time_s"][3, ONSET:] += 1.0
    value["rank_collective_time_s"][:, ONSET:] += 1.0
    value["rank_collective_time_s"][3, ONSET:] -= 1.0

    assert found(value) == {}


def test_a_part_that_grows_by_little_of_the_step_is_no_news() -> None:
    value = parts()
    value["rank_data_wait_s"][:, ONSET:] *= 1.5

    assert found(value) == {}


def test_without_ranks_the_steps_own_time_tells() -> None:
    step_s = 2.5 * np.exp(np.random.default_rng(0).normal(0, 0.01, COLUMNS))
    step_s[ONSET:] *= 1.15

    assert found({}, of_jobs("job_step_time_s", step_s, every_s=15.0)).keys() == {"slow-step"}
    assert found(parts(), of_jobs("job_step_time_s", step_s, every_s=15.0)) == {}


def test_goodput_that_drops_is_found() -> None:
    good = 0.97 + np.random.default_rng(0).normal(0, 0.005, COLUMNS)
    good[ONSET:] -= 0.2
    windows = [of_jobs("job_goodput_ratio", good, every_s=15.0)]

    (anomaly,) = watch(Slowdowns(), windows)[COLUMNS - 1]

    assert anomaly.detector == "goodput-drop"
    assert anomaly.value < anomaly.lower < 0.9


def test_a_job_of_another_size_is_learned_anew() -> None:
    half = {name: rows[:8] + (name == "rank_step_time_s") * 2.0 for name, rows in parts(1).items()}
    slowdowns = Slowdowns()

    watch(slowdowns, [of_ranks(name, rows) for name, rows in parts().items()])
    later = [
        of_ranks(name, np.concatenate([np.full((8, 120), np.nan), r], 1))
        for name, r in half.items()
    ]

    assert watch(slowdowns, later, range(160, 240)) == {}


def test_what_has_lasted_is_how_it_is() -> None:
    step_s = np.concatenate([np.full(60, 2.0), np.full(300, 3.0)])

    seen = watch(Slowdowns(adopt_s=3600.0), [of_jobs("job_step_time_s", step_s, every_s=15.0)])

    assert 60 < min(seen) < max(seen) <= 60 + 245


def test_what_it_learned_goes_on_in_another_process() -> None:
    value = parts()
    value["rank_data_wait_s"][:, ONSET:] += 0.5
    windows, rest = [of_ranks(name, rows) for name, rows in value.items()], range(ONSET, COLUMNS, 5)
    before, after = Slowdowns(), Slowdowns()

    watch(before, windows, range(19, ONSET, 20))
    after.restore(before.state())

    assert watch(after, windows, rest) == watch(before, windows, rest) != {}
