"""The controller on scripted ports and a clock that stands still, for the tests of the loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.assembly import Assembly, Inputs, assemble
from agent.config import Settings
from core.clock import ManualClock
from core.errors import SourceUnavailable
from core.ports import Cluster, Collected, EventSource, MetricSource, Query
from core.target import Target
from core.types import Event, Severity, Window

CYCLE_S = 15.0


@dataclass
class ScriptedSource:
    """Gives each metric's value as a function of time, and raises what ``broken`` holds, once."""

    values: dict[tuple[str, Target], Callable[[float], float]] = field(default_factory=dict)
    name: str = "scripted"
    away: bool = False
    broken: list[Exception] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    async def read(self, query: Query) -> Collected:
        """Return every point of the query's grid."""
        self.queries.append(query)
        if self.broken:
            raise self.broken.pop(0)
        if self.away:
            raise SourceUnavailable(f"asking {self.name}: it is away. Let it be back.")
        first, last = -(-query.start_s // query.step_s), query.end_s // query.step_s
        time_s = np.arange(first, last + 1) * query.step_s
        windows = []
        for metric in sorted({metric for metric, _ in self.values} & {*query.metrics}):
            targets = tuple(target for name, target in self.values if name == metric)
            rows = [[self.values[metric, target](at) for at in time_s] for target in targets]
            windows.append(Window(metric, targets, time_s, np.array(rows, dtype=np.float64)))
        return Collected(tuple(windows))


@dataclass
class ScriptedEvents:
    """Gives what waits in ``next``, once, and raises what ``broken`` holds."""

    next: list[Event] = field(default_factory=list)
    name: str = "events"
    broken: list[Exception] = field(default_factory=list)

    async def events(self) -> tuple[Event, ...]:
        """Hand over what waits."""
        if self.broken:
            raise self.broken.pop(0)
        given, self.next = tuple(self.next), []
        return given


def xid(node: str, gpu: str, *, time_s: float, code: str = "79") -> Event:
    """Return the kernel's word that a GPU is gone."""
    text = "GPU has fallen off the bus"
    return Event(Target(node=node, gpu=gpu), time_s, "xid", code, text, Severity.CRITICAL)


async def loop(
    folder: Path,
    clock: ManualClock,
    *,
    sources: Sequence[MetricSource] = (),
    events: Sequence[EventSource] = (),
    cluster: Cluster | None = None,
    **chosen: Any,
) -> Assembly:
    """Assemble a controller with its state in ``folder``; ``chosen`` are settings.

    The runbook decides: the twin would be made ready in a process of its own by every test.
    """
    settings = Settings(**{"state_dir": folder, "policy": {"use": "runbook"}, **chosen})
    inputs = Inputs(sources=sources, event_sources=events, cluster=cluster)
    return await assemble(settings, inputs, clock=clock)


async def cycles(app: Assembly, clock: ManualClock, count: int) -> list[str]:
    """Run cycles at their interval and return what each said."""
    said = []
    for _ in range(count):
        said.append(await app.controller.cycle())
        await clock.advance(CYCLE_S)
    return said
