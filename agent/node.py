"""The node service: this machine's readings as a page that Prometheus scrapes.

Small on purpose: it runs beside the training job on every node (agent/node_process.py).
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agent.collect.dcgm import dcgm_text
from agent.collect.patience import Patience, Stuck
from agent.collect.reading import TEXT_TYPE, Exposition, Missing, Reader, Reading, Snapshot, sample
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
    texts: further blocks of exposition text, appended to the page
    routes: further paths that are answered
    dcgm_names: whether readings are shown under dcgm-exporter's names, too
    share_s: readings this young are shown, and not read anew for the page
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        *,
        clock: Clock,
        registry: "CollectorRegistry | None" = None,
        deadline_s: float = SNAPSHOT_DEADLINE_S,
        texts: Sequence[Callable[[], str]] = (),
        routes: Sequence[Route] = (),
        share_s: float = 0.0,
        dcgm_names: bool = False,
    ) -> None:
        self._readers, self._clock, self._registry = tuple(readers), clock, registry
        self._deadline_s, self._texts = deadline_s, tuple(texts)
        self._patience: Patience[Snapshot] = Patience(deadline_s)
        self._reading: asyncio.Task[Snapshot] | None = None
        self._share_s, self._read_s = share_s, -math.inf
        self._dcgm_names = dcgm_names
        self._last = Snapshot(())
        self._exposition = Exposition()
        self._shown: tuple[Snapshot, str] | None = None  # the page's text is made once a reading
        self._served_s: float | None = None
        self.app = Starlette(
            routes=[Route("/metrics", self._metrics), Route("/healthz", self._healthz), *routes]
        )

    async def snapshot(self) -> Snapshot:
        """Read every reader; those that take too long go on, and are waited for again.

        Who asks while that is under way shares it.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Snapshot:
        try:
            asked = {reader.name: reader.snapshot for reader in self._readers}
            found = await asyncio.to_thread(self._patience.wait_for, asked)
        finally:
            self._reading = None
        self._last = self._joined(found)
        self._read_s = self._clock.monotonic_s()
        return self._last

    def _joined(self, found: Mapping[str, Snapshot | Exception]) -> Snapshot:
        readings: list[Reading] = []
        problems: list[Problem] = []
        missing: list[Missing] = []
        for name, each in found.items():
            if isinstance(each, Snapshot):
                readings += each.readings
                problems += each.problems
                missing += each.missing
            elif isinstance(each, Stuck):
                text = f"no reading within {self._deadline_s:g} s; it is left out of this page."
                problems.append(Problem(name, "slow", text))
            else:
                problems.append(Problem(name, "reader", f"{name}: {each!r}"))
        return Snapshot(tuple(readings), tuple(problems), tuple(missing))

    async def page(self) -> str:
        """Return the page's text."""
        fresh = self._clock.monotonic_s() - self._read_s < self._share_s
        found = self._last if fresh else await self.snapshot()
        self._served_s = self._clock.monotonic_s()
        if self._shown is None or self._shown[0] is not found:
            self._shown = found, self._text_of(found)
        more = "".join(text() for text in self._texts)
        return self._shown[1] + more + self._own()

    def _text_of(self, found: Snapshot) -> str:
        text = self._exposition.text(r for r in found.readings if r.metric not in NOT_SERVED)
        text += dcgm_text(found.readings) if self._dcgm_names else ""
        return text + _problems(found.problems)

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
