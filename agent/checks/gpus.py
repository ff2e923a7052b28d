"""GPUs: those that the driver answers for, against those on the PCI bus."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.checks.check import Finding, State, counted, state_of, unhealthy, unknown
from agent.checks.machine import Machine, folders, text
from agent.collect.nvml import DriverFacts, Gpu

# PCI's own numbers: NVIDIA's vendor id, and display controllers (class 03: VGA 0300, 3D 0302).
NVIDIA, DISPLAY = "0x10de", "0x03"


class Seen(Protocol):
    """What was seen of the GPUs last, as an ``NvmlReader`` keeps it."""

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Return every GPU, those that do not answer too."""
        ...

    @property
    def driver(self) -> DriverFacts:
        """Return the driver, or why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Gpus:
    """Whether every GPU on the bus answers and asks for no repair.

    hit: the end of a sentence on a GPU: whose work its trouble hits, see ``LocalJobs.hit``
    """

    at: Machine
    look: Callable[[], Seen]
    hit: Callable[[str], str]
    name: str = "gpu"
    deadline_s: float = 15.0

    def run(self) -> State:
        """Hold what the driver sees against the bus."""
        seen, on_bus = self.look(), _on_bus(self.at.sys)
        names = Counter(gpu.name for gpu in seen.gpus)
        listed = ", ".join(f"{count} {name}" for name, count in names.items())
        fine = (
            f"{listed}, driver {seen.driver.driver}" if listed else "no NVIDIA GPU on the PCI bus"
        )
        return state_of(self.name, self._findings(seen, on_bus), fine=fine)

    def _findings(self, seen: Seen, on_bus: list[str]) -> Iterator[Finding]:
        for gpu in seen.gpus:
            name = f"GPU {gpu.index} ({gpu.uuid or gpu.pci})"
            if gpu.trouble:
                reason = f"{name} does not answer: {gpu.trouble}{self.hit(gpu.uuid)}"
                yield unhealthy(
                    reason, "Look into dmesg for its Xid: `gpumedic xid CODE` explains it."
                )
            elif gpu.recovery:
                reason = f"{name}: the driver asks for a repair (recovery action {gpu.recovery})"
                yield unhealthy(
                    reason, "Drain the node; see `nvidia-smi -q` for the recovery action."
                )
        if len(seen.gpus) >= len(on_bus):
            return
        if seen.driver == DriverFacts():
            yield unknown("the driver has not been asked yet", "Wait for the first readings.")
            return
        if seen.gpus:
            reason = f"{len(seen.gpus)} of the {len(on_bus)} NVIDIA GPUs on the PCI bus are seen"
            yield unhealthy(reason, "Look into dmesg for an Xid, drain the node and restart it.")
        else:
            reason = f"{counted(len(on_bus), 'NVIDIA GPU')} on the PCI bus and none is seen"
            remedy = "Look into dmesg for NVRM and Xid lines."
            yield unhealthy(f"{reason}: {seen.driver.missing}", remedy)


def _on_bus(sys: Path) -> list[str]:
    """Return the PCI addresses of NVIDIA's display controllers."""
    return [
        device.name
        for device in folders(sys / "bus/pci/devices")
        if text(device / "vendor") == NVIDIA and (text(device / "class") or "").startswith(DISPLAY)
    ]
