"""From lines to events of this node: what several lines say together, and who is meant."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.kernel.forms import PCI, Part
from agent.kernel.lines import GPU_UUID, Finding, finding, pci_of, recovery
from core.target import Target

DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
MOUNTS = Path("/proc/self/mounts")
# The driver says on three lines that a GPU is gone, and names it on the first.
_GONE_BEGINS = re.compile(rf"NVRM: The NVIDIA GPU {PCI}", re.IGNORECASE)
_GONE_WITHIN = 4


@dataclass(slots=True)
class Hearing:
    """Reads lines in their order and names what they are about.

    gpus: bus address -> UUID of the GPUs that the driver has shown, also before it lost them
    """

    node: str
    gpus: dict[str, str] = field(default_factory=dict)
    mounts: Path = MOUNTS
    _places: dict[str, str] = field(default_factory=dict)
    _gone: tuple[str, int] = ("", 0)

    def look_again(self, gpus: Mapping[str, str]) -> None:
        """Take up the GPUs there are, and look anew where disks are: once for many lines."""
        self.gpus.update(gpus)
        self._places.clear()

    def hear(self, text: str) -> Iterator[tuple[Finding, Target]]:
        """Yield what a line says, and about what."""
        if (named := GPU_UUID.search(text)) is not None:
            self.gpus[pci_of(named["device"])] = named["uuid"]
        for found in (self._finding(text), recovery(text)):
            if found is not None:
                yield found, self.target(found)

    def target(self, found: Finding) -> Target:
        """Return what a finding is about: the GPU, port or volume, else the node."""
        match found.part:
            case Part.PCI if uuid := self.gpus.get(found.device):
                return Target(node=self.node, gpu=uuid)
            case Part.PCI if found.kind in ("xid", "gpu_recovery", "gpu_unreachable"):
                return Target(node=self.node, gpu=found.device)
            case Part.PORT:
                return Target(node=self.node, port=found.device)
            case Part.DISK if place := self._place(found.device):
                return Target(node=self.node, volume=place)
            case Part.VOLUME if found.device:
                return Target(node=self.node, volume=found.device)
            case _:
                return Target(node=self.node)

    def _finding(self, text: str) -> Finding | None:
        begun, left = self._gone
        self._gone = (begun, left - 1) if left > 1 else ("", 0)
        if (first := _GONE_BEGINS.search(text)) is not None:
            self._gone = (first["device"], _GONE_WITHIN)
        elif begun and "fallen off the bus" in text:
            self._gone = ("", 0)
            text = f"NVRM: GPU {begun}: GPU has fallen off the bus."
        return finding(text)

    def _place(self, device: str) -> str:
        if device not in self._places:
            self._places[device] = self._mounted(device)
        return self._places[device]

    def _mounted(self, device: str) -> str:
        """Return where a disk, or a part of it, is mounted: the shortest path."""
        try:
            lines = [line.split() for line in self.mounts.read_text(errors="replace").splitlines()]
        except OSError:
            return ""
        name = device.replace("!", "/")
        places = [
            place
            for source, place, *_ in lines
            if source.rpartition("/dev/")[2] == name or source.rpartition("/")[2] == name
        ]
        return min(places, key=len, default="")


def driver_gpus(folder: Path = DRIVER_GPUS) -> dict[str, str]:
    """Return bus address -> UUID as the driver's own files have it; empty without a driver."""
    found = {}
    for file in folder.glob("*/information"):
        try:
            lines = (line.partition(":") for line in file.read_text().splitlines())
            said = {key.strip(): value.strip() for key, _, value in lines}
        except OSError:
            continue
        if said.get("GPU UUID", "").startswith("GPU-") and "?" not in said["GPU UUID"]:
            found[pci_of(file.parent.name)] = said["GPU UUID"]
    return found
