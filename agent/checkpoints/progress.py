"""How long a look may take: as long as each next piece of it is done in its time.

The worker that looks says what it does next and by when that should be done; whoever waits for it
gives up only when such a time is over. So a tree of any size may be looked at, and one file that
hangs is found out as soon as in a small one.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from core.clock import RealClock

# A worker starts, and a file system that was idle wakes up, in less.
START_S = 60.0
# What a slow network file system gives at least; a worker that takes longer hangs.
LEAST_BYTES_PER_S = 20e6
LEAST_FILES_PER_S = 10.0
_RECORD_BYTES = 512
Result = TypeVar("Result")


def due_s(files: int = 0, size_bytes: int = 0) -> float:
    """Return when so much work should be done that begins now, on the monotonic clock.

    That clock is the machine's: it says the same in every process.
    """
    work_s = files / LEAST_FILES_PER_S + size_bytes / LEAST_BYTES_PER_S
    return RealClock().monotonic_s() + START_S + work_s


class Progress:
    """A file in which a worker says what it does next, and by when that should be done."""

    def __init__(self, path: str, *, what: str = "starting", size_bytes: int = 0) -> None:
        self.path = path
        self._begun = due_s(size_bytes=size_bytes), what

    def ahead(self, what: str, files: int = 0, size_bytes: int = 0) -> None:
        """Say what is to be done now; where that cannot be written the time before counts."""
        said = f"{due_s(files, size_bytes):.3f} {what}".encode(errors="replace")
        with suppress(OSError):
            handle = os.open(self.path, os.O_WRONLY)
            try:
                os.pwrite(handle, said[:_RECORD_BYTES].ljust(_RECORD_BYTES), 0)
            finally:
                os.close(handle)

    def heard(self) -> tuple[float, str]:
        """Return by when the work that goes on should be done, and what it is."""
        try:
            due, _, what = Path(self.path).read_bytes().decode(errors="replace").partition(" ")
            return float(due), what.strip()
        except (OSError, ValueError):  # nothing was said yet
            return self._begun

    def left_s(self) -> float:
        """Return how much time the work that goes on has left."""
        return self.heard()[0] - RealClock().monotonic_s()


@contextmanager
def followed(what: str, size_bytes: int = 0) -> Iterator[Progress]:
    """Make a place for a worker to say how far it is; it begins with so much work."""
    with tempfile.NamedTemporaryFile(prefix="gpumedic-progress-") as file:
        yield Progress(file.name, what=what, size_bytes=size_bytes)


async def in_time(call: "asyncio.Task[Result]", left_s: Callable[[], float]) -> Result:
    """Wait for a call while it has time left; TimeoutError when not, and it is cancelled."""
    try:
        while not call.done() and (seconds := left_s()) > 0:
            await asyncio.wait({call}, timeout=seconds)
        if not call.done():
            raise TimeoutError
        return call.result()
    finally:
        if not call.done():
            call.cancel()
            await asyncio.wait({call})
