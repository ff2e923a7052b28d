"""The node service: this machine's readings as a page that Prometheus scrapes.

Small on purpose: it runs beside the training job on every node. It imports no pandas, torch,
prophet or dowhy and stays below 80 MiB.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agent.collect.reading import TEXT_TYPE, Reader, Reading, Snapshot, exposition, sample
from core.clock import Clock
from core.exporters import OWN_PREFIX
from core.ports import Problem

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# Prometheus gives a scrape 10 s by default; the page is there before, if need be without a part.
SNAPSHOT_DEADLINE_S = 8.0
# Prometheus' own ``up`` says whether a node answers; a 1 that only vanishes would hide its 0.
NOT_SERVED = frozenset({"node_up"})


class NodeService:
    """``app`` answers ``/metrics`` and ``/healthz``; ``agent.serving.serve`` serves it.

    readers: what is read at every scrape (host, NVML, a replay); one that does not answer in time
        is left out of that page and named on it
    registry: the process's own metrics, appended to the page
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        clock: Clock,
        registry: "CollectorRegistry | None" = None,
        deadline_s: float = SNAPSHOT_DEADLINE_S,
    ) -> None:
        self._readers, self._clock, self._registry = tuple(readers), clock, registry
        self._deadline_s = deadline_s
        self._running: dict[str, asyncio.Task[Snapshot]] = {}
        self._served_s: float | None = None
        self.app = Starlette(
            routes=[Route("/metrics", self._metrics), Route("/healthz", self._healthz)]
        )

    async def snapshot(self) -> Snapshot:
        """Read every reader at once; those that take too long go on, and are waited for again."""
        tasks = [self._task(reader) for reader in self._readers]
        if tasks:
            await asyncio.wait(tasks, timeout=self._deadline_s)
        readings: list[Reading] = []
        problems: list[Problem] = []
        for reader, task in zip(self._readers, tasks, strict=True):
            if not task.done():
                text = f"no reading within {self._deadline_s:g} s; it is left out of this page."
                problems.append(Problem(reader.name, "slow", text))
                continue
            self._running.pop(reader.name, None)
            if (error := task.exception()) is not None:
                problems.append(Problem(reader.name, "reader", f"{reader.name}: {error!r}"))
                continue
            readings += task.result().readings
            problems += task.result().problems
        return Snapshot(tuple(readings), tuple(problems))

    async def page(self) -> str:
        """Return the page's text."""
        found = await self.snapshot()
        self._served_s = self._clock.monotonic_s()
        text = exposition(r for r in found.readings if r.metric not in NOT_SERVED)
        return text + _problems(found.problems) + self._own()

    def _task(self, reader: Reader) -> asyncio.Task[Snapshot]:
        """Return the reader's run that is under way, else start one: two scrapes share it."""
        task = self._running.get(reader.name)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(reader.snapshot))
            self._running[reader.name] = task
        return task

    def _own(self) -> str:
        if self._registry is None:
            return ""
        from prometheus_client import generate_latest  # noqa: PLC0415 - only where it is used

        return generate_latest(self._registry).decode()

    async def _metrics(self, _: Request) -> Response:
        return Response(await self.page(), media_type=TEXT_TYPE)

    async def _healthz(self, _: Request) -> Response:
        if self._served_s is None:
            return PlainTextResponse("ok: no scrape yet\n")
        age_s = self._clock.monotonic_s() - self._served_s
        return PlainTextResponse(f"ok: scraped {age_s:.0f} s ago\n")


def _problems(problems: Sequence[Problem]) -> str:
    """Return a count per source and code, so that an alert can be set on it."""
    counts = Counter((problem.source, problem.code) for problem in problems)
    if not counts:
        return ""
    name = f"{OWN_PREFIX}read_problems"
    lines = [f"# HELP {name} parts that could not be read for this page", f"# TYPE {name} gauge"]
    lines += [
        sample(name, {"source": source, "code": code}, count)
        for (source, code), count in sorted(counts.items())
    ]
    return "\n".join(lines) + "\n"
