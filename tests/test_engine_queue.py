"""The queue serves by priority and order, as gangs, and lets only those pass who delay nobody."""

import math

from sim.engine import jobs, machines, placement, queue
from sim.engine.tables import Tables
from sim.engine.words import NONE, Ending, Hold, JobKind, Phase, Reason
from tests.small_world import BEGAN_S, Size, add_job, nodes_of, pass_time, small_world


def exact_world(size: Size | None = None) -> Tables:
    w = small_world(size or Size())
    w.site["restart_s"], w.site["restart_s_per_gpu"], w.site["exact_restart"] = 0.0, 0.0, True
    w.site["fresh_node_s"] = 0.0
    return w


def submitted(w: Tables, gpus: int, work: float, priority: int = 0) -> int:
    job = add_job(w, gpus, work=work, priority=priority)
    queue.submit(w, job)
    return job


def has_gpus(w: Tables, job: int) -> bool:
    return bool(w.jobs[job]["given"] > 0)


def test_the_more_urgent_starts_first_and_equals_in_order() -> None:
    w = exact_world(Size(nodes=1, per_leaf=1))
    for priority in (9, 0, 0, 5):
        submitted(w, 8, 100.0, priority)

    w = pass_time(w, 1000.0)

    assert w.done["number"][:4].tolist() == [0, 3, 1, 2]


def test_a_gang_waits_until_all_its_nodes_are_free_together() -> None:
    w = exact_world()
    short = [submitted(w, 8, 100.0 * (1 + index)) for index in range(8)]
    gang = submitted(w, 32, 50.0)

    w = pass_time(w, 399.0)
    assert not has_gpus(w, gang)
    w = pass_time(w, 1.0)

    assert sorted(nodes_of(w, gang)) == sorted(
        set(range(8)) - {nodes_of(w, short[i])[0] for i in range(4, 8)}
    )


def test_small_jobs_fill_nodes_up_before_they_open_new_ones() -> None:
    w = exact_world()
    for gpus in (5, 4, 3, 2, 2):
        submitted(w, gpus, 100.0)
    w = pass_time(w, 1.0)

    assert sorted(w.nodes["free"].tolist()) == [0, 0, 8, 8, 8, 8, 8, 8]


def test_a_gang_stays_under_few_leaves() -> None:
    w = exact_world(Size(nodes=16))
    submitted(w, 8, 1e6)
    wide, narrow = submitted(w, 48, 1e6), submitted(w, 24, 1e6)
    w = pass_time(w, 1.0)

    assert len({node // 4 for node in nodes_of(w, wide)}) == 2
    assert len({node // 4 for node in nodes_of(w, narrow)}) == 1


def test_backfill_starts_what_does_not_keep_the_first_waiting() -> None:
    w = exact_world()
    submitted(w, 32, 1000.0)
    first = submitted(w, 64, 100.0)
    short, long = submitted(w, 8, 900.0), submitted(w, 8, 1100.0)
    w = pass_time(w, 1.0)

    assert [has_gpus(w, job) for job in (first, short, long)] == [False, True, False]
    w = pass_time(w, 1000.0)
    assert w.jobs[first]["begun_s"] == BEGAN_S + 1000.0


def test_backfill_uses_nodes_that_the_first_will_not_need() -> None:
    w = exact_world()
    submitted(w, 32, 1000.0)
    first, long = submitted(w, 40, 100.0), submitted(w, 8, 1e6)
    too_long = submitted(w, 32, 1e6)
    w = pass_time(w, 1.0)

    assert [has_gpus(w, job) for job in (first, long, too_long)] == [False, True, False]
    w = pass_time(w, 1000.0)
    assert w.jobs[first]["begun_s"] == BEGAN_S + 1000.0


def test_backfill_looks_no_deeper_than_the_site_says() -> None:
    w = exact_world()
    w.site["backfill"] = 1
    submitted(w, 32, 1000.0)
    submitted(w, 64, 100.0)
    deep = [submitted(w, 64, 10.0), submitted(w, 8, 10.0)]
    w = pass_time(w, 1.0)

    assert not has_gpus(w, deep[1])


def test_who_has_run_before_gets_spares_and_who_comes_new_does_not() -> None:
    w = exact_world()
    w.nodes["pool"][6:] = True
    placement.lay_out(w)
    first, new = submitted(w, 48, math.inf), submitted(w, 8, math.inf)
    w = pass_time(w, 10.0)
    machines.take_out(w, nodes_of(w, first)[0], Hold.SITE)
    queue.preempt(w, first)

    w = pass_time(w, 10.0)

    assert [has_gpus(w, job) for job in (first, new)] == [True, False]
    assert len(set(nodes_of(w, first)) & {6, 7}) == 1


def test_a_job_that_fails_again_and_again_comes_back_ever_later() -> None:
    w = exact_world()
    w.site["requeue"], w.site["requeue_s"] = True, 60.0
    job = submitted(w, 8, math.inf)
    w = pass_time(w, 1000.0)
    waits_s = []
    for _ in range(9):
        jobs.fail(w, job, Reason.SOFTWARE, NONE)
        failed_s = float(w.core[0]["now_s"])
        while w.jobs[job]["phase"] != Phase.RUNNING:
            w = pass_time(w, 30.0)
        waits_s.append(float(w.core[0]["now_s"]) - failed_s)
    w = pass_time(w, 1000.0)
    jobs.fail(w, job, Reason.SOFTWARE, NONE)
    w = pass_time(w, 61.0)

    assert waits_s == [60.0 + more for more in (0, 0, 30, 30, 60, 90, 180, 300, 300)]
    assert w.jobs[job]["phase"] == Phase.RUNNING


def test_who_has_run_long_enough_makes_room_for_the_more_urgent() -> None:
    w = exact_world()
    w.site["preempt_after_s"] = 7200.0
    idle, busy = submitted(w, 32, math.inf, 0), submitted(w, 32, math.inf, 1)
    w = pass_time(w, 7000.0)
    urgent = submitted(w, 32, 1000.0, 2)
    w = pass_time(w, 100.0)
    assert not has_gpus(w, urgent)

    w = pass_time(w, 800.0)
    submitted(w, 8, 1.0)
    w = pass_time(w, 10.0)

    assert [has_gpus(w, job) for job in (idle, busy, urgent)] == [False, True, True]
    assert w.jobs[idle]["reason"] == Reason.PREEMPTED
    w = pass_time(w, 1000.0)
    assert has_gpus(w, idle)


def test_a_requeued_job_keeps_its_sound_nodes_and_takes_a_spare() -> None:
    w = exact_world(Size(nodes=5, spares=1))
    w.site["requeue"] = True
    gang = submitted(w, 32, math.inf)
    w = pass_time(w, 10.0)
    before = nodes_of(w, gang)
    w.nodes[before[2]]["hold"] = Hold.SITE
    placement.offer(w, before[2])
    jobs.fail(w, gang, Reason.CUDA_ERROR, NONE)
    w = pass_time(w, 10.0)

    assert nodes_of(w, gang) == [*before[:2], 4, before[3]]
    assert w.nodes["rank"][nodes_of(w, gang)].tolist() == [0, 8, 16, 24]
    assert w.nodes["pool"].tolist() == [node == before[2] for node in range(5)]
    assert w.jobs[gang]["phase"] == Phase.RUNNING


def test_a_requeued_job_without_enough_nodes_waits_before_its_equals() -> None:
    w = exact_world(Size(nodes=4))
    w.site["requeue"] = True
    gang = submitted(w, 32, 1000.0)
    equal = submitted(w, 32, 1000.0)
    w = pass_time(w, 10.0)
    w.nodes[0]["hold"] = Hold.PERSON
    jobs.fail(w, gang, Reason.NETWORK, NONE)
    w = pass_time(w, 10.0)
    assert w.jobs[gang]["phase"] == Phase.PENDING
    assert w.queue[:2].tolist() == [gang, equal]

    w.nodes[0]["hold"] = Hold.NOBODY
    placement.offer(w, 0)
    queue.look(w)

    assert has_gpus(w, gang)


def test_an_elastic_job_starts_smaller_goes_on_smaller_and_grows() -> None:
    w = exact_world()
    w.site["requeue"] = True
    other = submitted(w, 40, 1000.0)
    elastic = add_job(w, 64, work=math.inf, kind=JobKind.ELASTIC)
    w.jobs[elastic]["least_gpus"], w.jobs[elastic]["unit"] = 16, 16
    queue.submit(w, elastic)
    w = pass_time(w, 10.0)
    assert w.jobs[elastic]["given"] == 16

    w = pass_time(w, 1000.0)
    assert not has_gpus(w, other)
    assert w.jobs[elastic]["given"] == 64
    assert w.jobs[elastic]["lost_gpu_s"].sum() == 0

    lost = nodes_of(w, elastic)[3]
    w.nodes[lost]["hold"] = Hold.SITE
    jobs.fail(w, elastic, Reason.GPU_MISSING, NONE)
    w = pass_time(w, 10.0)
    assert w.jobs[elastic]["given"] == 48
    assert lost not in nodes_of(w, elastic)
    assert w.core[0]["shrunk"] == 1


def test_a_job_that_could_never_start_is_cancelled_at_once() -> None:
    w = exact_world(Size(nodes=4, spares=1))
    submitted(w, 32, 10.0)

    assert w.done[0]["ending"] == Ending.CANCELLED
    assert math.isnan(w.done[0]["begun_s"])
    assert w.core[0]["queue_n"] == 0
