"""All checks together: none stops another, and what they come to shows everywhere it should."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.requests import Request

from agent.checks.check import Finding, Health, State, state_of, worst
from agent.checks.kernel import Kernel
from agent.checks.once import check_once, wanted
from agent.checks.rounds import Rounds
from agent.checks.suite import Suite
from agent.config import Settings
from agent.config.node import Node
from agent.config.node_checks import Checks
from agent.kernel.recent import Heard
from agent.node import NodeService
from core.clock import ManualClock
from core.errors import InputError
from core.ports import Problem
from core.target import Target
from core.types import Event, Severity
from tests.command_line import gpumedic


@dataclass(frozen=True, slots=True)
class Played:
    """A check that does what the test wants of it."""

    name: str
    work: Callable[[], State]
    deadline_s: float = 5.0

    def run(self) -> State:
        return self.work()


def test_no_check_stops_another() -> None:
    """One raises, one never comes back: both are unknown, and it is asked once."""
    gate, asked = threading.Event(), []

    def hang() -> State:
        asked.append(1)
        gate.wait(60)
        return State("hangs", Health.HEALTHY, "back")

    def boom() -> State:
        raise RuntimeError("boom")

    suite = Suite(
        [
            Played("hangs", hang, deadline_s=0.05),
            Played("breaks", boom),
            Played("works", lambda: State("works", Health.DEGRADED, "so so")),
            Played("left-out", boom),
        ],
        skip=frozenset({"left-out"}),
    )

    first, second = suite.run(), suite.run()
    gate.set()

    assert [(state.check, state.health) for state in first] == [
        ("hangs", Health.UNKNOWN),
        ("breaks", Health.UNKNOWN),
        ("works", Health.DEGRADED),
    ]
    assert "no answer within 0.05 s" in second[0].reason
    assert "RuntimeError: boom" in second[1].reason
    assert len(asked) == 1


def test_the_worst_wins_and_unknown_is_worse_than_degraded() -> None:
    said = [Finding(Health(health), f"reason {health}", "do") for health in (1, 2, 3, 2)]

    state = state_of("x", said, fine="fine")

    assert (state.health, state.reason, state.remedy) == (2, "reason 2; reason 2", "do")
    assert [worst(codes) for codes in ([], [1, 0], [3, 1], [2, 3])] == [0, 1, 3, 2]


async def test_this_machine_is_checked_and_every_check_has_a_reason(tmp_path: Path) -> None:
    said = await gpumedic("check", "--json", folder=tmp_path)
    found = json.loads(said.out)
    states = [check["state"] for check in found["checks"]]

    assert said.plain
    assert said.code == worst(Health[state.upper()] for state in states)
    assert found["state"] == Health(said.code).name.lower()
    assert {"cpu", "memory", "volumes", "network", "infiniband", "clock", "gpu"} <= {
        check["check"] for check in found["checks"]
    }
    assert all(check["reason"] for check in found["checks"])


def test_a_check_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(InputError, match=r"'fridge'.*infiniband"):
        check_once(Settings(), "n1", only=["fridge"])


def test_a_kernel_log_that_is_not_to_be_read_is_not_checked() -> None:
    checks = Checks(skip=("gpu",))

    assert wanted(Settings(checks=checks)).skip == ("gpu",)
    assert wanted(Settings(checks=checks, host=Node(kernel_log=False))).skip == ("gpu", "kernel")


async def test_a_service_shows_its_last_round(clock: ManualClock) -> None:
    """On /metrics and as JSON; what becomes unhealthy is an event, once."""
    planned = [
        (State("disk", Health.DEGRADED, "slow"), State("gpu", Health.UNHEALTHY, "gone", "look")),
        (State("disk", Health.UNHEALTHY, "full"), State("gpu", Health.UNHEALTHY, "gone", "look")),
    ]
    rounds = Rounds("n1", lambda: planned.pop(0), clock)
    page = NodeService([], clock=clock, texts=[rounds.text])

    before = await page.page()
    await rounds.go()
    first, said = rounds.news(), await page.page()
    await rounds.go()
    second = rounds.news()

    assert "check_state" not in before
    assert 'gpumedic_check_state{node="n1",check="disk"} 1.0' in said
    assert 'gpumedic_check_state{node="n1",check="gpu"} 2.0' in said
    assert [(event.kind, event.code, event.text) for event in (*first, *second)] == [
        ("check_failed", "gpu", "check gpu of n1: gone"),
        ("check_failed", "disk", "check disk of n1: full"),
    ]
    assert rounds.news() == ()
    answer = json.loads(bytes((await rounds.answer(Request({"type": "http"}))).body))
    assert answer["checks"][1] == {
        "check": "gpu",
        "state": "unhealthy",
        "reason": "gone",
        "remedy": "look",
    }


@pytest.mark.parametrize(
    ("severities", "health"),
    [([], 0), (["info"], 0), (["warning"], 1), (["warning", "critical"], 2)],
)
async def test_the_kernels_last_hour_is_judged(
    clock: ManualClock, severities: list[str], health: int
) -> None:
    """An hour later it is over."""
    gpu = Target(node="n1", gpu="GPU-1")
    events = [Event(gpu, clock.now_s(), "check_failed", "gpu", "", Severity.CRITICAL)]
    events += [
        Event(gpu, clock.now_s(), "xid", "79", f"Xid {word}", Severity(word)) for word in severities
    ]
    check = Kernel(lambda: Heard(tuple(events), ()), clock)

    state = check.run()
    await clock.advance(3601)

    assert state.health == health
    if health:
        assert state.reason == f"n1/GPU-1: Xid {severities[-1]}"
        assert "gpumedic xid 79" in state.remedy
    assert check.run().health is Health.HEALTHY


def test_a_log_that_cannot_be_read_is_unknown(clock: ManualClock) -> None:
    problem = Problem("kernel", "kmsg", "/dev/kmsg may not be read")

    state = Kernel(lambda: Heard((), (problem,)), clock).run()

    assert (state.health, state.reason) == (Health.UNKNOWN, problem.text)
