"""What this node's kernel and driver say: events, counts for a scrape, the newest for who asks."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from agent.collect.reading import Reading, Snapshot, sample
from agent.kernel.following import NAME, UNREADABLE, Following
from agent.kernel.hearing import Hearing, driver_gpus
from agent.kernel.tally import Tally
from agent.kernel.twice import Twice
from core.codec import to_json
from core.errors import SourceUnavailable
from core.exporters import OWN_PREFIX
from core.ports import Problem
from core.target import Target
from core.types import Event
from detectors.faults.catalogue import xid
from detectors.faults.recovery import KIND as RECOVERY
from detectors.faults.recovery import NONE
from detectors.faults.xids import KIND as XID
from detectors.faults.xids import code_of, recovery_event

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

log = structlog.get_logger()

Gpus = Callable[[], Mapping[str, str]]
_LOG, _DRIVER = "log", "driver"


def _nothing() -> Mapping[str, str]:
    return {}


@dataclass(slots=True)
class KernelLog:
    """A reader of readings, a source of events and a part of the node's page, over one log.

    gpus:     bus address -> UUID, now
    recovery: UUID -> the driver's recovery action (``detectors.faults.recovery``), now
    more:     events of the driver that come by another way, each once
    """

    node: str
    following: Following
    gpus: Gpus = driver_gpus
    recovery: Gpus = _nothing
    more: Sequence[Callable[[], Sequence[Event]]] = ()
    name: str = NAME
    tally: Tally = field(default_factory=Tally)
    _hearing: Hearing = field(init=False)
    _twice: Twice = field(default_factory=Twice)
    _recoveries: dict[str, str] = field(default_factory=dict)
    _warned: str = ""
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._hearing = Hearing(self.node)

    def poll(self) -> tuple[tuple[Event, ...], tuple[Problem, ...]]:
        """Return what is new and what is in the way; never raises.

        Several of one kind and code on one target are one event. Blocks for as long as the log
        does: not at all, 10 s where it is journald's.
        """
        problems: list[Problem] = []
        with self._one_at_a_time:
            told = self.tally.take([*self._heard(problems), *self._of_driver(), *self._changed()])
            self.following.keep(problems)
        return told, tuple(problems)

    def snapshot(self) -> Snapshot:
        """Poll; return the last Xid of each GPU, 0 for none."""
        _, problems = self.poll()
        last = dict.fromkeys(self._hearing.gpus.values(), 0.0) | self.tally.last_xids()
        return Snapshot(
            tuple(
                Reading("gpu_xid_code", Target(node=self.node, gpu=gpu), code)
                for gpu, code in sorted(last.items())
            ),
            problems,
        )

    async def events(self) -> tuple[Event, ...]:
        """Poll; return what is new. SourceUnavailable where the log cannot be read."""
        told, problems = await asyncio.to_thread(self.poll)
        for problem in problems:
            if problem.code == UNREADABLE and not told:
                raise SourceUnavailable(problem.text)
            if problem.text != self._warned:
                log.warning("the kernel's log", problem=problem.text)
                self._warned = problem.text
        return told

    def text(self) -> str:
        """Return the counts and what was missed, in Prometheus' text format."""
        rows = {
            "kernel_log_lines_total": ("lines of the kernel's log", self.following.lines),
            "kernel_log_lost_total": ("lines overwritten or left out", self.following.lost),
            "kernel_log_garbled_total": ("lines that were none", self.following.garbled),
        }
        return self.tally.text() + "".join(
            f"# HELP {OWN_PREFIX}{name} {text}\n# TYPE {OWN_PREFIX}{name} counter\n"
            f"{sample(OWN_PREFIX + name, {'node': self.node}, value)}\n"
            for name, (text, value) in rows.items()
        )

    def routes(self) -> "list[Route]":
        """Return ``/v1/events?after=N``: events from a number on, and the number to go on from."""
        from starlette.responses import JSONResponse  # noqa: PLC0415 - a check needs no server
        from starlette.routing import Route  # noqa: PLC0415

        async def answer(request: "Request") -> "Response":
            given = request.query_params.get("after", "0")
            number, events = self.tally.after(int(given[:18]) if given.isdecimal() else 0)
            return JSONResponse({"cursor": str(number), "events": to_json(events)})

        return [Route("/v1/events", answer)]

    def _heard(self, problems: list[Problem]) -> Iterator[Event]:
        self._hearing.look_again(self.gpus())
        for time_s, record in self.following.read(problems):
            for found, target in self._hearing.hear(record.text):
                event = Event(target, time_s, found.kind, found.code, found.text, found.severity)
                if found.kind == RECOVERY:
                    self._recoveries[target.gpu] = found.code
                    yield recovery_event(target, time_s, found.code)
                elif found.kind != XID or self._twice.is_new(event, way=_LOG, other=_DRIVER):
                    yield event

    def _of_driver(self) -> Iterator[Event]:
        for ask in self.more:
            for event in ask():
                code = code_of(event) if event.kind == XID else None
                if code is None:
                    yield event
                elif self._twice.is_new(event, way=_DRIVER, other=_LOG):
                    yield replace(event, severity=xid(code).severity)

    def _changed(self) -> Iterator[Event]:
        """Yield what GPUs need by the driver's word, where that has changed."""
        for gpu, action in self.recovery().items():
            before = self._recoveries.get(gpu, NONE)
            self._recoveries[gpu] = action or before
            if self._recoveries[gpu] != before:
                now_s = self.following.clock.now_s()
                yield recovery_event(Target(node=self.node, gpu=gpu), now_s, action)
