"""A job's life in the engine: it starts, steps, saves, fails, comes back and ends as it should."""

import math

import pytest

from sim.engine import jobs, machines, placement, queue
from sim.engine.tables import Tables
from sim.engine.words import NONE, Ending, Phase, Reason, Stage, Use
from tests.small_world import BEGAN_S, Size, add_job, nodes_of, pass_time, small_world


def exact_world(size: Size | None = None) -> Tables:
    """Return a world where a start takes 50 s and nothing is drawn."""
    w = small_world(size or Size())
    w.site["restart_s_per_gpu"], w.site["exact_restart"] = 0.0, True
    return w


def running_job(w: Tables, gpus: int, *, work: float = math.inf, interval: float = 100.0) -> int:
    job = add_job(w, gpus, work=work)
    w.jobs[job]["interval_s"] = interval
    placement.append_free(w, job, placement.needs(w, gpus))
    jobs.start(w, job)
    return job


def test_a_job_is_started_done_and_filed_at_the_times_that_follow() -> None:
    w = exact_world()
    job = add_job(w, 4, work=600.0)
    queue.submit(w, job)

    w = pass_time(w, 1000.0)

    done = w.done[0]
    assert (done["begun_s"], done["ended_s"]) == (BEGAN_S, BEGAN_S + 650.0)
    assert (done["held_gpu_s"], done["good_gpu_s"]) == (2600.0, 2400.0)
    assert w.core[0]["use_gpus"].tolist() == [64, 0, 0, 0]
    assert w.core[0]["jobs_free"] == 1


def test_a_named_job_goes_through_the_stages_and_takes_as_long() -> None:
    w = exact_world(Size(keep=True))
    named, other = add_job(w, 8, work=100.0), add_job(w, 8, work=100.0)
    w.jobs[named]["named"] = True
    for job in (named, other):
        queue.submit(w, job)

    w = pass_time(w, 500.0)

    stages = w.job_log["stage"][: w.core[0]["job_log_n"]].tolist()
    assert stages[-6:] == [*range(Stage.STEPPING + 1), Stage.NONE]
    assert w.jobs[named]["ended_s"] == w.done[0]["ended_s"] == BEGAN_S + 150.0
    assert w.jobs[named]["phase"] == Phase.COMPLETED


@pytest.mark.parametrize(("work", "stalls"), [(99.0, 0), (100.0, 0), (101.0, 1), (1000.0, 9)])
def test_a_job_ends_after_its_work_and_the_stalls_between(work: float, stalls: int) -> None:
    w = exact_world()
    job = running_job(w, 8, work=work)
    w.jobs[job]["stall_s"] = 7.0

    w = pass_time(w, 5000.0)

    assert w.done[0]["ended_s"] == BEGAN_S + 50.0 + work + 7.0 * stalls
    assert w.done[0]["lost_gpu_s"].tolist() == [8 * 7.0 * stalls, 400.0, 0, 0, 0, 0]


def test_a_slow_gpu_puts_the_end_off_and_is_what_is_lost() -> None:
    w = exact_world()
    job = running_job(w, 16, work=1000.0)
    w = pass_time(w, 550.0)
    node = nodes_of(w, job)[1]
    w.nodes[node]["slow"][3] = 2.0
    machines.changed(w, node)
    jobs.retime(w, job)

    w = pass_time(w, 5000.0)

    assert w.done[0]["ended_s"] == BEGAN_S + 50.0 + 500.0 + 1000.0
    assert w.done[0]["lost_gpu_s"].tolist() == [0, 800.0, 0, 0, 0, 8000.0]
    assert w.done[0]["good_gpu_s"] == 16000.0


@pytest.mark.parametrize(("interval", "kept"), [(100.0, 200.0), (math.inf, 0.0)])
def test_a_failed_job_goes_back_to_its_newest_valid_checkpoint(
    interval: float, kept: float
) -> None:
    w = exact_world()
    w.site["requeue"], w.site["requeue_s"] = True, 30.0
    job = running_job(w, 8, interval=interval)
    w.jobs[job]["save_s"] = 60.0
    w = pass_time(w, 50.0 + 330.0)
    jobs.fail(w, job, Reason.CUDA_ERROR, NONE)

    assert w.jobs[job]["step"] == kept
    w = pass_time(w, 29.0)
    assert w.jobs[job]["phase"] == Phase.STOPPED
    w = pass_time(w, 1.0 + 50.0 + 400.0)
    row = w.jobs[job]
    assert (row["phase"], row["restarts"], row["interruptions"]) == (Phase.RUNNING, 1, 1)
    jobs.end(w, job, Ending.CANCELLED)
    done = w.done[0]
    assert done["good_gpu_s"] == 8 * (kept + 400.0)
    assert done["lost_gpu_s"].tolist() == [0, 800.0, 8 * (330.0 - kept), 0, 240.0, 0]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("alive", 0, Reason.GPU_MISSING),
        ("scratch", 1.0, Reason.NO_SPACE),
        ("up", 0, Reason.NODE_DOWN),
    ],
)
def test_a_start_ends_where_it_finds_a_node_that_is_not_sound(
    field: str, value: float, reason: Reason
) -> None:
    w = exact_world()
    job = running_job(w, 16)
    w.nodes[field][nodes_of(w, job)[1]] = value

    w = pass_time(w, 60.0)

    row = w.jobs[job]
    assert (row["phase"], row["reason"], row["attempts"]) == (Phase.STOPPED, reason, 1)
    assert w.core[0]["interruptions"] == 0


def test_a_job_whose_state_went_bad_restarts_from_before_that() -> None:
    w = exact_world()
    job = running_job(w, 8)
    w = pass_time(w, 50.0 + 450.0)
    w.jobs[job]["corrupt_step"] = 250.0
    w = pass_time(w, 500.0)

    jobs.fail(w, job, Reason.NAN, NONE)

    row = w.jobs[job]
    assert row["step"] == row["saved_step"] == 200.0
    assert row["best_step"] == 250.0
    assert math.isinf(row["corrupt_step"])


def test_a_hang_stops_all_until_the_collectives_timeout() -> None:
    w = exact_world()
    w.site["hang_timeout_s"] = 600.0
    job = running_job(w, 8)
    w = pass_time(w, 100.0)
    jobs.hang(w, job, NONE, w.site[0]["hang_timeout_s"])
    w = pass_time(w, 599.0)
    assert w.jobs[job]["stage"] == Stage.HUNG

    w = pass_time(w, 1.0)

    assert (w.jobs[job]["phase"], w.jobs[job]["reason"]) == (Phase.STOPPED, Reason.HANG)
    assert w.jobs[job]["lost_gpu_s"].tolist() == [0, 400.0, 0, 4800.0, 0, 0]


def test_an_extra_checkpoint_is_valid_once_it_is_whole() -> None:
    w = exact_world()
    job = running_job(w, 8, interval=1000.0)
    w.jobs[job]["stall_s"], w.jobs[job]["save_s"] = 7.0, 20.0
    w = pass_time(w, 50.0 + 300.0)
    jobs.capture(w, job)
    w = pass_time(w, 7.0 + 20.0)

    jobs.fail(w, job, Reason.ORDERED, NONE)

    assert w.jobs[job]["step"] == 300.0
    assert w.jobs[job]["interruptions"] == 0


def test_what_was_due_to_a_slots_earlier_job_is_void() -> None:
    w = exact_world()
    first = add_job(w, 8, work=10.0)
    queue.submit(w, first)
    w = pass_time(w, 49.0)
    queue.cancel(w, first)
    second = add_job(w, 8, work=100.0)
    queue.submit(w, second)

    w = pass_time(w, 1000.0)

    assert first == second
    assert w.done["ended_s"][:2].tolist() == [BEGAN_S + 49.0, BEGAN_S + 49.0 + 150.0]
    assert w.core[0]["use_gpus"][Use.HELD] == 0


def test_restart_times_are_drawn_by_job_and_how_manieth() -> None:
    times = []
    for between_s in (0.0, 77.0):
        w = small_world(Size())
        job = running_job(w, 8)
        w = pass_time(w, between_s)
        jobs.start(w, job)
        times.append(float(w.jobs[job]["launch_s"]))

    assert times[0] == times[1] != 50.0
    assert abs(times[0] / 50.072 - 1) <= 0.15
