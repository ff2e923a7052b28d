"""What worker processes do for the checkpoints: read their indexes, and load them with torch.

An index is a pickle that anybody may have written; a process of its own bounds what it can cost.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.checkpoints.catalogue import Catalogue, Look
from agent.checkpoints.found import Listing
from agent.checkpoints.progress import (
    LEAST_BYTES_PER_S,
    LEAST_FILES_PER_S,
    Progress,
    followed,
    in_time,
)
from agent.workers import WorkerPool
from core.errors import InputError, WorkerFailed

# An index of 200,000 parts takes 0.37 GiB to read (measured), so this is for a million.
MEMORY_BYTES = 2 * 2**30
_A_WEEK_S = 7 * 86400.0  # the pool's own limit; each call has one by its size
MOST_THREADS = 8
_LISTING = "agent.checkpoints.work:listing"
_LOADED = "agent.checkpoints.opening:loaded"


def idle_threads() -> int:
    """Return how many threads may hash at once on this machine."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Task:
    """A folder to look at, how, the time it is, and the file to say in how far the look is."""

    root: str
    how: Look
    now_s: float
    progress: str


def listing(task: Task) -> Listing | str:
    """Look at a folder; the text of the error where it cannot be looked at."""
    ahead = Progress(task.progress).ahead
    try:
        return Catalogue(Path(task.root), task.how, task.now_s, ahead).listing()
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

    async def look(self, root: Path, how: Look, *, now_s: float) -> Listing:
        """Look at a folder; InputError says why it cannot be looked at."""
        what = f"Looking at the checkpoints in {root}"
        with followed("starting") as progress:
            task = Task(str(root), how, now_s, progress.path)
            try:
                found = await self._run(_LISTING, task, progress.left_s, what)
            except TimeoutError:
                raise InputError(
                    f"{what}: {progress.heard()[1]} was not done in time, so at less than "
                    f"{LEAST_FILES_PER_S:g} files and {LEAST_BYTES_PER_S / 1e6:g} MB a second. See "
                    "whether the file system hangs."
                ) from None
            except WorkerFailed as error:
                raise InputError(str(error)) from None
        if not isinstance(found, Listing):
            raise InputError(str(found))
        return found

    async def load(self, path: Path, *, size_bytes: int) -> str:
        """Load with torch and weights_only; "" where it loads, else why it does not."""
        what = f"Loading {path.name}"
        with followed(what, size_bytes) as progress:
            try:
                return str(await self._run(_LOADED, str(path), progress.left_s, what))
            except TimeoutError:
                return (
                    f"{what}: not done in time, so slower than {LEAST_BYTES_PER_S / 1e6:g} MB/s. "
                    "See whether the file system hangs."
                )
            except WorkerFailed as error:
                return str(error)

    async def _run(
        self, function: str, argument: object, left_s: Callable[[], float], what: str
    ) -> object:
        """Ask the worker; WorkerFailed in the words of whoever asked, TimeoutError: not in time."""
        try:
            return await in_time(asyncio.create_task(self._pool.run(function, argument)), left_s)
        except WorkerFailed as error:
            raise WorkerFailed(error.reason, _failed(what, error)) from None


def _failed(what: str, error: WorkerFailed) -> str:
    if error.reason == "memory":
        return (
            f"{what}: it asked for more memory than a reader may have. No index needs that: look "
            "at one checkpoint at a time, by its name, and leave out the one that does."
        )
    return f"{what}: {error}"
