"""Read the world once: readings into the history, events, and the scheduler's state."""

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import structlog

from agent.history import History, backfill, fetch, keep
from core.clock import Clock
from core.cluster import ClusterState
from core.errors import GpumedicError, SourceUnavailable
from core.ports import (
    Cluster,
    Collected,
    EventSource,
    MetricSource,
    Problem,
    Query,
    SelfMending,
)
from core.types import Event, Mended, Window

log = structlog.get_logger()

# A cycle asks again for the newest readings it has: scrapes arrive late and in no fixed order.
OVERLAP_STEPS = 4
# A cycle reads no further back: what a source was away for longer is filled in beside the cycle.
CATCH_UP_S = 900.0
UNAVAILABLE = "unavailable"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What one cycle found; ``lag_s`` is the age of each source's newest reading, NaN if down.

    mended: what the cluster has done about trouble by itself since the last cycle
    """

    now_s: float
    state: ClusterState | None
    events: tuple[Event, ...]
    problems: tuple[Problem, ...]
    lag_s: Mapping[str, float]
    mended: tuple[Mended, ...] = ()

    def as_of_its_moment(self, until_s: float) -> "World":
        """Return it with what was said while it was found dated at its beginning.

        until_s: when it was found; what lies ahead even then has another machine's clock, and
            stays as it is
        """
        return replace(
            self,
            events=tuple(
                replace(event, time_s=self.now_s) if self.now_s < event.time_s <= until_s else event
                for event in self.events
            ),
        )


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
    mending: SelfMending | None = None
    _newest_s: dict[str, float] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _missed: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    async def gather(self) -> World:
        """Read all sources and return what they gave."""
        now_s = self.clock.now_s()
        problems: list[Problem] = []
        given, events = await asyncio.gather(
            asyncio.gather(*(self._read(source, now_s) for source in self.sources)),
            asyncio.gather(*(self._events(source, problems) for source in self.event_sources)),
        )
        problems += [problem for found in given for problem in found]
        state = await self._state(problems)
        mended = await self._mended(problems)
        lag_s = {name: now_s - newest for name, newest in self._newest_s.items()}
        down = {problem.source for problem in problems if problem.code == UNAVAILABLE}
        return World(
            now_s=now_s,
            state=state,
            events=tuple(event for given in events for event in given),
            problems=tuple(problems),
            lag_s=lag_s | dict.fromkeys(down, math.nan),
            mended=mended,
        )

    async def fill(self) -> tuple[Problem, ...]:
        """Ask each source for what the history lacks, and later for what it was away for.

        Takes as long as it takes: it runs beside the cycle. What a source cannot give now it is
        asked for again with the next call.
        """
        problems: list[Problem] = []
        for source in self.sources:
            try:
                problems += await self._fill(source)
            except SourceUnavailable as error:
                problems.append(Problem(source.name, UNAVAILABLE, str(error)))
            except Exception as error:
                # As in a cycle: what nobody foresaw must not keep the others from being asked.
                log.exception("back-fill failed", source=source.name, error=repr(error))
        return tuple(problems)

    async def _read(self, source: MetricSource, now_s: float) -> list[Problem]:
        query = Query(self.metrics, self._from_s(source, now_s), now_s, self.step_s)
        problems: list[Problem] = []
        given = await self._asked(source.read(query), source.name, "reading", problems)
        if given is None:
            return problems
        problems += given.problems
        for window in given.windows:
            problems += keep(self.history, window, now_s=self.clock.now_s())
        self._note_newest(source.name, given, query)
        return problems

    def _note_newest(self, name: str, given: Collected, query: Query) -> None:
        """Note how far a source's readings go, and what it was away for and must be asked for."""
        newest_s = max(map(_newest_s, given.windows), default=-math.inf)
        if newest_s == -math.inf:
            return
        before_s = self._newest_s.get(name, query.start_s)
        if before_s < query.start_s:
            self._missed.setdefault(name, []).append((before_s, query.start_s))
        self._newest_s[name] = newest_s

    def _from_s(self, source: MetricSource, now_s: float) -> float:
        newest_s = self._newest_s.get(source.name, -math.inf)
        back_s = min(self.span_s, CATCH_UP_S)
        return max(now_s - back_s, min(newest_s, now_s) - OVERLAP_STEPS * self.step_s)

    async def _fill(self, source: MetricSource) -> tuple[Problem, ...]:
        now_s = self.clock.now_s()
        if source.name not in self._begun:
            metrics, span_s = self.metrics, self.span_s
            found = await backfill(self.history, source, now_s, metrics=metrics, span_s=span_s)
            self._begun.add(source.name)
            return found
        problems: list[Problem] = []
        while missed := self._missed.get(source.name):
            start_s, end_s = span = missed[-1]
            query = Query(self.metrics, max(start_s, now_s - self.span_s), end_s, self.step_s)
            problems += await fetch(self.history, source, query, now_s=now_s)
            missed.remove(span)
        return tuple(problems)

    async def _events(self, source: EventSource, problems: list[Problem]) -> tuple[Event, ...]:
        given = await self._asked(source.events(), source.name, "reading events of", problems)
        return given or ()

    async def _state(self, problems: list[Problem]) -> ClusterState | None:
        if self.cluster is None:
            return None
        return await self._asked(self.cluster.state(), self.cluster.name, "asking", problems)

    async def _mended(self, problems: list[Problem]) -> tuple[Mended, ...]:
        if self.mending is None:
            return ()
        return await self._asked(self.mending.mended(), "mending", "asking", problems) or ()

    async def _asked(
        self, answer: Awaitable[T], name: str, doing: str, problems: list[Problem]
    ) -> T | None:
        """Return the answer, or None with a problem: plug-ins may raise anything."""
        try:
            async with asyncio.timeout(self.deadline_s):
                return await answer
        except TimeoutError:
            found = (
                f"{doing} {name}: no answer within {self.deadline_s:g} s; it is asked again next "
                "cycle."
            )
        except GpumedicError as error:
            found = str(error)
        except Exception as error:
            log.exception("source broke", source=name, error=repr(error))
            found = f"{doing} {name}: it broke with {error!r}. The log says where; correct it."
        problems.append(Problem(name, UNAVAILABLE, found))
        return None


def _newest_s(window: Window) -> float:
    """Return the time of a window's newest reading, -inf where it has none."""
    seen = np.flatnonzero(np.isfinite(window.value).any(axis=0))
    return float(window.time_s[seen[-1]]) if seen.size else -math.inf
