"""The pooled forecaster: what it expects of known series, and what it says of itself."""

from dataclasses import replace

import numpy as np
import pytest

from core.target import Target
from core.types import Floats
from detectors.forecast.backtest import origins
from detectors.forecast.combine import CLASSES, OTHER, class_of, combined, shipped, spline
from detectors.forecast.fleet import forecast, needed_readings
from detectors.forecast.grid import MAX_STEPS, ahead, clean, thinned
from detectors.forecast.matured import Learned, matured
from detectors.forecast.members import NAMES, expected
from detectors.forecast.task import FleetForecast, ForecastTask, Model
from detectors.forecast.warning import SUDDEN

MINUTE_S = 60.0


def task(
    value: Floats, *, step_s: float = MINUTE_S, metric: str = "gpu_power_watts"
) -> ForecastTask:
    return ForecastTask(
        metric=metric,
        targets=tuple(Target(node=f"n{row}") for row in range(len(value))),
        time_s=1.8e9 + np.arange(value.shape[1], dtype=np.float64) * step_s,
        value=value,
        horizon_s=7200.0,
    )


def noisy(series: int = 6, readings: int = 480, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return 50 + np.cumsum(0.3 * rng.standard_normal((series, readings)), axis=1)


def usual(value: Floats) -> FleetForecast:
    return forecast(task(value))


def test_a_constant_stays_with_certainty() -> None:
    made = usual(np.full((2, 300), 7.0)).forecast
    assert made.mean == pytest.approx(7.0)
    assert made.upper - made.lower == pytest.approx(0.0, abs=1e-6)


def test_a_level_is_expected_to_stay_about_where_it_is() -> None:
    value = 100 + np.random.default_rng(0).standard_normal((20, 480))
    made = usual(value).forecast
    assert np.abs(made.mean - 100).max() < 1.5
    inside = (made.lower < 100) & (made.upper > 100)
    assert inside.mean() > 0.95


def test_a_day_is_expected_to_repeat() -> None:
    t = np.arange(4 * 288)
    noise = 0.05 * np.random.default_rng(0).standard_normal((8, len(t)))
    wave = 10 + np.sin(2 * np.pi * t / 288)
    made = forecast(task(wave + noise, step_s=300.0))
    truth = 10 + np.sin(2 * np.pi * (np.arange(24) + len(t)) / 288)
    last = np.abs(truth - wave[-1]).mean()
    assert np.abs(made.forecast.mean - truth).mean() < 0.5 * last
    assert np.median(made.forecast.skill) > -0.1


def test_the_interval_holds_the_median_forecast() -> None:
    made = usual(noisy()).forecast
    assert (made.lower <= made.mean).all()
    assert (made.mean <= made.upper).all()


def test_the_first_forecast_comes_after_half_an_hour() -> None:
    value = np.full((2, 480), np.nan)
    value[:, -30:] = noisy(2, 30)
    value[1, -30:-20] = np.nan
    made = usual(value)
    assert made.needed == needed_readings(MINUTE_S) == 24
    assert np.isfinite(made.forecast.mean[0]).all()
    assert np.isfinite(made.forecast.upper[0]).all()
    assert made.forecast.model[1] == ""
    assert np.isnan(made.forecast.mean[1]).all()


def test_the_first_forecast_is_honest() -> None:
    value = np.random.default_rng(3).standard_normal((200, 150))
    for step in range(1, 150):
        value[:, step] += 0.9 * value[:, step - 1]
    seen = np.full((200, 480), np.nan)
    seen[:, -30:] = value[:, :30]
    made = usual(seen).forecast
    come = value[:, 30:]
    assert np.abs(made.mean - come).mean() < np.abs(value[:, 29:30] - come).mean()
    inside = (made.lower <= come) & (come <= made.upper)
    assert 0.7 < inside.mean() < 0.95


def test_no_series_and_no_reading_are_answered_with_nothing() -> None:
    assert usual(np.empty((0, 100))).forecast.mean.shape == (0, 120)
    empty = usual(np.full((1, 100), np.nan))
    assert np.isnan(empty.value).all()
    assert empty.forecast.model == ("",)


def test_gaps_hardly_move_the_forecast() -> None:
    value = noisy(40)
    holes = np.random.default_rng(1).random(value.shape) < 0.05
    with_gaps = usual(np.where(holes, np.nan, value)).forecast.mean
    change = np.abs(with_gaps - usual(value).forecast.mean) / value.std(axis=1, keepdims=True)
    assert np.median(change) <= 0.05


def test_a_series_is_forecast_alike_alone_and_among_others() -> None:
    value = noisy(5)
    alone = usual(value[2:3]).forecast
    among = usual(value).forecast
    assert alone.mean[0] == pytest.approx(among.mean[2], rel=1e-6)
    assert alone.upper[0] == pytest.approx(among.upper[2], rel=1e-6)


def test_the_same_readings_give_the_same_answer() -> None:
    first, second = usual(noisy()), usual(noisy())
    np.testing.assert_array_equal(first.forecast.mean, second.forecast.mean)
    np.testing.assert_array_equal(first.forecast.lower, second.forecast.lower)


def test_the_unit_does_not_matter() -> None:
    value = noisy()
    small, large = usual(value).forecast, usual(1e9 * value).forecast
    assert large.mean == pytest.approx(1e9 * small.mean, rel=1e-4)


def test_forecasts_stay_within_what_is_plausible() -> None:
    ramp = np.linspace(0.2, 0.99, 480) + np.zeros((2, 1))
    asked = replace(task(ramp, metric="gpu_memory_used_ratio"), low=0.0, high=1.0)
    made = forecast(asked).forecast
    assert made.upper.max() <= 1.0
    assert made.lower.min() >= 0.0


def test_readings_outside_of_what_is_plausible_are_passed_over() -> None:
    value = noisy(2)
    broken = value.copy()
    broken[:, 100] = -1e6
    asked = replace(task(broken), low=0.0, high=1000.0)
    assert forecast(asked).readings.tolist() == [479, 479]
    assert np.abs(forecast(asked).forecast.mean - usual(value).forecast.mean).max() < 1.0


def test_where_the_pool_did_worse_naive_answers_and_says_so() -> None:
    # After one step for good, the last value is never wrong and every average is.
    value = np.repeat([[0.0, 10.0]], [100, 380], axis=1)
    level = np.random.default_rng(0).standard_normal((1, 480))
    made = usual(np.concatenate([value, level]))
    assert made.forecast.model == ("last value", "pool")
    assert set(made.notes) == {0}
    assert made.forecast.mean[0] == pytest.approx(10.0)
    assert made.forecast.skill[0] == 0


def test_no_answer_of_the_pool_claims_less_than_naive() -> None:
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.random((300, 480)) < rng.random((300, 1)) / 20, axis=1) + 0.0
    made = usual(steps + 1e-3 * rng.standard_normal(steps.shape)).forecast
    by_pool = np.array(made.model) == "pool"
    assert 0 < by_pool.sum() < len(steps)
    assert made.skill[by_pool].min() >= 0
    assert (made.skill[~by_pool] == 0).all()


def test_what_was_not_tested_claims_no_skill() -> None:
    made = forecast(task(noisy(1, 6), step_s=900.0)).forecast
    assert made.model == ("pool",)
    assert np.isnan(made.skill[0]) or made.skill[0] >= 0


def test_a_limit_already_crossed_is_certain() -> None:
    value = np.linspace(0, 100, 480) + np.zeros((2, 1))
    asked = replace(task(value), limit=np.array([90.0, np.nan]))
    crossed = forecast(asked).crossings
    assert crossed.probability[0] == 1
    assert np.isnan(crossed.probability[1])


def test_fleet_prophet_alone_follows_a_line() -> None:
    line = np.linspace(0, 48, 481)[1:] + np.zeros((2, 1))
    made = forecast(replace(task(line), model=Model.FLEET_PROPHET))
    assert made.forecast.model == ("fleet-prophet",) * 2
    assert made.forecast.mean[0, -1] == pytest.approx(60, abs=1)


def test_misses_widen_a_series_and_hits_narrow_it() -> None:
    value = noisy(2)
    made = usual(value).forecast
    come = made.mean.copy()
    come[0] += 1e3
    learned = matured(Learned(), made, made.time_s, come)
    assert learned.width[0] > 0 > learned.width[1]
    taught = replace(task(value), widening=learned.width_of(made.targets))
    width = forecast(taught).forecast
    before, after = made.upper - made.lower, width.upper - width.lower
    assert (after[0] > before[0]).all()
    assert (after[1] < before[1]).all()


def test_what_was_learned_stays_with_its_target() -> None:
    made = usual(noisy(2)).forecast
    learned = matured(Learned(), made, made.time_s, made.mean + 1e3)
    turned = learned.width_of([made.targets[1], Target(node="new"), made.targets[0]])
    assert turned.tolist() == [learned.width[1], 0.0, learned.width[0]]


def test_nothing_that_came_teaches_nothing() -> None:
    made = usual(noisy(2)).forecast
    learned = matured(Learned(), made, made.time_s, np.full(made.mean.shape, np.nan))
    assert learned.width.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", [*sorted(set(CLASSES.values())), OTHER])
def test_shipped_weights_are_convex_and_widths_not_negative(name: str) -> None:
    one = shipped(name)
    assert one.weight.sum(axis=1) == pytest.approx(1, abs=0.01)
    assert one.weight.min() >= 0
    assert one.width.min() >= 0


@pytest.mark.parametrize("name", [*sorted(set(CLASSES.values())), OTHER])
def test_weights_pass_smoothly_from_lead_to_lead(name: str) -> None:
    lead_s = np.arange(60.0, 7201.0, 60.0)
    bend = np.diff(shipped(name).weight_at(lead_s), n=2, axis=0)
    assert np.abs(bend[9:]).max() < 0.01


def test_a_spline_is_convex_and_rests_beyond_its_ends() -> None:
    knot_s = np.array([60.0, 120.0, 240.0, 480.0, 960.0])
    share = spline(knot_s, np.geomspace(1.0, 1e6, 500))
    assert share.min() >= 0
    assert share.sum(axis=1) == pytest.approx(1)
    assert share[0, 0] == pytest.approx(1)
    assert share[-1, -1] == pytest.approx(1)
    assert share @ np.log(knot_s) == pytest.approx(
        np.log(np.clip(np.geomspace(1.0, 1e6, 500), 60.0, 960.0)), abs=0.13
    )


def test_a_series_that_goes_on_evenly_is_forecast_without_kinks() -> None:
    t = np.arange(480.0)
    made = usual(50 + 0.1 * t + 5 * np.sin(t / 40) + np.zeros((2, 1))).forecast
    for line in (made.mean, made.lower, made.upper):
        kink = np.abs(np.diff(line, n=3, axis=1))[:, 8:]
        assert kink.max() < 0.03


def test_a_metric_takes_its_class() -> None:
    assert class_of("gpu_utilization_ratio") == "utilization"
    assert class_of("node_memory_used_ratio") == "memory"
    assert class_of("gpu_memory_temperature_celsius") == OTHER


def test_a_member_without_an_answer_leaves_its_weight_to_others() -> None:
    said = np.array([[[1.0]], [[np.nan]], [[3.0]]])
    assert combined(said, np.array([[0.25, 0.5, 0.25]]))[0, 0] == 2.0


def test_members_answer_within_a_few_readings() -> None:
    said = expected(noisy(3, 30), MINUTE_S, np.array([60.0, 3600.0]))
    assert said.shape == (len(NAMES), 3, 2)
    assert np.isfinite(said[0]).all()
    assert np.isnan(said[NAMES.index("day_ago")]).all()


def test_origins_lie_in_the_newer_half() -> None:
    back = origins(480, MINUTE_S)
    assert back.min() == 15
    assert back.max() == 240
    assert origins(4320, MINUTE_S).max() == 1440
    assert origins(2, MINUTE_S).size == 0


def test_thinning_keeps_a_ramp_where_it_was() -> None:
    time_s = np.arange(1000.0)
    coarse_s, coarse = thinned(time_s, time_s[None] * 2.0, 300)
    assert len(coarse_s) <= 300
    assert coarse[0] == pytest.approx(2 * coarse_s)


def test_times_ahead_end_at_the_horizon() -> None:
    assert ahead(0.0, step_s=60.0, horizon_s=7200.0).tolist() == list(range(60, 7201, 60))
    fine = ahead(0.0, step_s=1.0, horizon_s=7200.0)
    assert len(fine) == MAX_STEPS
    assert fine[-1] == 7200.0
    assert (np.diff(fine) > 0).all()


def test_infinite_readings_are_no_readings() -> None:
    assert np.isnan(clean(np.array([[np.inf, -1.0, 5.0]]), low=0.0, high=4.0)).all()


def test_a_series_that_jumped_over_its_limit_says_so() -> None:
    value = noisy(2)
    value[1, -200:-150] += 1e3

    notes = forecast(replace(task(value), limit=500.0)).notes

    assert [SUDDEN in notes.get(row, ()) for row in (0, 1)] == [False, True]
