"""What the test driver plays: a text file that it reads again whenever it has changed.

A line is one of these, and a later line wins; ``*`` stands for every GPU:

    driver 580.95.05           its version; ``none``: no driver is loaded
    generation 2               another number: the driver was loaded anew
    gpus 8
    gpu 3 temperature 92       a value by its name in driver.c; ``+5`` rises by 5 at each look
    gpu 3 field 165.0-17 1     a field of nvmlDeviceGetFieldValues: id, id.scope or id.from-to
    gpu 3 process 4242 1048576 a process and the memory it holds
    gpu 3 0.uuid MIG-...       a value of its first MIG instance
    gpu 3 event 8 79           an Xid (8), a double-bit (2) or a single-bit (1) memory error
    gpu 3 fails CALL 15        a call, or ``*``, returns this error
    gpu 3 hangs CALL           a call does not return while this line is there
    fails CALL 9, hangs CALL   the same for calls about no GPU
"""

from collections.abc import Iterable
from pathlib import Path

VARIABLE = "GPUMEDIC_LAB_NVML"
HGX = Path(__file__).with_name("hgx.txt")

# Error numbers of NVML.
NOT_SUPPORTED, UNKNOWN_ERROR, GPU_IS_LOST, VERSION_MISMATCH = 3, 999, 15, 18
XID_EVENT, DOUBLE_BIT_EVENT, SINGLE_BIT_EVENT = 8, 2, 1


class Scenario:
    """The file at ``path``, written anew at each change; it starts as eight GPUs at work."""

    def __init__(self, path: Path, lines: Iterable[str] | None = None) -> None:
        self.path = path
        self._lines = list(HGX.read_text().splitlines() if lines is None else lines)
        self._write()

    def say(self, *lines: str) -> None:
        """Add lines."""
        self._lines += lines
        self._write()

    def unsay(self, *lines: str) -> None:
        """Take lines away that were said."""
        for line in lines:
            self._lines.remove(line)
        self._write()

    def set(self, gpu: int | str, name: str, value: object) -> None:
        """Give a GPU's value, by its name in driver.c or ``field 230``."""
        self.say(f"gpu {gpu} {name} {value}")

    def xid(self, gpu: int, code: int) -> None:
        """Let the driver tell of an Xid."""
        self.say(f"gpu {gpu} event {XID_EVENT} {code}")

    def _write(self) -> None:
        """Replace the file as a whole: the driver never reads half of it."""
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_text("\n".join(self._lines) + "\n")
        fresh.replace(self.path)
