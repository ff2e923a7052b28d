"""Read the world once: readings into the history, events, and the scheduler's state."""

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from agent.history import History
from core.clock import Clock
from core.cluster import ClusterState
from core.errors import GpumedicError, SourceUnavailable, StoreError
from core.ports import Cluster, Collected, EventSource, MetricSource, Problem, Query
from core.types import Event

# A cycle asks again for the newest readings it has: scrapes arrive late and in no fixed order.
OVERLAP_STEPS = 4
UNAVAILABLE = "unavailable"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What one cycle found; ``lag_s`` is the age of each source's newest reading, NaN if down."""

    now_s: float
    state: ClusterState | None
    events: tuple[Event, ...]
    problems: tuple[Problem, ...]
    lag_s: Mapping[str, float]


@dataclass(slots=True)
class Gatherer:
    """Asks every source at once, each with a deadline; trouble with one never hides the others."""

    metrics: tuple[str, ...]
    history: History
    sources: Sequence[MetricSource]
    event_sources: Sequence[EventSource]
    cluster: Cluster | None
    clock: Clock
    step_s: float
    span_s: float
    deadline_s: float = 30.0
    _newest_s: dict[str, float] = field(default_factory=dict)

    async def gather(self) -> World:
        """Read all sources and return what they gave."""
        now_s = self.clock.now_s()
        given = await asyncio.gather(*(self._read(source, now_s) for source in self.sources))
        problems = [problem for found in given for problem in found]
        events = [await self._events(source, problems) for source in self.event_sources]
        state = await self._state(problems)
        lag_s = {name: now_s - newest for name, newest in self._newest_s.items()}
        down = {problem.source for problem in problems if problem.code == UNAVAILABLE}
        return World(
            now_s=now_s,
            state=state,
            events=tuple(event for given in events for event in given),
            problems=tuple(problems),
            lag_s=lag_s | dict.fromkeys(down, math.nan),
        )

    async def _read(self, source: MetricSource, now_s: float) -> list[Problem]:
        query = Query(self.metrics, self._from_s(source, now_s), now_s, self.step_s)
        try:
            given = await self._within(source.read(query), f"reading {source.name}")
        except (SourceUnavailable, TimeoutError) as error:
            return [Problem(source.name, UNAVAILABLE, str(error))]
        return [*given.problems, *self._keep(source, given)]

    def _keep(self, source: MetricSource, given: Collected) -> list[Problem]:
        problems: list[Problem] = []
        for window in given.windows:
            try:
                problems += self.history.merge(window, now_s=self.clock.now_s())
            except StoreError as error:
                problems.append(Problem("history", error.code, str(error)))
        newest = [float(window.time_s[-1]) for window in given.windows if window.time_s.size]
        if newest:
            self._newest_s[source.name] = max(newest)
        return problems

    def _from_s(self, source: MetricSource, now_s: float) -> float:
        newest_s = self._newest_s.get(source.name, -math.inf)
        return max(now_s - self.span_s, min(newest_s, now_s) - OVERLAP_STEPS * self.step_s)

    async def _events(self, source: EventSource, problems: list[Problem]) -> tuple[Event, ...]:
        try:
            return await self._within(source.events(), f"reading events of {source.name}")
        except (GpumedicError, TimeoutError) as error:
            problems.append(Problem(source.name, UNAVAILABLE, str(error)))
            return ()

    async def _state(self, problems: list[Problem]) -> ClusterState | None:
        if self.cluster is None:
            return None
        try:
            return await self._within(self.cluster.state(), f"asking {self.cluster.name}")
        except (GpumedicError, TimeoutError) as error:
            problems.append(Problem(self.cluster.name, UNAVAILABLE, str(error)))
            return None

    async def _within(self, answer: Awaitable[T], doing: str) -> T:
        try:
            async with asyncio.timeout(self.deadline_s):
                return await answer
        except TimeoutError:
            raise TimeoutError(
                f"{doing}: no answer within {self.deadline_s:g} s; it is asked again next cycle."
            ) from None
