"""A figure that fits says so and one that does not says so too; each names its source."""

import math

import numpy as np
import pytest

from sim.calibration.bursts import Faults
from sim.calibration.claims import RSC, Claim, about, below, between, beyond, near, within
from sim.calibration.rates import dispersed
from sim.calibration.statistics import Interval, poisson_interval
from sim.calibration.workloads import drawn, mix_rows
from sim.validation import PARTS

CLAIM = Claim("MTTF of 8 GPUs", 10.0, "h", RSC)


@pytest.mark.parametrize(("low", "high", "ok"), [(9.0, 12.0, True), (10.5, 12.0, False)])
def test_a_figure_fits_where_the_interval_holds_it(low: float, high: float, ok: bool) -> None:
    row = within(CLAIM, Interval(11.0, low, high), n=7, note="54 days")

    assert (row.ok, row.value, row.low, row.high, row.n) == (ok, 11.0, low, high, 7)
    assert row.goal == "10 in the interval"
    assert row.note == f"{RSC}; 54 days"


def test_a_figure_fits_within_its_share_or_its_bounds_or_beyond_them() -> None:
    found = Interval(10.4, 10.0, 10.8)

    assert near(CLAIM, found, ratio=0.05).ok
    assert not near(CLAIM, found, ratio=0.03).ok
    assert about(CLAIM, found, ratio=0.05).ok
    assert about(CLAIM, Interval(10.4, 9.9, 10.9), ratio=0.01).ok
    assert not about(CLAIM, Interval(10.4, 10.2, 10.6), ratio=0.03).ok
    assert between(CLAIM, found, low=9.0, high=10.5).ok
    assert not between(CLAIM, found, low=9.0, high=10.3).ok
    assert beyond(CLAIM, found).ok
    assert not below(CLAIM, found).ok


def test_nothing_measured_fits_nothing() -> None:
    row = within(CLAIM, Interval(math.nan, -math.inf, math.nan))

    assert (row.ok, row.value, row.low) == (False, None, None)


def test_counts_that_scatter_more_have_the_wider_interval() -> None:
    plain, wide = dispersed(100.0, 0.7), dispersed(100.0, 4.0)

    assert plain == poisson_interval(100.0)
    assert (wide.low, wide.high) == pytest.approx((4 * 16.179, 4 * 36.905), abs=0.1)


def test_a_clusters_faults_are_measured_as_a_traces_are() -> None:
    found = Faults(
        node=np.array([0, 0, 2]),
        start_s=np.array([0.0, 7200.0, 86400.0]),
        end_s=np.array([3600.0, math.nan, 93600.0]),
        nodes=3,
        days=2.0,
    )

    assert found.counts.tolist() == [2, 0, 1]
    assert found.out_h.tolist() == [1.0, 2.0]
    assert sorted(found.gaps_s.tolist()) == [3600.0, math.inf]


def test_the_job_mixes_give_their_sources_marginals() -> None:
    rows = tuple(mix_rows(quick=True))

    assert [row.metric for row in rows if not row.ok] == []
    assert len(rows) == 38
    assert all(row.note for row in rows)


def test_jobs_are_the_same_at_every_drawing() -> None:
    assert drawn("philly", 50).run_s.tolist() == drawn("philly", 50).run_s.tolist()


def test_validation_has_a_part_for_each_thing_it_must_hold() -> None:
    assert set(PARTS) == {
        "rates of failure",
        "time to failure by job size",
        "Meta's effective training time",
        "the best checkpoint interval",
        "Llama 3's 54 days",
        "bursts, relapses and repairs",
        "job sizes and lengths",
        "utilisation and waiting",
    }
