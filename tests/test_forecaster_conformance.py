"""What every forecaster of fleets does, whichever model answers.

A new one joins by a line in ``FORECASTERS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from core.types import Floats
from detectors.forecast import FleetProphet
from detectors.forecast.fleet import forecast
from detectors.forecast.task import ForecastTask, Model
from tests.fleet import NOW_S, nodes

STEP_S = 60.0
STEPS, HORIZON_S = 180, 1800.0
Numbers = np.ndarray[tuple[int, int], np.dtype[np.floating]]
Answer = tuple[Numbers, Numbers, Numbers]
Forecaster = Callable[[ForecastTask], Answer]


def by_model(model: Model) -> Forecaster:
    def answer(task: ForecastTask) -> Answer:
        made = forecast(replace(task, model=model)).forecast
        return made.mean, made.lower, made.upper

    return answer


def fleet_prophet(task: ForecastTask) -> Answer:
    made = FleetProphet().fit(task.time_s, task.value).predict(task.horizon_s, STEP_S)
    return made.mean, made.lower, made.upper


# Model.PROPHET is facebook's own, a process a series: it is the reference, held to parity instead.
FORECASTERS: Mapping[str, Forecaster] = {
    "pool": by_model(Model.POOL),
    "fleet-prophet": by_model(Model.FLEET_PROPHET),
    "FleetProphet": fleet_prophet,
}
every_forecaster = pytest.mark.parametrize("answer", FORECASTERS.values(), ids=FORECASTERS.keys())


def task(value: Numbers, *, end_s: float = NOW_S) -> ForecastTask:
    time_s = end_s - STEP_S * np.arange(value.shape[1] - 1, -1, -1, dtype=np.float64)
    return ForecastTask(
        metric="gpu_temperature_celsius",
        targets=tuple(nodes(len(value))),
        time_s=time_s,
        value=value,
        horizon_s=HORIZON_S,
        low=-20.0,
        high=150.0,
    )


def readings(count: int = 5, *, steps: int = STEPS) -> Floats:
    """(S, T) around 60 degrees, wandering."""
    noise = np.random.default_rng(0).standard_normal((count, steps))
    return 60 + noise + 0.1 * np.cumsum(noise[::-1], axis=1)


@every_forecaster
def test_an_interval_holds_its_mean_for_each_step(answer: Forecaster) -> None:
    mean, lower, upper = answer(task(readings()))

    assert mean.shape == lower.shape == upper.shape == (5, 30)
    assert np.all(lower <= mean)
    assert np.all(mean <= upper)
    assert np.all(lower < upper)


@every_forecaster
def test_a_series_without_readings_is_not_forecast(answer: Forecaster) -> None:
    value = readings()
    value[2] = np.nan

    mean, lower, upper = answer(task(value))

    assert all(np.isnan(each[2]).all() for each in (mean, lower, upper))
    assert np.isfinite(mean[[0, 1, 3, 4]]).all()


@every_forecaster
def test_gaps_are_survived(answer: Forecaster) -> None:
    value = readings()
    value[0, ::3] = np.nan
    value[1, -20:] = np.nan
    value[2, :60] = np.nan

    assert all(np.isfinite(each).all() for each in answer(task(value)))


@every_forecaster
def test_a_constant_series_goes_on_as_it_is(answer: Forecaster) -> None:
    mean, lower, upper = answer(task(np.full((2, STEPS), 60.0)))

    assert np.allclose(mean, 60.0, atol=0.1)
    assert np.all(upper - lower < 1.0)


@every_forecaster
def test_one_series_is_enough(answer: Forecaster) -> None:
    alone, among = answer(task(readings()[:1])), answer(task(readings()))

    assert all(np.allclose(a[0], b[0], rtol=1e-4) for a, b in zip(alone, among, strict=True))


@every_forecaster
def test_ten_thousand_series_are_forecast(answer: Forecaster) -> None:
    value = np.tile(readings(100, steps=60), (100, 1)).astype(np.float32)

    assert all(np.isfinite(each).all() for each in answer(task(value)))


@every_forecaster
def test_the_order_of_series_does_not_matter(answer: Forecaster) -> None:
    value = readings()

    ahead, turned = answer(task(value)), answer(task(value[::-1]))

    assert all(np.allclose(a, b[::-1], rtol=1e-4) for a, b in zip(ahead, turned, strict=True))


@every_forecaster
def test_the_same_task_twice_gives_the_same(answer: Forecaster) -> None:
    once, again = answer(task(readings())), answer(task(readings()))

    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


@every_forecaster
def test_a_clock_that_was_put_back_is_forecast_from_where_it_is(answer: Forecaster) -> None:
    now, earlier = answer(task(readings())), answer(task(readings(), end_s=NOW_S - 86_400.0))

    assert all(np.allclose(a, b, rtol=1e-3) for a, b in zip(now, earlier, strict=True))


@every_forecaster
def test_readings_are_left_as_they_were(answer: Forecaster) -> None:
    value = readings()
    value[1, 5] = np.nan
    before = value.copy()

    answer(task(value))

    assert np.array_equal(value, before, equal_nan=True)


@pytest.mark.parametrize("name", ["pool", "fleet-prophet"])
@pytest.mark.parametrize("wild", [np.inf, -np.inf, 1e300, -1e300, 1e9])
def test_implausible_readings_are_passed_over(name: str, wild: float) -> None:
    value = readings()
    value[0, 50:53] = wild

    mean, lower, upper = FORECASTERS[name](task(value))

    assert np.all(np.abs(mean - 60) < 60)
    assert np.all(lower >= -20)
    assert np.all(upper <= 150)
