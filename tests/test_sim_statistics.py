"""Calibration judges by statistics that agree with scipy, closed forms and made-up truth."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from sim.calibration import statistics as st

RNG = np.random.Generator(np.random.Philox(key=7))


@pytest.mark.parametrize("count", [0, 1, 7, 148, 419])
def test_a_poisson_count_has_garwoods_interval(count: int) -> None:
    interval = st.poisson_interval(count)

    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(stats.chi2.ppf(0.975, 2 * count + 2) / 2)


@pytest.mark.parametrize(("count", "of"), [(0, 9), (9, 9), (3, 40), (131, 584)])
def test_a_share_has_clopper_and_pearsons_interval(count: int, of: int) -> None:
    interval = st.share_interval(count, of)

    wanted = stats.binomtest(count, of).proportion_ci(method="exact")
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high))


def test_a_share_of_nothing_may_be_anything() -> None:
    interval = st.share_interval(0, 0)

    assert math.isnan(interval.value)
    assert interval.holds(0.0)
    assert interval.holds(1.0)


def test_a_mean_has_students_interval() -> None:
    values = RNG.normal(3, 2, 12)

    wanted = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert st.mean_interval(values)[1:] == pytest.approx(wanted)
    assert st.mean_interval(values[:1])[1:] == (-math.inf, math.inf)


def test_several_tests_share_one_level() -> None:
    assert st.bonferroni(18) == pytest.approx(1 - 0.05 / 18)


def test_a_negative_binomials_shape_is_the_likeliest() -> None:
    counts = RNG.negative_binomial(0.88, 0.88 / (0.88 + 1.46), 4000)

    fit = st.negative_binomial(counts)

    def loss(k: float) -> float:
        return -float(stats.nbinom.logpmf(counts, k, k / (k + fit.mean)).sum())

    best = optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
    assert fit.k == pytest.approx(best.x, rel=1e-3)
    assert fit.nats == pytest.approx(-best.fun - stats.poisson.logpmf(counts, fit.mean).sum())
    assert fit.k == pytest.approx(0.88, rel=0.12)


def test_poisson_counts_have_no_frailty() -> None:
    fit = st.negative_binomial(np.array([1, 1, 1, 2, 1]))

    assert (fit.k, fit.nats) == (math.inf, 0.0)


def test_the_most_afflicted_have_their_share() -> None:
    counts = np.array([10, 5, 1, 1, 1, 1, 1, 0, 0, 0])

    assert st.top_share(counts, 0.1) == 0.5
    assert st.top_share(counts, 0.2) == 0.75
    assert st.variance_to_mean(counts) == pytest.approx(np.var(counts, ddof=1) / 2)


def test_a_gap_runs_from_a_repair_to_the_units_next_fault() -> None:
    unit = np.array([1, 0, 1, 1, 0])
    start = np.array([0.0, 5.0, 10.0, 30.0, 50.0])
    end = np.array([4.0, 8.0, math.nan, 31.0, 60.0])

    gap = st.gaps(unit, start, end)

    assert sorted(gap.tolist()) == [6.0, 42.0, math.inf, math.inf]
    assert st.relapse_share(gap, 7.0).value == 0.25
    assert len(st.gaps(unit[:0], start[:0], end[:0])) == 0


def test_company_is_another_unit_within_the_time() -> None:
    unit = np.array([0, 1, 2, 2, 3])
    start = np.array([0.0, 4.0, 20.0, 21.0, 40.0])

    assert st.company_share(unit, start, 5.0).value == 0.4


def test_lifetimes_give_their_parameters_back() -> None:
    weibull = 3.0 * RNG.weibull(0.4, 5000)
    mu, sigma = st.lognormal(RNG.lognormal(2.55, 2.69, 5000))

    assert st.weibull_shape(weibull) == pytest.approx(
        stats.weibull_min.fit(weibull, floc=0)[0], rel=1e-4
    )
    assert mu == pytest.approx(2.55, abs=0.12)
    assert sigma == pytest.approx(2.69, abs=0.08)


def test_a_median_lies_between_its_order_statistics() -> None:
    covered = [
        st.quantile_interval(np.random.default_rng(seed).exponential(1, 60), 0.5).holds(math.log(2))
        for seed in range(400)
    ]

    # 95 % of 400 is 380; 366 and fewer come up once in 2,000 times.
    assert sum(covered) > 366


def test_a_parabola_is_least_at_its_vertex() -> None:
    x = np.array([1.0, 2.0, 3.0, 5.0])

    assert st.least_of_parabola(x, 3 * (x - 2.5) ** 2 + 1) == pytest.approx(2.5)
    assert math.isnan(st.least_of_parabola(x, 0 * x))


@pytest.mark.parametrize(
    ("nodes", "interval_s", "published"),
    [(2000, 3600.0, 0.70), (2000, 300.0, 0.93)],
)
def test_metas_formula_gives_metas_figures(nodes: int, interval_s: float, published: float) -> None:
    found = st.ettr(nodes * 6.5e-3 / 86400, interval_s=interval_s, restart_s=300.0)

    assert found == pytest.approx(published, abs=0.02)


def test_youngs_interval_loses_least() -> None:
    failures, write = 2e-5, 30.0
    tried = np.linspace(200, 8000, 4000)
    kept = [st.ettr(failures, interval_s=float(t), restart_s=0.0, write_s=write) for t in tried]

    best = st.best_interval_s(failures, write)
    assert tried[int(np.argmax(kept))] == pytest.approx(best, rel=0.03)
