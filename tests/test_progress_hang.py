"""A job that stands still is found in seconds; one that saves, starts or has ended is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.topology import flat_topology
from core.types import Anomaly, Floats, Severity, Window
from detectors.progress import Hangs
from tests.job_readings import START_S, of_jobs, of_ranks, steps_at, watch

HOUR_S = 3600.0


def found(
    every_s: float,
    steps: Floats,
    *more: Window,
    from_s: float = 0.0,
    detector: Hangs | None = None,
) -> dict[float, tuple[Anomaly, ...]]:
    """Seconds from the start -> what is found; looks before ``from_s`` are 20 readings apart."""
    window = of_jobs("job_steps_total", steps, every_s=every_s)
    first = int(from_s / every_s)
    columns = [*range(0, first, 20), *range(first, steps.size)]
    seen = watch(detector or Hangs(), [window, *more], columns)
    return {column * every_s: anomalies for column, anomalies in seen.items()}


@pytest.mark.parametrize("step_s", [0.2, 1.0, 4.8, 30.0])
@settings(max_examples=3, deadline=None)
@given(after_s=st.floats(0, 300))
def test_a_hang_is_found_within_three_steps_or_ten_seconds(step_s: float, after_s: float) -> None:
    onset_s = HOUR_S + 60 + after_s
    time_s = np.arange(0, onset_s + 120, 1.0)
    steps = steps_at(time_s, step_s=step_s, pauses=[(onset_s, 1e9)])

    seen = found(1.0, steps, from_s=onset_s - 60)

    assert 0 < min(seen) - onset_s <= max(3 * step_s, 10.0)
    (anomaly,) = seen[min(seen)]
    assert (anomaly.detector, anomaly.severity) == ("hang", Severity.CRITICAL)
    assert anomaly.target.job == "88"
    assert anomaly.value < anomaly.lower
    assert seen.keys() >= set(np.arange(min(seen), time_s[-1]).tolist())


def test_readings_at_15_s_find_it_at_the_third_without_a_step() -> None:
    time_s = np.arange(0, 2 * HOUR_S, 15.0)
    steps = steps_at(time_s, step_s=2.0, pauses=[(5400.0, 1e9)])

    assert min(found(15.0, steps)) - 5400.0 <= 45.0


def test_a_checkpoint_that_is_due_is_no_hang_and_a_hang_between_two_is() -> None:
    """A save of 40 s after every 600 s of work: 40 s without a step are usual then."""
    saves = [(600.0 + 640.0 * n, 40.0) for n in range(12)]
    time_s = np.arange(0, 7100, 1.0)
    last_s = saves[9][0]

    well = found(1.0, steps_at(time_s, step_s=2.0, pauses=saves), from_s=saves[8][0] - 30)
    hung = [*saves[:10], (last_s + 300.0, 1e9)]
    seen = found(1.0, steps_at(time_s, step_s=2.0, pauses=hung), from_s=last_s)

    assert well == {}
    assert min(seen) - (last_s + 300.0) <= 10.0


def test_a_checkpoint_that_takes_for_ever_is_found_too() -> None:
    saves = [(600.0 + 640.0 * n, 40.0) for n in range(9)]
    time_s = np.arange(0, 6500, 1.0)
    hung = [*saves, (600.0 + 640.0 * 9, 1e9)]

    seen = found(1.0, steps_at(time_s, step_s=2.0, pauses=hung), from_s=6300.0)

    assert 40.0 < min(seen) - hung[-1][0] <= 80.0


def test_pauses_by_the_step_are_known_when_steps_become_slower() -> None:
    """Saves of 30 s each 200 steps, at 2 s a step and then at 3 s: they are due all the same."""
    fast = [(400.0 + 430.0 * n, 30.0) for n in range(9)]
    turn_s = fast[-1][0] + 30.0
    slow = [(600.0 * (n + 1) + 30.0 * n, 30.0) for n in range(3)]
    time_s = np.arange(0, turn_s, 1.0)
    after_s = np.arange(0, 2000.0, 1.0)
    steps = np.concatenate(
        [
            steps_at(time_s, step_s=2.0, pauses=fast),
            1800 + steps_at(after_s, step_s=3.0, pauses=slow),
        ]
    )

    assert found(1.0, steps, from_s=turn_s - 900) == {}


def test_a_young_job_is_given_time() -> None:
    """Its first save and compilation are not known yet; after five minutes it hangs."""
    time_s = np.arange(0, 1800, 5.0)
    steps = steps_at(time_s, step_s=2.0, pauses=[(300.0, 90.0), (900.0, 1e9)])

    seen = found(5.0, steps)

    assert 300.0 <= min(seen) - 900.0 <= 320.0


def test_a_start_is_no_hang() -> None:
    time_s = np.arange(0, 2 * HOUR_S, 15.0)
    steps = steps_at(time_s, step_s=2.0)
    again = np.concatenate([steps[:400], np.full(12, np.nan), np.full(9, 700.0), 700 + steps[:59]])

    assert found(15.0, again) == {}


def test_a_job_that_reports_no_more_is_not_said_to_hang() -> None:
    time_s = np.arange(0, 2 * HOUR_S, 15.0)
    steps = steps_at(time_s, step_s=2.0)
    steps[300:] = np.nan

    assert found(15.0, steps) == {}


def test_a_job_the_scheduler_no_longer_has_is_done() -> None:
    """Its exporter outlives it and repeats the last count."""
    window = of_jobs("job_steps_total", np.minimum(np.arange(480.0), 400.0), every_s=15.0)
    gone, there = flat_topology({}, {}), flat_topology({}, {"88": []})

    assert watch(Hangs(), [window], topology=gone) == {}
    assert watch(Hangs(), [window], topology=there) != {}


def test_a_stuck_count_with_ranks_that_go_on_is_no_hang() -> None:
    counts = np.minimum(np.arange(480.0), 400.0)
    own = of_ranks("rank_step_time_s", 2 + np.random.default_rng(0).normal(0, 0.02, (8, 480)))

    assert found(15.0, counts) != {}
    assert found(15.0, counts, own) == {}


def test_the_rank_that_the_others_wait_for_stopped_first() -> None:
    counts = np.minimum(np.arange(480.0), 400.0)
    waits = np.full((16, 480), 0.6)
    waits[:, 401:] = 15.0 * np.arange(1, 80)
    waits[5, 401:] = 0.6

    seen = found(15.0, counts, of_ranks("rank_collective_time_s", waits))

    first = seen[max(seen)][0]
    assert (first.target.rank, first.target.node) == ("5", "node-0")
    assert "rank 5 stopped first" in first.text


def test_the_rank_that_fell_silent_first_stopped_first() -> None:
    counts = np.minimum(np.arange(480.0), 400.0)
    own = np.full((16, 480), 2.0)
    own[:, 402:] = np.nan
    own[9, 401:] = np.nan

    seen = found(15.0, counts, of_ranks("rank_step_time_s", own))

    assert seen[min(seen)][0].target.rank == "9"


def test_where_all_ranks_show_the_same_the_job_is_named() -> None:
    counts = np.minimum(np.arange(480.0), 400.0)
    own = np.full((16, 480), 2.0)
    own[:, 402:] = np.nan

    seen = found(15.0, counts, of_ranks("rank_step_time_s", own))

    assert seen[min(seen)][0].target.rank == ""


def test_a_job_that_tells_of_slower_steps_does_not_hang() -> None:
    """Storage makes steps four times as long at once; the job says so with the first."""
    time_s = np.arange(0, 5000, 1.0)
    steps = np.concatenate([np.floor(time_s[:4000] / 4.0), 999 + np.floor(time_s[:1000] / 16.0)])
    told = of_jobs("job_step_time_s", np.where(time_s < 4000, 4.0, 16.0), every_s=1.0)

    seen = watch(
        Hangs(), [of_jobs("job_steps_total", steps, every_s=1.0), told], range(20, 5000, 9)
    )

    assert all(column < 4020 for column in seen)


def test_what_it_learned_goes_on_in_another_process() -> None:
    time_s = np.arange(0, 2 * HOUR_S, 15.0)
    window = of_jobs(
        "job_steps_total", steps_at(time_s, step_s=2.0, pauses=[(6000, 1e9)]), every_s=15.0
    )
    before, after = Hangs(), Hangs()

    watch(before, [window], range(390))
    after.restore(before.state())

    rest = range(390, len(time_s))
    assert watch(after, [window], rest) == watch(before, [window], rest) != {}


def test_looks_that_overlap_more_learn_no_more() -> None:
    time_s = np.arange(0, HOUR_S, 15.0)
    window = of_jobs("job_steps_total", steps_at(time_s, step_s=2.0), every_s=15.0)
    often, seldom = Hangs(), Hangs()

    watch(often, [window])
    watch(seldom, [window], range(39, len(time_s), 40))

    for name, learned in often.state().items():
        np.testing.assert_array_equal(learned, seldom.state()[name])


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks"):
        Hangs().restore({"names": np.array(["88"])})


def test_jobs_unseen_for_days_are_forgotten() -> None:
    detector = Hangs()
    for day in range(20):
        time_s = START_S + 86_400.0 * day + 15.0 * np.arange(41, dtype=np.float64)
        target = of_jobs("job_steps_total", np.zeros(1), every_s=1.0, jobs=[f"job-{day}"]).targets
        window = Window("job_steps_total", target, time_s, np.arange(41.0)[None])
        detector.look({"job_steps_total": window}, topology=None, now_s=float(time_s[-1]))

    assert len(detector.state()["names"]) <= 5
