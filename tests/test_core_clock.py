"""A test moves time by hand and everything that waits wakes in order; replay runs fast."""

import asyncio

import pytest

from core.clock import ManualClock, RealClock, ScaledClock


async def test_sleepers_wake_in_order_of_their_deadlines(clock: ManualClock) -> None:
    log: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        log.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(wait(*each)) for each in (("c", 3.0), ("a", 1.0), ("b", 2.0))]
    await asyncio.sleep(0)
    await clock.advance(10.0)
    await asyncio.gather(*tasks)

    assert log == [("a", 1.0), ("b", 2.0), ("c", 3.0)]


async def test_a_loop_that_sleeps_again_wakes_within_one_advance(clock: ManualClock) -> None:
    beats: list[float] = []

    async def beat() -> None:
        while True:
            await clock.sleep(15.0)
            beats.append(clock.monotonic_s())

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    await clock.advance(60.0)
    task.cancel()

    assert beats == [15.0, 30.0, 45.0, 60.0]


async def test_nobody_wakes_before_the_deadline(clock: ManualClock) -> None:
    task = asyncio.create_task(clock.sleep(10.0))
    await asyncio.sleep(0)

    await clock.advance(9.999)
    assert not task.done()
    await clock.advance(0.001)
    assert task.done()


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_sleep_of_no_length_does_not_wait(clock: ManualClock, seconds: float) -> None:
    await asyncio.wait_for(clock.sleep(seconds), timeout=1.0)


async def test_a_set_wall_clock_leaves_durations_alone(clock: ManualClock) -> None:
    wall, task = clock.now_s(), asyncio.create_task(clock.sleep(10.0))
    await asyncio.sleep(0)

    clock.step(-3600.0)
    await clock.advance(10.0)

    assert task.done()
    assert clock.now_s() == wall - 3590.0
    assert clock.monotonic_s() == 10.0


async def test_scaled_time_passes_as_often_faster_as_asked() -> None:
    clock, real = ScaledClock(start_s=1000.0, speed=1000.0), RealClock()
    began_s = real.monotonic_s()

    await clock.sleep(50.0)

    took_s = real.monotonic_s() - began_s
    assert clock.now_s() >= 1050.0
    assert 0.05 <= took_s < 2.0


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_stops_time_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be above 0"):
        ScaledClock(start_s=0.0, speed=speed)


async def test_the_real_clock_waits_and_never_steps_back() -> None:
    clock = RealClock()
    began_s, wall_s = clock.monotonic_s(), clock.now_s()

    await clock.sleep(0.01)
    await clock.sleep(-1.0)

    assert clock.monotonic_s() - began_s >= 0.009
    assert clock.now_s() > 1_700_000_000
    assert abs(clock.now_s() - wall_s) < 60
