"""What worker processes do for the checkpoints: read their indexes, and load them with torch.

An index is a pickle that anybody may have written; a process of its own bounds what it can cost.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from agent.checkpoints.catalogue import Catalogue, Look
from agent.checkpoints.found import Listing
from agent.workers import WorkerPool
from core.errors import InputError, WorkerFailed

# An index of 200,000 parts takes 0.37 GiB to read (measured), so this is for a million.
MEMORY_BYTES = 2 * 2**30
# What a slow network file system gives at least; a worker that takes longer hangs.
LEAST_BYTES_PER_S = 20e6
START_S = 60.0
_A_WEEK_S = 7 * 86400.0  # the pool's own limit; each call has one by its size
MOST_THREADS = 8
_LISTING = "agent.checkpoints.work:listing"
_LOADED = "agent.checkpoints.opening:loaded"


def idle_threads() -> int:
    """Return how many threads may hash at once on this machine."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Task:
    """A folder to look at, how, and the time it is."""

    root: str
    how: Look
    now_s: float


def listing(task: Task) -> Listing | str:
    """Look at a folder; the text of the error where it cannot be looked at."""
    try:
        return Catalogue(Path(task.root), task.how, task.now_s).listing()
    except InputError as error:
        return str(error)


class Looker:
    """A worker process that looks at checkpoints, started when first asked.

    memory_bytes: the most that the process may have
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._pool = WorkerPool(1, time_limit_s=_A_WEEK_S, memory_bytes=memory_bytes)

    async def __aenter__(self) -> "Looker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def look(self, root: Path, how: Look, *, now_s: float, size_bytes: int = 0) -> Listing:
        """Look at a folder; InputError says why it cannot be looked at.

        size_bytes: how much there is to read, for the time that it may take
        """
        task = Task(str(root), how, now_s)
        what = f"Looking at the checkpoints in {root}"
        try:
            found = await self._run(_LISTING, task, size_bytes, what)
        except WorkerFailed as error:
            raise InputError(str(error)) from None
        if not isinstance(found, Listing):
            raise InputError(str(found))
        return found

    async def load(self, path: Path, *, size_bytes: int) -> str:
        """Load with torch and weights_only; "" where it loads, else why it does not."""
        try:
            return str(await self._run(_LOADED, str(path), size_bytes, "Loading it"))
        except WorkerFailed as error:
            return str(error)

    async def _run(self, function: str, argument: object, size_bytes: int, what: str) -> object:
        """Ask the worker; WorkerFailed in the words of whoever asked."""
        limit_s = START_S + size_bytes / LEAST_BYTES_PER_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._pool.run(function, argument)
        except TimeoutError:
            raise WorkerFailed(
                "timeout",
                f"{what}: not done after {limit_s:.0f} s, so slower than "
                f"{LEAST_BYTES_PER_S / 1e6:g} MB/s. See whether the file system hangs.",
            ) from None
        except WorkerFailed as error:
            raise WorkerFailed(error.reason, _failed(what, error)) from None


def _failed(what: str, error: WorkerFailed) -> str:
    if error.reason == "memory":
        return (
            f"{what}: it asked for more memory than a reader may have. No index needs that: look "
            "at one checkpoint at a time, by its name, and leave out the one that does."
        )
    return f"{what}: {error}"
