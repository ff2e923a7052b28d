"""Services: every request is accounted for; latency follows load, replicas and a bad canary."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from sim import workload
from sim.engine.heap import pop
from sim.engine.services import capacity, ends, in_time, on_tick, set_canary, set_replicas
from sim.engine.tables import Tables
from sim.engine.words import JobKind, Kind, Phase, Stage
from sim.scenario import ServiceSpec
from tests.flat_cluster import flat_cluster, put

START_S = 1_700_000_000.0
HOUR_S = 3600.0
SPEC = ServiceSpec(rate=100.0, replicas=4, daily=0.0, burst=0.0)


def service(spec: ServiceSpec = SPEC) -> Tables:
    """Return a service on one node that has run for an hour."""
    w = flat_cluster(1, services=workload.service_table([spec]))
    w.core[0]["now_s"], w.core[0]["keep"] = START_S, True
    put(w, 0, [0], kind=JobKind.SERVICE, service=0, pace_s=60.0, since_s=START_S)
    on_tick(w, 0, 0)
    let_pass(w, HOUR_S)
    return w


def let_pass(w: Tables, seconds: float) -> None:
    """Let a service's own events happen."""
    until_s = w.core[0]["now_s"] + seconds
    while w.core[0]["heap_n"] > 0 and w.heap[0]["time_s"] <= until_s:
        w.core[0]["now_s"] = w.heap[0]["time_s"]
        kind, job, version = (w.heap[0][name] for name in ("kind", "a", "version"))
        pop(w)
        if kind == Kind.TICK:
            on_tick(w, job, version)
    w.core[0]["now_s"] = until_s


def balance(w: Tables) -> float:
    row = w.services[0]
    return float(row["asked"] - row["answered"] - row["failed"] - row["queue"])


def counted(w: Tables, seconds: float) -> dict[str, float]:
    """Return how many requests came, were answered, late and failed in that time."""
    names = ("asked", "answered", "late", "failed")
    before = {name: float(w.services[0][name]) for name in names}
    let_pass(w, seconds)
    return {name: float(w.services[0][name]) - before[name] for name in names}


def test_within_its_capacity_all_requests_are_answered_in_time() -> None:
    w = service()

    found = counted(w, HOUR_S)

    assert found["asked"] == pytest.approx(360_000, rel=1e-3)
    assert found["late"] == found["failed"] == 0
    assert w.services[0]["queue"] == 0
    assert w.services[0]["good"] == 1
    assert 0.4 < w.services[0]["middle_s"] < w.services[0]["latency_s"] < 2.0
    assert w.jobs[0]["step_s"] == w.jobs[0]["ideal_s"] == 60


def test_replicas_answer_after_their_warm_up() -> None:
    w = flat_cluster(1, services=workload.service_table([SPEC]))
    w.core[0]["now_s"] = START_S
    put(w, 0, [0], kind=JobKind.SERVICE, service=0, pace_s=60.0, since_s=START_S)
    on_tick(w, 0, 0)
    let_pass(w, 119)
    assert w.services[0]["ready"] == 0
    assert w.services[0]["failed"] == 0
    assert w.services[0]["latency_s"] == math.inf

    let_pass(w, 61)

    assert w.services[0]["ready"] == 4
    assert w.services[0]["failed"] > 0  # those that waited for more than a minute
    assert balance(w) == 0


def test_beyond_its_capacity_latency_explodes_and_more_replicas_end_it() -> None:
    w = service()
    most = capacity(w, 0) * 4
    w.services[0]["surge"] = 1.3 * most / 100

    found = counted(w, HOUR_S)

    assert w.services[0]["latency_s"] > 30
    assert found["late"] + found["failed"] > 0.9 * found["asked"]
    assert w.services[0]["good"] == 0
    assert w.jobs[0]["step_s"] == math.inf
    assert balance(w) == 0

    assert set_replicas(w, 0, 8)
    let_pass(w, 600)
    assert w.services[0]["ready"] == 8
    assert w.services[0]["latency_s"] < 2
    assert w.jobs[0]["step_s"] == 60


def test_more_replicas_than_its_gpus_hold_are_refused() -> None:
    w = service()

    assert not set_replicas(w, 0, 9)
    assert not set_replicas(w, 0, -1)
    assert w.services[0]["replicas"] == 4


def test_fewer_replicas_stop_at_once() -> None:
    w = service()

    assert set_replicas(w, 0, 2)

    assert w.services[0]["ready"] == 2
    assert w.services[0]["queue"] == 0


def test_batches_grow_with_the_load() -> None:
    """One request takes 0.4 s; a full batch of 32 takes 1.02 s and answers 31 a second."""
    quiet, busy = service(), service(ServiceSpec(rate=120.0, replicas=4, daily=0.0, burst=0.0))
    idle = service(ServiceSpec(rate=0.1, replicas=4, daily=0.0, burst=0.0))

    assert capacity(quiet, 0) == pytest.approx(32 / 1.02)
    latencies = [float(w.services[0]["middle_s"]) for w in (idle, quiet, busy)]
    assert latencies[0] == pytest.approx(0.6)
    assert latencies[0] < latencies[1] < latencies[2]


def test_slow_gpus_make_slow_answers() -> None:
    w = service()
    before_s = float(w.services[0]["latency_s"])
    w.nodes[0]["slow"][:] = 1.2

    let_pass(w, 120)

    assert w.services[0]["latency_s"] > 1.15 * before_s


def test_a_bad_canary_spoils_its_share_and_ends_with_it() -> None:
    w = service()
    w.services[0]["canary_slow"], w.services[0]["canary_errors"] = 3.0, 0.2
    assert set_canary(w, 0, 0.1)

    found = counted(w, HOUR_S)

    assert found["failed"] == pytest.approx(0.02 * found["asked"], rel=0.01)
    assert found["late"] > 0.01 * found["asked"]
    assert w.services[0]["latency_s"] > 2
    assert balance(w) == 0

    assert set_canary(w, 0, 0.0)
    let_pass(w, 60)
    clean = counted(w, HOUR_S)
    assert (clean["late"], clean["failed"]) == (0, 0)
    assert not set_canary(w, 0, 1.5)


def test_while_its_job_is_stopped_requests_wait_and_fail() -> None:
    w = service()
    w.jobs[0]["phase"], w.jobs[0]["since_s"] = Phase.STOPPED, w.core[0]["now_s"] + 30
    w.jobs[0]["stage"] = Stage.NONE

    found = counted(w, 600)

    assert w.services[0]["ready"] == 0
    assert found["failed"] == pytest.approx(100 * (600 - 30 - 60), rel=0.15)
    assert found["answered"] == pytest.approx(100 * 30, rel=0.05)
    assert balance(w) == 0


def test_a_second_start_begins_no_second_course_of_minutes() -> None:
    w = service()
    on_tick(w, 0, 5)
    on_tick(w, 0, 6)

    assert counted(w, HOUR_S)["asked"] == pytest.approx(360_000, rel=1e-3)
    assert w.core[0]["heap_n"] == 1


def test_a_service_that_ends_leaves_no_request_waiting() -> None:
    w = service()
    w.services[0]["surge"] = 5
    let_pass(w, 300)

    ends(w, 0)

    assert w.services[0]["queue"] == 0
    assert balance(w) == 0
    let_pass(w, 300)
    assert w.services[0]["rate_now"] == 0


def test_rows_of_every_minute_are_kept() -> None:
    w = service()
    rows = w.service_log[: w.core[0]["service_log_n"]]

    assert len(rows) == 61
    assert np.diff(rows["start_s"]).tolist() == [60.0] * 60
    assert rows["ready"][-1] == 4
    assert rows["busy"][-1] == pytest.approx(100 / (4 * 32 / 1.02), rel=1e-3)


def test_the_rate_follows_the_day_and_bursts() -> None:
    w = service(ServiceSpec(rate=100.0, replicas=8, daily=0.5, burst=0.2))
    let_pass(w, 7 * 24 * HOUR_S / 4)
    rows = w.service_log[: w.core[0]["service_log_n"]]
    hour = rows["start_s"] % (24 * HOUR_S) / HOUR_S
    day, night = rows["rate"][abs(hour - 14) < 2], rows["rate"][abs(hour - 2) < 2]

    assert day.mean() / night.mean() == pytest.approx(1.48 / 0.52, rel=0.15)
    assert np.log(day).std() == pytest.approx(0.2, rel=0.3)


def test_the_share_in_time_is_that_of_drawn_waits() -> None:
    random = np.random.default_rng(1)
    waits = 0.7 * (1 + random.random(200_000)) + random.exponential(0.3, 200_000)

    for limit_s in (0.6, 1.0, 1.5, 2.5):
        assert in_time(limit_s, 0.7, 0.3) == pytest.approx((waits <= limit_s).mean(), abs=0.005)
    assert in_time(1.05, 0.7, 0.0) == pytest.approx(0.5)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(1, 400), st.integers(0, 8), st.floats(0, 1), st.floats(0, 4), st.booleans()
        ),
        max_size=6,
    )
)
def test_every_request_is_accounted_for_at_any_time(steps: list[tuple[Any, ...]]) -> None:
    w = service()
    w.services[0]["canary_slow"], w.services[0]["canary_errors"] = 2.0, 0.3
    for seconds, replicas, canary, surge, running in steps:
        let_pass(w, math.floor(seconds * 1024) / 1024)
        set_replicas(w, 0, replicas)
        set_canary(w, 0, canary)
        w.services[0]["surge"] = surge
        w.jobs[0]["phase"] = Phase.RUNNING if running else Phase.STOPPED
        w.jobs[0]["since_s"] = w.core[0]["now_s"]

        assert balance(w) == 0
        assert 0 <= w.services[0]["late"] <= w.services[0]["answered"]
        assert 0 <= w.services[0]["good"] <= 1
        assert w.services[0]["queue"] >= 0


def test_a_service_without_a_replica_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1 replica"):
        ServiceSpec(rate=1.0, replicas=0)
