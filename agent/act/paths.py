"""What lies at paths that jobs declare, looked at in threads: a shared file system may hang."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from agent.collect.patience import begun

T = TypeVar("T")

DEADLINE_S = 5.0  # a file system that hangs must not hold up a cycle
MOST_AT_ONCE = 16  # looks that go on and are not late
# Threads that may hang: our own, for the loop's few are everybody's.
MOST_THREADS = 256


@dataclass(slots=True)
class Paths(Generic[T]):
    """Looks at each path once at a time; one that takes too long shows what it last did.

    A late look keeps its thread but no other path waiting, until ``MOST_THREADS`` are late.
    look: runs in a thread and raises nothing
    """

    look: Callable[[str], T]
    _known: dict[str, T] = field(default_factory=dict)
    _looking: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    _threads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_THREADS))

    async def known(self, paths: Iterable[str]) -> Mapping[str, T]:
        """Return what is known of each path; nothing of one that has not yet been seen."""
        wanted = set(paths)
        for path in wanted - self._looking.keys():
            self._looking[path] = asyncio.create_task(self._one(path))
        if waited_for := [self._looking[path] for path in wanted]:
            await asyncio.wait(waited_for, timeout=DEADLINE_S)
        self._known = {path: self._known[path] for path in wanted if path in self._known}
        return self._known

    def late(self) -> Collection[str]:
        """Return the paths whose look has not come back: what is known of them is of before."""
        return self._looking.keys()

    async def _one(self, path: str) -> None:
        try:
            async with self._threads:
                async with self._free:
                    looking = asyncio.wrap_future(begun(partial(self.look, path)))
                    await asyncio.wait([looking], timeout=DEADLINE_S)
                self._known[path] = await looking
        finally:
            self._looking.pop(path, None)
