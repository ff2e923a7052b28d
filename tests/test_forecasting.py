"""At a refit every series that has a limit is forecast, and those most at risk are kept."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from agent import forecasting as module
from agent import recent as recents
from agent.bands import STEPS
from agent.forecast_table import CHUNK
from agent.forecasting import WARNED, Forecasting, ForecastSettings
from agent.history import History
from agent.metrics import Metrics
from agent.recent import recent
from core.clock import ManualClock
from core.target import Target
from core.types import Floats, Forecast, Window
from detectors.forecast.task import Model
from tests.forecast_workers import InProcess

STEP_S, SPAN_S = 60.0, 28_800.0
MEMORY, VOLUME, POWER = "node_memory_used_ratio", "volume_used_ratio", "node_power_watts"
SETTINGS = ForecastSettings(
    horizon_s=7200.0,
    coverage=0.8,
    min_probability=0.4,
    false_alarms_per_day=0.1,
    cluster_false_alarms_per_day=24.0,
    sustain_s=60.0,
    model=Model.POOL,
    span_s=SPAN_S,
    limits={},
)


def nodes(count: int) -> list[Target]:
    return [Target(node=f"node-{number}") for number in range(count)]


def forecasting(pool: InProcess, clock: ManualClock, *windows: Window) -> Forecasting:
    history = History(None, step_s=STEP_S, span_s=SPAN_S)
    for window in windows:
        history.merge(window, now_s=clock.now_s())
    metrics = Metrics(version="0", mode="test")
    return Forecasting(history, pool, SETTINGS, metrics, clock)


def climbing(
    metric: str, targets: list[Target], slopes: dict[int, float], now_s: float, minutes: int = 100
) -> Window:
    """Return steady series at 0.5, some of which climb by a slope an hour."""
    time_s: Floats = (now_s // STEP_S + np.arange(-float(minutes), 1.0)) * STEP_S
    noise = np.random.default_rng(0).normal(0, 0.002, (len(targets), len(time_s)))
    value = 0.5 + noise
    for row, slope in slopes.items():
        value[row] += slope * (time_s - time_s[0]) / 3600
    return Window(metric, tuple(targets), time_s, value)


def leaking(now_s: float, *, later_s: float = 0.0) -> Window:
    """Four nodes; after five quiet hours the third leaks, and reaches 0.95 in 73 minutes.

    later_s: look at it so much later
    """
    time_s = (now_s // STEP_S + np.arange(-400.0, 1.0)) * STEP_S
    value = 0.4 + np.random.default_rng(1).normal(0, 0.004, (4, len(time_s)))
    value[2] += 0.0035 * np.maximum(0, (time_s - time_s[-1] + later_s) / 60 + 84)
    return Window(MEMORY, tuple(nodes(4)), time_s, np.minimum(value, 1.0))


def counted(given: Forecasting) -> dict[str, float]:
    """Return how many forecasts there were, by outcome."""
    (family,) = given.metrics.forecasts_total.collect()
    return {each.labels["outcome"]: each.value for each in family.samples}


async def test_every_series_with_a_limit_is_forecast(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHUNK, Model.POOL, 16)
    pool, now_s = InProcess(), clock.now_s()
    given = forecasting(
        pool,
        clock,
        climbing(MEMORY, nodes(40), {}, now_s),
        climbing(VOLUME, nodes(3), {}, now_s),
        climbing(POWER, nodes(5), {}, now_s),
    )

    await given.refit(now_s)

    assert [(task.metric, len(task.targets)) for task in pool.asked] == [
        (MEMORY, 16),
        (MEMORY, 16),
        (MEMORY, 8),
        (VOLUME, 3),
    ]
    assert {target for task in pool.asked[:3] for target in task.targets} == set(nodes(40))
    assert (pool.asked[0].limit, pool.asked[0].high) == (0.95, 1)
    assert counted(given) == {"made": 43, "too_short": 0}


async def test_a_chunk_that_fails_loses_only_itself(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHUNK, Model.POOL, 16)
    pool = InProcess(failing=frozenset({2}))
    given = forecasting(pool, clock, climbing(MEMORY, nodes(40), {20: 0.24}, clock.now_s()))

    await given.refit(clock.now_s())

    assert counted(given) == {"made": 24, "failed": 16, "too_short": 0}
    assert {view.target for view in given.views} == {
        target for row, target in enumerate(nodes(40)) if not 16 <= row < 32
    }
    assert given.metrics.workers_failed_total.labels("memory")._value.get() == 1


async def test_the_most_at_risk_of_all_chunks_are_kept(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which chunk a series is in makes no difference, and the others take no room."""
    monkeypatch.setitem(CHUNK, Model.POOL, 16)
    monkeypatch.setattr(module, "MOST_VIEWS", 3)
    slopes = {7: 0.20, 20: 0.24, 39: 0.22}
    given = forecasting(InProcess(), clock, climbing(MEMORY, nodes(40), slopes, clock.now_s()))

    await given.refit(clock.now_s())

    assert [view.target for view in given.views] == [nodes(40)[row] for row in (20, 39, 7)]
    first = given.views[0]
    assert first.expected_s is not None
    assert first.expected_s > clock.now_s()
    assert first.history_value.shape == first.history_time_s.shape
    assert np.isfinite(first.history_value).sum() == 101


async def test_in_a_large_cluster_all_are_forecast_hourly_and_the_shown_in_between(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALWAYS", 30)
    monkeypatch.setattr(module, "MOST_VIEWS", 3)
    pool, now_s = InProcess(), clock.now_s()
    given = forecasting(pool, clock, climbing(MEMORY, nodes(40), {7: 0.2}, now_s))

    for minutes in (0, 4, 8, 64):
        await given.refit(now_s + 60 * minutes)

    assert [len(task.targets) for task in pool.asked] == [40, 3, 3, 40]
    assert nodes(40)[7] in pool.asked[1].targets
    assert len(given.views) == 3


async def test_a_series_that_just_began_is_counted_as_too_short(clock: ManualClock) -> None:
    given = forecasting(InProcess(), clock, climbing(MEMORY, nodes(2), {}, clock.now_s(), 5))

    await given.refit(clock.now_s())

    assert counted(given) == {"made": 0, "too_short": 2}
    assert (given.views, given.breaches(clock.now_s())) == ((), ())


async def test_a_history_without_series_is_forecast_too(clock: ManualClock) -> None:
    pool = InProcess()
    given = forecasting(pool, clock)

    await given.refit(clock.now_s())

    assert pool.asked == []
    assert given.breaches(clock.now_s()) == ()


async def test_a_climb_is_warned_of_until_its_horizon_has_passed(clock: ManualClock) -> None:
    """Reached in 68 minutes, after hours of quiet: early enough to do something about it."""
    now_s = clock.now_s()
    given = forecasting(InProcess(), clock, leaking(now_s, later_s=300))

    await given.refit(now_s)

    (breach,) = given.breaches(now_s)
    assert (breach.target, breach.metric, breach.limit) == (nodes(4)[2], MEMORY, 0.95)
    assert breach.probability >= SETTINGS.min_probability
    assert now_s < breach.earliest_s <= breach.expected_s <= breach.latest_s
    assert breach.expected_s == pytest.approx(now_s + 68 * 60, abs=1800)
    assert given.breaches(now_s + 7300) == ()


async def test_a_warning_outlives_the_process_and_is_scored(clock: ManualClock) -> None:
    """The crossing comes after an hour, in the next process's time: it counts as right, once."""
    first = forecasting(InProcess(), clock, leaking(clock.now_s(), later_s=300))
    await first.refit(clock.now_s())
    memory = first.memory()
    await clock.advance(4800)

    second = forecasting(InProcess(), clock, leaking(clock.now_s(), later_s=5100))
    second.remember(memory)
    before = second.breaches(clock.now_s() - 4000)
    await second.refit(clock.now_s())
    await second.refit(clock.now_s())

    assert [each.target for each in before] == [nodes(4)[2]]
    (family,) = second.metrics.warnings_scored_total.collect()
    counts = {each.labels["outcome"]: each.value for each in family.samples}
    assert counts == {"right": 1, "late": 0, "false": 0}


async def test_a_state_that_does_not_fit_is_lost_and_said(clock: ManualClock) -> None:
    given = forecasting(InProcess(), clock)

    given.remember({"warnings": {"numbers": np.zeros((1, 2)), "texts": np.zeros((1, 1), "<U1")}})

    assert given.breaches(clock.now_s()) == ()


async def test_a_short_horizon_is_looked_at_on_a_faster_clock(clock: ManualClock) -> None:
    """A volume that fills within two minutes, read each second, is warned of in time."""
    now_s = clock.now_s()
    history = History(None, step_s=1.0, span_s=3600.0)
    second = np.arange(-60.0, 1.0)
    value = 0.05 + 0.011 * np.maximum(0, second + 45)[None]
    value += np.random.default_rng(0).normal(0, 0.001, value.shape)
    where = (Target(node="n", volume="/scratch"),)
    history.merge(Window(VOLUME, where, now_s + second, value), now_s=now_s)
    settings = replace(
        SETTINGS, horizon_s=120.0, sustain_s=1.0, span_s=1440.0, false_alarms_per_day=0.2
    )
    metrics = Metrics(version="0", mode="test")
    given = Forecasting(history, InProcess(), settings, metrics, clock)

    await given.refit(now_s)

    (breach,) = given.breaches(now_s)
    left_s = (0.95 - value[0, -1]) / 0.011
    assert breach.made_at_s == pytest.approx(now_s, abs=1)
    assert breach.expected_s - now_s == pytest.approx(left_s, rel=0.3)
    assert given.views[0].forecast.time_s[-1] == pytest.approx(now_s + 120, abs=1)


async def test_all_bands_of_a_metric_are_handed_on_together(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of series that no plot shows; in a large cluster only when all have been forecast."""
    monkeypatch.setitem(CHUNK, Model.POOL, 16)
    monkeypatch.setattr(module, "ALWAYS", 30)
    monkeypatch.setattr(module, "MOST_VIEWS", 3)
    given = forecasting(InProcess(), clock, climbing(MEMORY, nodes(40), {}, clock.now_s()))
    told: list[Mapping[str, Forecast]] = []
    given.expect = told.append

    for minutes in (0, 4):
        await given.refit(clock.now_s() + 60 * minutes)

    (bands,) = told
    assert {metric: each.targets for metric, each in bands.items()} == {MEMORY: tuple(nodes(40))}
    assert bands[MEMORY].time_s[-1] == pytest.approx(clock.now_s() + 7200, abs=60)
    assert bands[MEMORY].lower.shape == (40, STEPS)


async def test_bands_that_were_missed_are_wider_the_next_time(clock: ManualClock) -> None:
    """What came after two hours teaches the next process too."""
    rng, pool, now_s = np.random.default_rng(2), InProcess(), clock.now_s()
    time_s = (now_s // STEP_S + np.arange(-240.0, 121.0)) * STEP_S
    value = 0.4 + rng.normal(0, 0.01, (2, len(time_s)))
    value[1, 241:] += rng.choice([-0.3, 0.3], 120)
    given = forecasting(pool, clock, Window(MEMORY, tuple(nodes(2)), time_s[:241], value[:, :241]))
    await given.refit(now_s)
    given.history.merge(
        Window(MEMORY, tuple(nodes(2)), time_s[241:], value[:, 241:]), now_s=now_s + 7200
    )

    await given.refit(now_s + 7200)
    after = forecasting(pool, clock)
    after.history = given.history
    after.remember(given.memory())
    await after.refit(now_s + 7260)

    widening = [np.asarray(task.widening) for task in pool.asked]
    assert not widening[0].any()
    assert widening[1][0] <= 0 < widening[1][1]
    assert widening[2].tolist() == widening[1].tolist()


@pytest.mark.parametrize("step_s", [15.0, 60.0])
async def test_a_long_history_is_averaged_piece_by_piece(
    clock: ManualClock, step_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is cut, a ramp stays where it was, and nothing older than a reading is given."""
    monkeypatch.setattr(recents, "MOST", 240)
    monkeypatch.setattr(recents, "BLOCKS", 7)
    now_s = clock.now_s() // step_s * step_s
    time_s = now_s - step_s * np.arange(1000.0)[::-1]
    history = History(None, step_s=step_s, span_s=20_000 * step_s)
    value = np.stack([time_s - now_s, np.where(time_s > now_s - 100 * step_s, 1.0, np.nan)])
    history.merge(Window(POWER, tuple(nodes(2)), time_s, value + 1e4), now_s=now_s)

    seen = await recent(history, POWER, now_s=now_s, span_s=960 * step_s)
    young = await recent(history, POWER, now_s=now_s, span_s=20_000 * step_s)

    assert seen.value.shape == (2, 240)
    assert seen.value.dtype == np.float32
    np.testing.assert_allclose(seen.value[0], seen.time_s - now_s + 1e4, rtol=1e-4)
    assert np.allclose(np.diff(seen.time_s), 4 * step_s)
    assert now_s - 4 * step_s < seen.time_s[-1] <= now_s
    assert np.isfinite(young.value[0, 0])
    assert young.time_s[0] >= time_s[0] - 83 * step_s


async def test_what_is_no_series_yet_has_no_readings(clock: ManualClock) -> None:
    history = History(None, step_s=STEP_S, span_s=SPAN_S)

    seen = await asyncio.wait_for(recent(history, MEMORY, now_s=clock.now_s(), span_s=SPAN_S), 5)

    assert (seen.targets, seen.value.shape[0], seen.value.size) == ((), 0, 0)


async def test_a_moment_between_two_readings_is_as_good_as_any(clock: ManualClock) -> None:
    given = forecasting(InProcess(), clock, leaking(clock.now_s()))
    now_s = clock.now_s() + 0.4 * STEP_S

    seen = await recent(given.history, MEMORY, now_s=now_s, span_s=SPAN_S)

    assert seen.time_s[-1] == STEP_S * (now_s // STEP_S)
    assert np.isfinite(seen.value[:, -1]).all()


async def test_the_page_dates_a_crossing_as_the_warning_does(clock: ManualClock) -> None:
    given = forecasting(InProcess(), clock, leaking(clock.now_s(), later_s=300))

    await given.refit(clock.now_s())

    (breach,) = given.breaches(clock.now_s())
    (view,) = (view for view in given.views if view.target == breach.target)
    assert (view.expected_s, view.probability) == (breach.expected_s, breach.probability)
    assert WARNED in view.notes
