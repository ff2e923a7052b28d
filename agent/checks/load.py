"""Memory, file handles and pressure: how near this machine is to having no more."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.checks.check import Finding, State, degraded, state_of, unhealthy
from agent.checks.machine import Machine, text
from agent.checks.recent import Growth
from agent.collect.host import HostReader
from agent.collect.reading import Reading
from core.units import CATALOG
from detectors.words import amount, subject

# Nothing at all runs for so much of a minute: then work stands still as a whole.
STALLED_MEMORY, STALLED_IO = 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory and swap against the catalogue's limits, and what had to be killed for it."""

    at: Machine
    host: HostReader
    name: str = "memory"
    deadline_s: float = 5.0
    _kills: Growth = field(default_factory=Growth)

    def run(self) -> State:
        """Read them now; kills are of the last hour."""
        readings = [*self.host.parts["memory"]()]
        used = next(r for r in readings if r.metric == "node_memory_used_ratio")
        return state_of(self.name, self._findings(readings), fine=f"{used.value:.0%} in use")

    def _findings(self, readings: list[Reading]) -> Iterator[Finding]:
        yield from beyond(readings, "End what does not belong here, or ask for less memory.")
        for kills in self.host.parts["oom_kills"]():
            if new := self._kills.of("oom", kills.value, self.at.clock.monotonic_s()):
                reason = f"{new:.0f} processes were killed for want of memory in the last hour"
                yield degraded(reason, "See which: `dmesg | grep -i 'killed process'`.")
        for line in (text(self.at.proc / "meminfo") or "").splitlines():
            if line.startswith("HardwareCorrupted:") and line.split()[1] != "0":
                reason = f"the kernel took {line.split()[1]} KiB of broken memory out of use"
                yield degraded(reason, "Find the module in the memory-errors check or by IPMI.")


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """File handles of the whole machine against its maximum."""

    host: HostReader
    name: str = "open-files"
    deadline_s: float = 5.0

    def run(self) -> State:
        """Read it now."""
        readings = [*self.host.parts["open_files"]()]
        remedy = "Raise fs.file-max, or find the program that leaks: `lsof | awk '{print $1}'`."
        return state_of(
            self.name, beyond(readings, remedy), fine=f"{readings[0].value:.1%} of fs.file-max"
        )


@dataclass(frozen=True, slots=True)
class Pressure:
    """Time that work waits for processors, memory or I/O (PSI)."""

    at: Machine
    host: HostReader
    name: str = "pressure"
    deadline_s: float = 5.0

    def run(self) -> State:
        """Read the last 10 s of some, and the last minute of all work."""
        readings = [*self.host.parts["pressure"]()]
        if not readings:
            return state_of(self.name, (), fine="this kernel tells no pressure (psi=1 turns it on)")
        shown = [f"{r.metric.split('_')[2]} {r.value:.0%}" for r in readings]
        return state_of(self.name, self._findings(readings), fine=", ".join(shown))

    def _findings(self, readings: list[Reading]) -> Iterator[Finding]:
        remedy = "See what takes it: `systemd-cgtop`, or `gpumedic doctor`."
        yield from beyond(readings, remedy)
        for resource, limit in (("memory", STALLED_MEMORY), ("io", STALLED_IO)):
            stalled = self._full(resource)
            if stalled >= limit:
                reason = f"all work waited for {resource} during {stalled:.0%} of the last minute"
                yield unhealthy(reason, remedy)

    def _full(self, resource: str) -> float:
        for line in (text(self.at.proc / "pressure" / resource) or "").splitlines():
            if line.startswith("full "):
                return float(line.partition("avg60=")[2].split()[0]) / 100
        return 0.0


def beyond(readings: list[Reading], remedy: str) -> Iterator[Finding]:
    """Yield the readings on the bad side of the catalogue's static limit."""
    for reading in readings:
        limit = CATALOG[reading.metric].limit
        if reading.value > limit:
            found, most = (amount(value, reading.metric) for value in (reading.value, limit))
            yield degraded(f"{subject(reading.metric)}: {found}, over {most}", remedy)
