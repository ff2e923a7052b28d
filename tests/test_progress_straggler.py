"""A rank or node that is slow for its job, or has become so, is found; a slow role is not."""

from pathlib import Path

import numpy as np
import pytest

from agent.evaluations.timelines import blamed_replicas, timeline
from core.target import Target
from core.types import Floats
from detectors.progress import Stragglers, roles
from detectors.progress.ranks import Ranks
from detectors.progress.straggler import METRIC
from tests.job_readings import of_ranks, watch

COLUMNS = 160
ONSET = 100


def own_times(seed: int, ranks: int = 32, *, spread: float = 0.02) -> Floats:
    return 2.0 * np.exp(np.random.default_rng(seed).normal(0, spread, (ranks, COLUMNS)))


def blamed(value: Floats) -> dict[str, int]:
    """Target -> the column at which it was blamed first."""
    first: dict[str, int] = {}
    columns = [*range(19, ONSET, 20), *range(ONSET, COLUMNS)]
    for column, anomalies in watch(Stragglers(), [of_ranks(METRIC, value)], columns).items():
        for anomaly in anomalies:
            first.setdefault(str(anomaly.target), column)
    return first


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slowdown", [1.1, 1.2, 1.5])
def test_a_rank_that_becomes_slow_is_found_within_ten_minutes(seed: int, slowdown: float) -> None:
    value = own_times(seed)
    value[5, ONSET:] *= slowdown

    (target, column), *others = blamed(value).items()

    assert (target, others) == ("job 88/rank 5", [])
    assert 0 <= column - ONSET <= 40


@pytest.mark.parametrize("seed", range(3))
def test_one_that_becomes_slow_little_by_little_is_found(seed: int) -> None:
    value = own_times(seed)
    value[5, ONSET:] *= np.minimum(1 + np.arange(60) / 400, 1.1)

    assert blamed(value).keys() == {"job 88/rank 5"}


@pytest.mark.parametrize("seed", range(3))
def test_one_that_is_slow_now_and_again_is_found(seed: int) -> None:
    value = own_times(seed)
    for bout in range(ONSET, COLUMNS, 12):
        value[5, bout : bout + 3] *= 1.3

    assert blamed(value).keys() == {"job 88/rank 5"}


@pytest.mark.parametrize("seed", range(10))
def test_equal_ranks_are_not_blamed(seed: int) -> None:
    assert blamed(own_times(seed, spread=0.05)) == {}


def test_less_than_a_tenth_is_not_worth_a_word() -> None:
    value = own_times(0, spread=0.005)
    value[5, ONSET:] *= 1.04

    assert blamed(value) == {}


def test_a_job_that_becomes_slow_as_a_whole_blames_nobody() -> None:
    value = own_times(0)
    value[:, ONSET:] *= 1.5

    assert blamed(value) == {}


def test_lengths_of_sequences_blame_nobody() -> None:
    value = own_times(1) * np.random.default_rng(2).uniform(0.8, 1.2, (32, COLUMNS))

    assert blamed(value) == {}


def test_a_stage_with_more_to_do_blames_nobody() -> None:
    value = own_times(0)
    value[-8:] *= 1.3

    assert blamed(value) == {}


def test_a_slow_rank_of_a_slow_stage_is_found() -> None:
    value = own_times(0)
    value[-8:] *= 1.3
    value[27, ONSET:] *= 1.2

    assert blamed(value).keys() == {"job 88/rank 27"}


def test_all_of_a_nodes_ranks_are_the_nodes_fault() -> None:
    value = own_times(0)
    value[8:16, ONSET:] *= 1.3
    seen = watch(Stragglers(), [of_ranks(METRIC, value)], range(19, COLUMNS, 10))

    (anomaly,) = seen[max(seen)]

    assert (str(anomaly.target), anomaly.metric) == ("node-1", METRIC)
    assert "8 of 8 ranks of job 88" in anomaly.text
    assert anomaly.value > anomaly.upper


def test_the_slow_one_of_two_nodes_is_known_by_its_past() -> None:
    value = own_times(0, 16)
    value[8:, ONSET:] *= 1.3

    assert list(blamed(value))[-1] == "node-1"
    assert not any("rank 0" in target or target == "node-0" for target in blamed(value))


def test_one_that_was_slow_from_the_start_is_found_among_its_peers() -> None:
    value = own_times(0)
    value[5] *= 1.5

    assert blamed(value).keys() == {"job 88/rank 5"}


def test_it_ends_when_the_rank_is_well_again() -> None:
    value = own_times(0)
    value[5, 40:80] *= 1.5

    seen = watch(Stragglers(), [of_ranks(METRIC, value)])

    assert 40 < min(seen) < max(seen) < 95


def test_a_replica_that_is_slow_in_every_stage_is_found_and_a_slow_stage_is_not() -> None:
    replica = np.tile([2.5, 1.0, 1.01, 0.99], 4)
    stage = np.array([1.0, 1.01, 1.0, 0.99, 1.0, 1.01, 1.4, 1.41])

    assert roles.blamed(replica, effect=0.1, sigmas=5.0).tolist() == [True, False, False, False] * 4
    assert not roles.blamed(stage, effect=0.1, sigmas=5.0).any()
    assert not roles.blamed(np.repeat([1.0, 1.3], 8), effect=0.1, sigmas=5.0).any()


def test_a_recorded_straggler_is_found(shared_data: Path) -> None:
    """In ByteDance's AR timeline data-parallel rank 0 computes 2.5 times slower than the rest."""
    window, replica = timeline(shared_data, "AR")

    assert window is not None
    assert replica is not None
    assert blamed_replicas(window, replica) == {0}


def test_a_recorded_slow_stage_blames_nobody(shared_data: Path) -> None:
    """In the ST timeline the last pipeline stage has more to do, on both of its ranks."""
    window, replica = timeline(shared_data, "ST")

    assert window is not None
    assert replica is not None
    assert blamed_replicas(window, replica) == set()


def test_what_it_learned_goes_on_in_another_process() -> None:
    value = own_times(0)
    value[5, ONSET:] *= 1.2
    windows, rest = [of_ranks(METRIC, value)], range(ONSET, COLUMNS, 7)
    before, after = Stragglers(), Stragglers()

    watch(before, windows, range(19, ONSET, 20))
    after.restore(before.state())

    assert watch(after, windows, rest) == watch(before, windows, rest) != {}


def test_it_scores_before_it_learns_and_learns_each_reading_once() -> None:
    value = own_times(0)
    often, seldom = Stragglers(), Stragglers()

    watch(often, [of_ranks(METRIC, value)])
    watch(seldom, [of_ranks(METRIC, value)], range(39, COLUMNS, 40))

    for name, learned in often.state().items():
        np.testing.assert_array_equal(learned, seldom.state()[name])


def test_missing_and_constant_readings_say_nothing() -> None:
    for value in (
        np.full((8, COLUMNS), np.nan),
        np.full((8, COLUMNS), 2.0),
        np.zeros((8, COLUMNS)),
    ):
        assert blamed(value) == {}


@pytest.mark.parametrize("label", ["²", "9" * 30, "", "chief"])
def test_a_rank_that_is_no_number_is_numbered_by_its_place(label: str) -> None:
    ranks = Ranks.of(tuple(Target(job="88", rank=each) for each in ("0", "1", label)))

    assert ranks.number.tolist() == [0, 1, 2]
