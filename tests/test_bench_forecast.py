"""The forecast benchmark measures what it says: generated series and what fitting them costs."""

import numpy as np

from agent.bench.fleet_child import Job, measure
from agent.bench.look_alikes import KINDS, look_alikes

TIME_S = 1.7e9 + 60.0 * np.arange(200, dtype=np.float64)


def test_a_seed_makes_the_same_series_each_time() -> None:
    first, again = (look_alikes(12, TIME_S, seed=3) for _ in range(2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, look_alikes(12, TIME_S, seed=4))


def test_each_kind_is_there_and_none_is_constant() -> None:
    value = look_alikes(2 * len(KINDS), TIME_S, seed=0)

    assert np.isfinite(value).all()
    assert np.all(np.ptp(value, axis=1) > 0)


def test_a_job_is_measured_and_repeats_to_the_bit() -> None:
    cost = measure(Job(series=100, points=200, runs=2, ar=True))

    assert cost.same
    assert cost.rss_mib > 50
