"""The checks of a service: made in rounds, the last one shown on ``/metrics`` and as JSON."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.checks.check import FAILED, Health, State
from agent.collect.reading import sample
from core.clock import Clock
from core.exporters import OWN_PREFIX
from core.target import Target
from core.types import Event, Severity

_STATE, _AT = f"{OWN_PREFIX}check_state", f"{OWN_PREFIX}check_round_timestamp_seconds"


@dataclass(slots=True)
class Rounds:
    """Makes all checks when told to; a round that is under way is not made twice.

    make: one round, which blocks; see ``Suite.run``
    """

    node: str
    make: Callable[[], tuple[State, ...]]
    clock: Clock
    name: str = "checks"
    states: tuple[State, ...] = ()
    at_s: float | None = None
    _news: list[Event] = field(default_factory=list)
    _round: "asyncio.Task[tuple[State, ...]] | None" = None

    async def go(self) -> None:
        """Make a round, in a thread; what has become unhealthy is news."""
        if self._round is None:
            self._round = asyncio.create_task(asyncio.to_thread(self.make))
        try:
            states = await self._round
        finally:
            self._round = None
        failed = {state.check for state in self.states if state.health is Health.UNHEALTHY}
        self.states, self.at_s = states, self.clock.now_s()
        self._news += [
            self._event(state, self.at_s)
            for state in states
            if state.health is Health.UNHEALTHY and state.check not in failed
        ]

    def news(self) -> tuple[Event, ...]:
        """Return which checks have become unhealthy since the last call."""
        news, self._news = tuple(self._news), []
        return news

    def text(self) -> str:
        """Return the lines for ``/metrics``; none before the first round."""
        if self.at_s is None:
            return ""
        lines = [f"# HELP {_STATE} 0 healthy, 1 degraded, 2 unhealthy, 3 unknown"]
        lines.append(f"# TYPE {_STATE} gauge")
        for state in self.states:
            labels = {"node": self.node, "check": state.check}
            lines.append(sample(_STATE, labels, int(state.health)))
        lines += [f"# HELP {_AT} when the checks were made last", f"# TYPE {_AT} gauge"]
        lines.append(sample(_AT, {"node": self.node}, self.at_s))
        return "\n".join(lines) + "\n"

    async def answer(self, _: Request) -> Response:
        """Answer ``GET /v1/checks``: the last round with its reasons."""
        return JSONResponse({"time_s": self.at_s, "checks": [plain(each) for each in self.states]})

    def _event(self, state: State, time_s: float) -> Event:
        text = f"check {state.check} of {self.node}: {state.reason}"
        target = Target(node=self.node)
        return Event(target, time_s, FAILED, state.check, text, Severity.WARNING)


def plain(state: State) -> dict[str, str]:
    """Return a state as JSON has it."""
    return {
        "check": state.check,
        "state": state.health.name.lower(),
        "reason": state.reason,
        "remedy": state.remedy,
    }
