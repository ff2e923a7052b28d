"""A service's load beside its latency: where it stood when requests came too fast."""

import asyncio

import numpy as np

from agent.history import History
from agent.leaders import led_by
from agent.recent import Recent, recent
from core.target import Target
from core.types import Floats, Window

STEP_S, HOURS = 60.0, 12
LATENCY, REQUESTS, REPLICAS = "job_latency_p99_s", "job_requests_total", "job_replicas"
# More than so many requests a second and replica, and the queue grows.
MOST, LIMIT_S = 50.0, 2.0
SERVICES = tuple(Target(job=name) for name in ("chat", "search"))


def services(*metrics: str) -> tuple[History, Recent]:
    """Return two services whose load climbs over three hours and falls, again and again."""
    time_s: Floats = STEP_S * np.arange(HOURS * 60.0)
    load = 30.0 + 30.0 * (time_s % 10_800.0) / 10_800.0 + np.array([[0.0], [3.0]])
    replicas = np.array([[4.0], [10.0]]) * np.ones_like(load)
    every = {
        LATENCY: np.where(load > MOST, 5.0, 0.4),
        REQUESTS: 1e9 + np.cumsum(load * replicas * STEP_S, axis=1),
        REPLICAS: replicas,
    }
    history = History(None, step_s=STEP_S, span_s=HOURS * 3600.0)
    for metric in metrics:
        history.merge(Window(metric, SERVICES, time_s, every[metric]), now_s=time_s[-1])
    now_s = float(time_s[-1])
    return history, asyncio.run(recent(history, LATENCY, now_s=now_s, span_s=HOURS * 3600.0))


def test_the_load_at_past_crossings_is_the_limit_of_the_load() -> None:
    history, seen = services(LATENCY, REQUESTS, REPLICAS)

    found = led_by(history, LATENCY, seen, limit=LIMIT_S)

    assert found is not None
    np.testing.assert_allclose(found.limit, MOST, rtol=0.1)
    assert found.value.shape == seen.value.shape
    assert 25 < float(np.nanmin(found.value)) < float(np.nanmax(found.value)) < 65


def test_a_service_whose_requests_are_not_read_is_led_by_nothing() -> None:
    history, seen = services(LATENCY, REPLICAS)

    assert led_by(history, LATENCY, seen, limit=LIMIT_S) is None


def test_a_metric_without_a_known_cause_is_led_by_nothing() -> None:
    history, seen = services(LATENCY, REQUESTS, REPLICAS)

    assert led_by(history, "node_memory_used_ratio", seen, limit=0.9) is None


def test_a_service_that_never_crossed_borrows_from_the_fleet_or_has_no_limit() -> None:
    history, seen = services(LATENCY, REQUESTS, REPLICAS)

    found = led_by(history, LATENCY, seen, limit=100.0)

    assert found is not None
    assert np.isnan(found.limit).all()
