"""The driver's own word of an Xid, from NVML's event set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.collect.nvml import XidEvents
from agent.lab.nvml.scenario import DOUBLE_BIT_EVENT, GPU_IS_LOST, UNKNOWN_ERROR, Scenario
from core.clock import ManualClock
from core.types import Event

WAIT_S = 60.0


@contextmanager
def listening(clock: ManualClock) -> Iterator[XidEvents]:
    events = XidEvents("n1", clock=clock, retry_s=0.01, wait_s=0.05)
    try:
        assert events.listening.wait(WAIT_S)
        yield events
    finally:
        events.close()


def heard(events: XidEvents, count: int) -> list[Event]:
    """Return the next ``count`` events."""
    found: list[Event] = []
    while len(found) < count:
        came = events.events(WAIT_S)
        assert came
        found += came
    return found


def test_an_xid_names_the_gpu_even_when_that_is_lost(nvml: Scenario, clock: ManualClock) -> None:
    with listening(clock) as events:
        nvml.say(f"gpu 3 fails * {GPU_IS_LOST}", "gpu 3 event 8 79")
        (event,) = heard(events, 1)

    assert (event.kind, event.code, event.target.node) == ("xid", "79", "n1")
    assert event.target.gpu.startswith("GPU-00000003")
    assert event.text == "NVML: Xid 79 on GPU 00000000:5D:00.0"
    assert event.time_s == clock.now_s()


def test_events_come_once_and_in_order(nvml: Scenario, clock: ManualClock) -> None:
    with listening(clock) as events:
        nvml.xid(1, 48)
        nvml.say(f"gpu 2 event {DOUBLE_BIT_EVENT} 0")
        nvml.xid(2, 94)
        found = heard(events, 3)

        assert [(e.kind, e.code) for e in found] == [
            ("xid", "48"),
            ("ecc", "double_bit"),
            ("xid", "94"),
        ]
        assert events.events() == ()


def test_it_listens_again_after_the_driver_was_loaded_anew(
    nvml: Scenario, clock: ManualClock
) -> None:
    with listening(clock) as events:
        events.listening.clear()
        nvml.say("generation 2")
        assert events.listening.wait(WAIT_S)
        nvml.xid(7, 31)

        assert heard(events, 1)[0].target.gpu.startswith("GPU-00000007")


def test_it_lets_go_of_nvml_when_it_is_told_to(
    nvml: Scenario, clock: ManualClock, nvml_calls: Callable[[str], int]
) -> None:
    with listening(clock) as events:
        closed = nvml_calls("nvmlShutdown")

        events.let_go(60.0)

        assert nvml_calls("nvmlShutdown") - closed == 1


def test_a_driver_that_refuses_is_a_problem(nvml: Scenario, clock: ManualClock) -> None:
    nvml.say(f"fails nvmlEventSetCreate {UNKNOWN_ERROR}")
    events = XidEvents("n1", clock=clock, retry_s=0.01, wait_s=0.05)
    try:
        while not events.problems:
            events.events(0.01)

        assert "Unknown Error" in events.problems[0].text
    finally:
        events.close()
