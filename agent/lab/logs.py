"""What a simulated cluster says: events as JSON, each node's kernel log as ``/dev/kmsg`` has it.

Both are read on from a cursor. With none, or with that of another run, they are read from
``since_s`` on, or from the scenario's start.
"""

import math
import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.refuse import refuse
from core.codec import to_json
from core.types import Event, Severity
from sim.port import SimulatedCluster

# Events that a node's own kernel says; the others come from the scheduler and the site.
KERNEL_KINDS = frozenset(
    {
        "xid", "pcie_error", "oom_kill", "link_down", "link_up", "ecc", "row_remap", "kernel_panic",
    }
)  # fmt: skip
# Levels of syslog; the facility of kernel messages is 0.
_LEVEL = {Severity.CRITICAL: 3, Severity.WARNING: 4, Severity.INFO: 6}
_CURSOR = re.compile(r"([0-9a-f]{8})-(\d{1,12})")
MAX_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Logs:
    """``/scheduler/v1/events`` and every node's ``kmsg``; ``run`` is this run's own name."""

    cluster: SimulatedCluster
    run: str

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/scheduler/v1/events", self._events),
            Route("/nodes/{node}/kmsg", self._kmsg),
        ]

    async def _events(self, request: Request) -> Response:
        """Answer with up to MAX_EVENTS events after the cursor, oldest first, and a new cursor."""
        told, first = self._after(request)
        news = told[first : first + MAX_EVENTS]
        cursor = f"{self.run}-{first + len(news)}"
        return JSONResponse({"cursor": cursor, "events": to_json(news)})

    async def _kmsg(self, request: Request) -> Response:
        """Answer with the node's lines after the cursor; the new one is in a header."""
        node = request.path_params["node"]
        self.cluster.catch_up()
        if node not in self.cluster.world.topology().node_index:
            return refuse(
                404, "no_node", f"There is no node {node[:80]!r}.", "See /sd/node-exporter."
            )
        told, first = self._after(request)
        booted_s = self.cluster.world.scenario.start_s - self.cluster.world.scenario.history_s
        lines = [
            kmsg_line(event, number, booted_s=booted_s)
            for number, event in enumerate(told)
            if number >= first and event.target.node == node and event.kind in KERNEL_KINDS
        ]
        cursor = f"{self.run}-{len(told)}"
        return PlainTextResponse("".join(lines), headers={"x-cursor": cursor})

    def _after(self, request: Request) -> tuple[tuple[Event, ...], int]:
        """Return all that was said since the start, and the number of the first to tell."""
        self.cluster.catch_up()
        start_s = self.cluster.world.scenario.start_s
        told = tuple(e for e in self.cluster.world.events if e.time_s >= start_s)
        found = _CURSOR.fullmatch(request.query_params.get("cursor", ""))
        if found and found[1] == self.run:
            return told, min(int(found[2]), len(told))
        since_s = _number(request.query_params.get("since_s", ""))
        return told, sum(event.time_s < since_s for event in told)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -math.inf


def kmsg_line(event: Event, number: int, *, booted_s: float) -> str:
    """Return an event as a record of ``/dev/kmsg``: level, number, microseconds since boot, text.

    The form is that of the kernel's Documentation/ABI/testing/dev-kmsg.
    """
    since_us = round((event.time_s - booted_s) * 1e6)
    text = event.text.replace("\n", " ")
    return f"{_LEVEL[event.severity]},{number},{since_us},-;{text}\n"
