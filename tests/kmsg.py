"""A kernel's log that tests write: one record a read, as /dev/kmsg has it."""

import contextlib
import fcntl
import os
from pathlib import Path

from core.target import Target

PCI, UUID = "0000:3b:00", "GPU-8bf2cd34-1f0c-11ef-b3c2-7bfa81a40b6a"
GPU = Target(node="n1", gpu=UUID)
XID = "NVRM: Xid (PCI:0000:3b:00): {}, pid=7, name=python3, text"


class Buffer:
    """A pipe in packet mode in the place of /dev/kmsg: it too gives one record a read.

    It has no end to go to and overwrites nothing; for that there is the real one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kmsg"
        os.mkfifo(self.path)
        self._keep = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._to = os.open(self.path, os.O_WRONLY)
        fcntl.fcntl(self._to, fcntl.F_SETPIPE_SZ, 1 << 20)
        fcntl.fcntl(self._to, fcntl.F_SETFL, os.O_DIRECT)

    def write(self, *texts: str, first: int = 1, boot_s: float = 5.0) -> None:
        """Write a record for each text; their numbers follow each other."""
        for number, text in enumerate(texts, first):
            self.raw(f"4,{number},{int(boot_s * 1e6)},-;{text}\n".encode())

    def overrun(self, lines: int, text: str) -> None:
        """Write so many records as fast as can be; those that find no room are lost, as in a ring.

        What the kernel overwrites is the oldest; here it is the newest, and the numbers say so too.
        """
        os.set_blocking(self._to, False)
        for number in range(1, lines + 1):
            with contextlib.suppress(BlockingIOError):
                os.write(self._to, b"4,%d,5000000,-;%s\n" % (number, text.encode()))
        os.set_blocking(self._to, True)

    def raw(self, record: bytes) -> None:
        os.write(self._to, record)

    def close(self) -> None:
        os.close(self._to)
        os.close(self._keep)
