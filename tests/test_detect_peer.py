"""A GPU or rank that is off while its peers are not is found; a slow room is nobody's fault."""

import numpy as np
import pytest

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats
from detectors.peer import RULES, Peers, Rule
from detectors.robust import robust_z, row_median
from tests.fleet import NOW_S, gpus, ranks, topology, window


def found(
    metric: str, targets: list[Target], value: Floats, *, on: Topology | None = None
) -> tuple[Anomaly, ...]:
    # Of data waits, less than what is worth a word by default.
    peers = Peers(rules=(Rule("rank_data_wait_s", 0.10), *RULES[1:]))
    windows = {metric: window(metric, targets, value)}
    return peers.look(windows, topology=on, now_s=NOW_S).anomalies


def waits(seed: int, rows: int = 16) -> Floats:
    return 2.0 + np.random.default_rng(seed).normal(0, 0.03, (rows, 41))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("slowdown", [1.2, 1.5])
def test_one_slow_rank_stands_out_and_its_peers_do_not(seed: int, slowdown: float) -> None:
    value = waits(seed)
    value[5, -12:] *= slowdown

    (one,) = found("rank_data_wait_s", ranks("88", 4), value)

    assert one.target.rank == "5"
    assert one.score >= 0.5


@pytest.mark.parametrize("seed", range(20))
def test_equal_ranks_raise_no_alarm(seed: int) -> None:
    assert found("rank_data_wait_s", ranks("88", 4), waits(seed)) == ()


def test_less_than_a_tenth_is_not_worth_a_word() -> None:
    """Eight ranks that agree to the last digit do not make 5 % a fault."""
    value = np.full((8, 41), 2.0)
    value[3] = 2.1

    assert found("rank_data_wait_s", ranks("88", 2), value) == ()


def test_a_job_that_is_slow_as_a_whole_has_no_odd_rank() -> None:
    assert found("rank_data_wait_s", ranks("88", 4), 3 * waits(1)) == ()


def test_a_slow_quarter_is_a_role_not_a_fault() -> None:
    value = waits(1)
    value[[3, 7, 11, 15]] *= 1.5

    assert found("rank_data_wait_s", ranks("88", 4), value) == ()


def test_ranks_are_compared_within_their_own_job() -> None:
    targets = [*ranks("88", 2), *ranks("99", 2, first=2)]
    value = np.concatenate([waits(1, 8), 5 * waits(2, 8)])

    assert found("rank_data_wait_s", targets, value) == ()


def test_three_peers_are_too_few_to_tell() -> None:
    value = waits(1, 3)
    value[0] *= 3

    assert found("rank_data_wait_s", ranks("88", 1)[:3], value) == ()


def test_one_hot_gpu_of_a_node_is_found() -> None:
    celsius = 62 + np.random.default_rng(0).normal(0, 0.8, (8, 41))
    celsius[6, -10:] += 22

    (one,) = found("gpu_temperature_celsius", gpus(2), celsius)

    assert one.target == gpus(2)[6]
    assert "its peers' median is" in one.text


def test_a_hot_room_is_no_single_gpus_fault() -> None:
    celsius = 84 + np.random.default_rng(0).normal(0, 0.8, (8, 41))

    assert found("gpu_temperature_celsius", gpus(2), celsius) == ()


def test_gpus_of_one_job_are_peers_across_nodes() -> None:
    """Half-clocked GPUs of one node have each other for company, but not in their job."""
    hz = 1.7e9 + np.random.default_rng(0).normal(0, 5e6, (32, 41))
    hz[4:8] *= 0.5

    alone = found("gpu_sm_clock_hz", gpus(8), hz)
    in_job = found("gpu_sm_clock_hz", gpus(8), hz, on=topology(8, jobs={"88": range(8)}))

    assert alone == ()
    assert {one.target.node for one in in_job} == {"node-1"}


def test_silent_peers_do_not_count() -> None:
    value = waits(1, 8)
    value[4:] = np.nan
    value[1] *= 2

    (one,) = found("rank_data_wait_s", ranks("88", 2), value)

    assert one.target.rank == "1"


def test_z_is_signed_and_floored() -> None:
    value = np.array([[60.0, 61.0, 59.0, 60.0, 83.0], [5.0, 5.0, 5.0, 5.0, 5.001]])

    z = robust_z(value)

    assert z[0].round(1).tolist() == [0.0, 0.7, -0.7, 0.0, 15.5]
    assert z[1, 4] < 1
    assert np.isnan(row_median(np.array([[np.nan, np.nan]]))[0])
