"""What the kernel's log said of the last hour: disks, links, processors, GPUs, memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.checks.check import (
    FAILED,
    Finding,
    Health,
    State,
    counted,
    degraded,
    state_of,
    unhealthy,
    unknown,
)
from agent.checks.recent import HOUR_S
from agent.kernel.recent import Heard
from core.clock import Clock
from core.types import Event, Severity

NAME = "kernel"
_BY_SEVERITY = {Severity.CRITICAL: unhealthy, Severity.WARNING: degraded}


@dataclass(frozen=True, slots=True)
class Kernel:
    """Each event of the last hour that is worth a look.

    heard: what was said of late
    """

    heard: Callable[[], Heard]
    clock: Clock
    name: str = NAME
    deadline_s: float = 15.0

    def run(self) -> State:
        """Look at what was said."""
        heard, since_s = self.heard(), self.clock.now_s() - HOUR_S
        # Other checks' failures are told beside the log's events and are not the kernel's.
        events = [e for e in heard.events if e.time_s >= since_s and e.kind != FAILED]
        findings = [*self._findings(events)]
        if not any(found.health is Health.UNHEALTHY for found in findings):
            findings += [unknown(each.text, "") for each in heard.problems]
        fine = f"{counted(len(events), 'event')} within the last hour, none of weight"
        return state_of(self.name, findings, fine=fine)

    def _findings(self, events: list[Event]) -> Iterator[Finding]:
        for event in reversed(events):
            say = _BY_SEVERITY.get(event.severity)
            if say is not None:
                yield say(f"{event.target}: {event.text}", _remedy(event))


def _remedy(event: Event) -> str:
    if event.kind == "xid" and event.code:
        return f"`gpumedic xid {event.code}` explains it."
    return "See `dmesg --level=err,warn` or `journalctl -k -p warning`."
