"""Readings of a simulated cluster are plausible, reproducible in any portion, and quick to get."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.target import Target
from core.types import Action, Floats, Window
from core.units import CATALOG
from sim.library import scenario
from sim.telemetry import METRICS, readings
from sim.world import World

HOUR_S = 3600.0
ALL = tuple(METRICS)


def grid(start_s: float, end_s: float, step_s: float = 15.0) -> Floats:
    return np.arange(np.ceil(start_s / step_s), np.floor(end_s / step_s) + 1) * step_s


def lived(name: str, *, hours: float, seed: int = 1) -> World:
    world = World.build(scenario(name), seed=seed)
    world.advance(world.scenario.start_s + hours * HOUR_S)
    return world


def one(world: World, metric: str, times: Floats) -> Window:
    (window,) = readings(world, (metric,), times)
    return window


def by_target(window: Window) -> dict[Target, list[float]]:
    return dict(zip(window.targets, window.value.tolist(), strict=True))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), hours=st.floats(0.0, 6.0), back=st.floats(0.0, 24.0))
def test_every_reading_is_plausible(seed: int, hours: float, back: float) -> None:
    """Whatever breaks, no exporter reports what the catalogue calls impossible."""
    world = lived("random", hours=hours, seed=seed)
    end_s = world.now_s - back * HOUR_S

    for window in readings(world, ALL, grid(end_s - 1800, end_s)):
        metric, value = CATALOG[window.metric], window.value
        wrong = ~np.isnan(value) & ~((value >= metric.low) & (value <= metric.high))
        assert not wrong.any(), (window.metric, value[wrong][:3])
        assert all(target.kind is metric.scope for target in window.targets)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), cut=st.integers(1, 60), step=st.sampled_from([5.0, 15.0, 60.0]))
def test_a_window_in_two_halves_is_the_whole(seed: int, cut: int, step: float) -> None:
    world = lived("demo", hours=1, seed=seed)
    times = grid(world.now_s - 60 * step, world.now_s, step)
    whole = readings(world, ALL, times)
    first = {window.metric: by_target(window) for window in readings(world, ALL, times[:cut])}
    second = {window.metric: by_target(window) for window in readings(world, ALL, times[cut:])}

    for window in whole:
        was, then = first.get(window.metric, {}), second.get(window.metric, {})
        halves = [
            was.get(target, [np.nan] * cut) + then.get(target, [np.nan] * (len(times) - cut))
            for target in window.targets
        ]
        np.testing.assert_array_equal(window.value, halves)


def test_the_past_reads_the_same_later_on() -> None:
    """What was scraped then and what is back-filled now must be one series."""
    world = lived("demo", hours=0.5)
    times = grid(world.now_s - 1800, world.now_s)
    then = readings(world, ALL, times)

    world.perform(Action("a", "swap_node", Target(node="node-03"), (), 900.0, ""))
    world.advance(world.now_s + 3 * HOUR_S)

    for was, now in zip(then, readings(world, ALL, times), strict=True):
        assert by_target(was).keys() == by_target(now).keys()
        np.testing.assert_array_equal(was.value, now.value)


def test_one_scrape_reads_what_a_window_reads() -> None:
    world = lived("demo", hours=0.2)
    times = grid(world.now_s - 300, world.now_s)
    columns = [one(world, "gpu_power_watts", times[k : k + 1]).value for k in range(len(times))]

    np.testing.assert_array_equal(
        one(world, "gpu_power_watts", times).value, np.concatenate(columns, axis=1)
    )


def test_a_step_of_a_minute_reads_every_fourth_of_15_s() -> None:
    world = lived("demo", hours=1)
    fine = one(world, "gpu_temperature_celsius", grid(world.now_s - 3600, world.now_s, 15))
    coarse = one(world, "gpu_temperature_celsius", grid(world.now_s - 3600, world.now_s, 60))
    picked = np.isin(fine.time_s, coarse.time_s)

    np.testing.assert_array_equal(fine.value[:, picked], coarse.value)


def test_nothing_is_read_before_the_beginning_or_after_now() -> None:
    world = lived("quiet", hours=0)
    began_s = world.scenario.start_s - world.scenario.history_s
    times = np.array([began_s - 15, began_s + 900, world.now_s, world.now_s + 15])

    for window in readings(world, ALL, times):
        assert np.isnan(window.value[:, [0, 3]]).all(), window.metric
        assert np.isfinite(window.value[:, [1, 2]]).mean() > 0.9, window.metric


def test_a_few_scrapes_are_missed_and_each_takes_all_of_a_node() -> None:
    """0.2 % of a node's scrapes: of 92,160 in a day, 120 to 250 but for 1 chance in 1,000."""
    world = lived("quiet", hours=0)
    times = grid(world.now_s - 24 * HOUR_S + 1, world.now_s)
    gaps = {
        metric: np.isnan(one(world, metric, times).value).reshape(16, -1, len(times)).all(axis=1)
        for metric in ("node_up", "gpu_power_watts", "node_memory_used_ratio")
    }

    assert 120 <= gaps["node_up"].sum() <= 250
    for missing in gaps.values():
        np.testing.assert_array_equal(missing, gaps["node_up"])


def test_afternoons_are_warmer_than_nights() -> None:
    world = lived("quiet", hours=0)
    times = grid(world.now_s - 24 * HOUR_S + 1, world.now_s, 60)
    celsius = np.nanmean(one(world, "node_inlet_temperature_celsius", times).value, axis=0)
    hour = times / HOUR_S % 24

    warm = np.nanmean(celsius[(hour > 13) & (hour < 17)])
    cold = np.nanmean(celsius[(hour > 1) & (hour < 5)])
    assert 1.0 < warm - cold < 2.0


def test_a_node_that_is_down_is_silent_but_for_up() -> None:
    world = lived("quiet", hours=0)
    world.perform(Action("a", "reboot_node", Target(node="node-15"), (), 900.0, ""))
    world.advance(world.now_s + 300)
    times = grid(world.now_s - 200, world.now_s)

    assert set(one(world, "node_up", times).value[15].tolist()) == {0.0}
    assert np.isnan(one(world, "node_cpu_used_ratio", times).value[15]).all()
    assert np.isnan(one(world, "gpu_power_watts", times).value[120:]).all()


def test_a_stopped_job_reports_no_steps_but_its_checkpoint_ages() -> None:
    world = lived("demo", hours=0.5)
    times = grid(world.now_s - 600, world.now_s)

    assert np.isnan(one(world, "job_step_time_s", times).value[0]).all()
    assert np.isnan(one(world, "job_steps_total", times).value[0]).all()
    age = one(world, "job_checkpoint_age_s", times).value[0]
    assert np.diff(age).tolist() == pytest.approx([15.0] * (len(times) - 1))
    assert one(world, "job_goodput_ratio", times).value[0, -1] == 0


def test_a_job_counts_its_steps_in_its_step_time() -> None:
    world = lived("quiet", hours=1)
    times = grid(world.now_s - 1800, world.now_s)
    steps = one(world, "job_steps_total", times).value
    step_s = np.nanmean(one(world, "job_step_time_s", times).value, axis=1)

    done = steps[:, -1] - steps[:, 0]
    assert (np.diff(steps, axis=1) >= 0).all()
    assert done == pytest.approx((times[-1] - times[0]) * 600 / 607 / step_s, rel=0.01)


def test_a_rank_moves_with_its_job_and_keeps_its_number() -> None:
    world = lived("quiet", hours=0)
    world.perform(Action("a", "swap_node", Target(node="node-12"), (), 900.0, ""))
    world.advance(world.now_s + 600)
    window = one(world, "rank_step_time_s", grid(world.now_s - 1200, world.now_s))

    rank_0 = {
        target.node: np.isfinite(value)
        for target, value in zip(window.targets, window.value, strict=True)
        if (target.job, target.rank) == ("vision", "0")
    }
    assert rank_0.keys() == {"node-12", "node-14"}
    assert np.flatnonzero(rank_0["node-12"])[-1] < np.flatnonzero(rank_0["node-14"])[0]


def test_waiting_for_the_slowest_is_part_of_the_collectives() -> None:
    """A step is own compute, data and collectives, for the slow rank and for the fast."""
    world = lived("demo", hours=0.6)
    times = grid(world.now_s - 300, world.now_s)
    names = ("rank_step_time_s", "rank_data_wait_s", "rank_collective_time_s")
    windows = readings(world, names, times)
    vision = [k for k, target in enumerate(windows[0].targets) if target.job == "vision"]

    total = sum(np.nanmean(window.value[vision], axis=1) for window in windows)
    step_s = np.nanmean(one(world, "job_step_time_s", times).value[2])
    assert total == pytest.approx(np.full(len(vision), step_s), rel=0.03)


def test_unknown_metrics_and_no_time_give_no_window() -> None:
    world = lived("quiet", hours=0)

    assert readings(world, ("job_queue_depth", "nonsense"), np.array([world.now_s])) == ()
    assert readings(world, ALL, np.empty(0)) == ()


def test_a_cluster_without_jobs_still_has_readings() -> None:
    empty = replace(scenario("quiet"), jobs=(), faults=(), history_s=0.0)
    world = World.build(empty, seed=1)
    world.advance(empty.start_s + 600)
    windows = readings(world, ALL, grid(world.now_s - 300, world.now_s))

    assert {window.metric for window in windows} == {
        name for name in ALL if not name.startswith(("job_", "rank_"))
    }


def test_an_hour_of_all_readings_takes_less_than_a_second() -> None:
    """16 nodes, every 15 s; it takes about 30 ms on one core, so the bound holds on a busy one."""
    world = lived("demo", hours=1)
    times = grid(world.now_s - 3600, world.now_s)

    before_s = time.process_time()
    windows = readings(world, ALL, times)

    assert time.process_time() - before_s < 1
    assert sum(window.value.size for window in windows) > 500_000
