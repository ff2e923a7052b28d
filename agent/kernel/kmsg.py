"""Reads ``/dev/kmsg``: never waits, reads on from a cursor, and counts what it could not read."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.kernel.cursor import Cursor
from agent.kernel.records import RECORD_BYTES, Record, kmsg_record

KMSG = Path("/dev/kmsg")
# The largest buffer that a kernel is built with, 2^25 bytes, in its shortest records.
_MOST_BUFFERED = 1 << 20


@dataclass(slots=True)
class Kmsg:
    """The kernel's own buffer, read on at each call of ``read``.

    path: /dev/kmsg, or what behaves like it
    lost: records that the kernel had overwritten before they were read, or that a flood left out
    garbled: what was no record
    """

    path: Path = KMSG
    lost: int = 0
    garbled: int = 0
    _fd: int = -1
    _last: int = -1

    def open(self, after: Cursor | None, boot: str) -> None:
        """Open the buffer, to read on after a cursor of the same boot; else from its beginning.

        OSError where this process may not read it.
        """
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if after is not None and after.boot == boot and after.number >= 0:
            self._last = after.number

    def skip(self) -> None:
        """Pass over what is there: what is written from now on is read."""
        for _ in range(_MOST_BUFFERED):
            if (raw := self._raw()) is None:
                return
            self._accepted(raw)

    def read(self, ration: Iterable[bool]) -> Iterator[Record]:
        """Yield the records that are new, oldest first, one for each of the ration at most.

        The rest is skipped. What was, or was overwritten, shows in the next record's number.
        """
        for _ in ration:
            raw = self._raw()
            if raw is None:
                return
            if (record := self._accepted(raw)) is not None:
                yield record
        self._seek_end()

    def cursor(self, boot: str) -> Cursor | None:
        """Return where reading stands, None before the first record."""
        return Cursor(boot, self._last) if self._last >= 0 else None

    def close(self) -> None:
        """Close the buffer."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _accepted(self, raw: bytes) -> Record | None:
        record = kmsg_record(raw)
        if record is None:
            self.garbled += 1
            return None
        if record.number <= self._last:
            return None
        if self._last >= 0:
            self.lost += record.number - self._last - 1
        self._last = record.number
        return record

    def _raw(self) -> bytes | None:
        """Return the next record as it is, None where there is none now.

        EPIPE says that the next one was overwritten; the read after it goes on with the oldest.
        """
        while True:
            try:
                return os.read(self._fd, RECORD_BYTES) or None
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise

    def _seek_end(self) -> None:
        with suppress(OSError):  # a pipe, in its stead, has no end to go to
            os.lseek(self._fd, 0, os.SEEK_END)
