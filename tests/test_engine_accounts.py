"""Every GPU-second is counted once and exactly, whatever happens to nodes and jobs."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine import accounts, jobs, machines, placement, queue
from sim.engine.tables import Tables
from sim.engine.words import GPUS, NONE, Ending, Hold, JobKind, Phase, Reason, Use
from tests.small_world import BEGAN_S, Size, add_job, nodes_of, pass_time, small_world

NODES = 12
SIZES = (1, 2, 5, 8, 16, 40)
VERBS = ("submit", "down", "up", "hold", "free", "fail", "hang", "capture", "slow", "cancel")
Deed = tuple[str, int, float]
DEEDS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 10**6), st.floats(0.0, 5000.0)),
    min_size=5,
    max_size=60,
)


def busy_world() -> Tables:
    w = small_world(Size(nodes=NODES, spares=2))
    w.site["requeue"], w.site["requeue_s"] = True, 60.0
    w.site["hang_timeout_s"], w.site["preempt_after_s"] = 600.0, 1800.0
    return w


def do(w: Tables, verb: str, choice: int) -> None:
    """Do something to a node or job that the number picks, where it can be done."""
    node = choice % NODES
    job = int(w.nodes[node]["held_by"])
    if verb == "submit":
        submit(w, choice)
    elif verb == "down" and w.nodes[node]["up"]:
        while (on := placement.first_on(w, node, NONE)) != NONE and running(w, on):
            jobs.fail(w, on, Reason.NODE_DOWN, NONE)
            jobs.end(w, on, Ending.FAILED)
        machines.go_down(w, node)
    elif verb == "up":
        machines.come_up(w, node)
    elif verb == "hold":
        machines.take_out(w, node, Hold.SITE)
    elif verb == "free":
        machines.give_back(w, node)
    elif verb == "slow":
        w.nodes[node]["slow"][choice % GPUS] = 1.0 + choice % 3
    placement.offer(w, node)
    if job != NONE:
        touch(w, verb, job)


def submit(w: Tables, choice: int) -> None:
    kind = JobKind.ELASTIC if choice % 7 == 0 else JobKind.TRAINING
    job = add_job(w, SIZES[choice % 6], work=1.0 + choice % 9999, priority=choice % 3, kind=kind)
    row = w.jobs[job]
    row["least_gpus"] = min(row["gpus"], GPUS)
    row["interval_s"], row["stall_s"], row["save_s"] = 300.0 + choice % 700, choice % 10, 20.5
    queue.submit(w, job)


def touch(w: Tables, verb: str, job: int) -> None:
    if verb == "fail":
        jobs.fail(w, job, Reason.CUDA_ERROR, NONE)
    elif verb == "hang":
        jobs.hang(w, job, NONE, w.site[0]["hang_timeout_s"])
    elif verb == "capture":
        jobs.capture(w, job)
    elif verb == "slow":
        jobs.retime(w, job)
    elif verb == "cancel":
        jobs.end(w, job, Ending.CANCELLED)


def running(w: Tables, job: int) -> bool:
    return bool(w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING, Phase.STOPPED))


def live(w: Tables) -> list[int]:
    return [job for job in range(w.core[0]["jobs_n"]) if w.jobs[job]["number"] != NONE]


def check(w: Tables) -> None:
    """Assert that nothing is lost, nothing is counted twice and the lists are true."""
    core, passed_s = w.core[0], float(w.core[0]["now_s"]) - BEGAN_S
    accounts.settle(w)
    for job in live(w):
        accounts.count_job(w, job)
    rows = w.jobs[live(w)]
    assert core["use_s"].sum() == NODES * GPUS * passed_s
    assert core["use_s"][Use.HELD] == core["held_gpu_s"] + rows["held_gpu_s"].sum()
    assert (rows["held_gpu_s"] == rows["good_gpu_s"] + rows["lost_gpu_s"].sum(axis=1)).all()
    assert core["held_gpu_s"] == core["good_gpu_s"] + core["lost_gpu_s"].sum()
    assert (rows["lost_gpu_s"] >= 0).all()
    assert accounts.totals(w)[0] == core["use_s"][Use.HELD]
    owners = w.nodes["job"]
    assert w.nodes["free"].tolist() == (owners == NONE).sum(axis=1).tolist()
    for job in live(w):
        nodes = nodes_of(w, job)
        assert len(set(nodes)) == len(nodes)
        assert w.jobs[job]["given"] == (owners == job).sum() == (owners[nodes] == job).sum()
    assert set(owners.ravel().tolist()) <= {NONE, *live(w)}
    check_lists(w)


def check_lists(w: Tables) -> None:
    listed: list[tuple[int, int]] = []
    for free, first in enumerate(w.buckets.tolist()):
        node = first
        while node != NONE:
            listed.append((node, free))
            node = int(w.nodes[node]["bucket_next"])
    wanted = []
    for node in range(NODES):
        row = w.nodes[node]
        if row["up"] and row["hold"] == Hold.NOBODY and row["free"] > 0:
            if not row["pool"]:
                wanted.append((node, int(row["free"])))
            elif row["free"] == GPUS:
                wanted.append((node, 0))
    whole = [node for node, free in wanted if free == GPUS]
    assert sorted(listed) == wanted
    assert w.core[0]["free_nodes"] == len(whole) == w.domains["free_nodes"].sum()


def check_starts(w: Tables, since_s: float) -> None:
    """Assert that whoever started since then, when a node last changed, has ready nodes."""
    for job in live(w):
        row = w.jobs[job]
        if row["phase"] == Phase.STARTING and row["since_s"] > since_s:
            nodes = w.nodes[nodes_of(w, job)]
            assert nodes["up"].all()
            assert (nodes["hold"] == Hold.NOBODY).all()


def play(deeds: list[Deed], *, checked: bool = True) -> Tables:
    w = busy_world()
    for verb, choice, wait_s in deeds:
        do(w, verb, choice)
        at_s = float(w.core[0]["now_s"])
        w = pass_time(w, math.floor(wait_s * 1024) / 1024)
        assert w.core[0]["now_s"] >= at_s
        if checked:
            check_starts(w, at_s)
            check(w)
    return w


@settings(max_examples=60, deadline=None)
@given(DEEDS)
def test_all_gpu_time_is_accounted_for_exactly(deeds: list[Deed]) -> None:
    play(deeds)


@settings(max_examples=20, deadline=None)
@given(DEEDS)
def test_the_same_deeds_make_the_same_world_bit_for_bit(deeds: list[Deed]) -> None:
    one, other = (play(deeds, checked=False) for _ in range(2))

    for name in one._fields:
        assert np.array_equal(_fields(one, name), _fields(other, name)), name


def _fields(w: Tables, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(getattr(w, name).tobytes(), dtype=np.uint8)


def test_a_node_under_repair_is_neither_down_nor_idle() -> None:
    w = small_world(Size(nodes=2))
    machines.take_out(w, 0, Hold.SITE)
    w = pass_time(w, 100.0)
    w.nodes[0]["repair"] = True
    accounts.node_use(w, 0)
    w = pass_time(w, 50.0)
    accounts.settle(w)

    assert w.core[0]["use_s"].tolist() == [8 * 150.0, 0.0, 8 * 100.0, 8 * 50.0]


def test_looking_at_the_sums_changes_nothing() -> None:
    w = small_world(Size())
    job = add_job(w, 8, work=math.inf)
    queue.submit(w, job)
    w = pass_time(w, 333.3)
    before = w.jobs.tobytes(), w.core.tobytes()

    total, good = accounts.totals(w)

    assert (w.jobs.tobytes(), w.core.tobytes()) == before
    assert 0 < good < total
