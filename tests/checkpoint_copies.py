"""Copies for tests: made and brought back as the command line does, and stores that fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from agent.checkpoints.found import Checkpoint
from agent.checkpoints.keeping import BackedUp, How, back_up, bring_back
from agent.checkpoints.places import Place
from agent.checkpoints.restore import Restored
from agent.checkpoints.work import Looker
from core.clock import RealClock

CLOCK = RealClock()


def in_memory() -> Place:
    """An empty place in this process's memory."""
    MemoryFileSystem.store.clear()
    return Place("memory://copies/job")


async def copied(root: Path, place: Place, *names: str, **how: Any) -> BackedUp:
    """Back up as ``gpumedic checkpoints backup`` does."""
    async with Looker() as looker:
        return await back_up(looker, root, place, names, how=How(**how), clock=CLOCK)


async def brought_back(
    root: Path, place: Place, name: str | None = None, *, anyway: bool = False
) -> tuple[Restored, Checkpoint]:
    """Bring back as ``gpumedic checkpoints restore`` does."""
    async with Looker() as looker:
        return await bring_back(looker, root, place, name, anyway=anyway, clock=CLOCK)


def contents(path: Path) -> dict[str, bytes]:
    """Return the files of a checkpoint, without its manifest."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {
        each.name: each.read_bytes()
        for each in files
        if each.is_file() and "manifest" not in each.name
    }


class Stopping:
    """What is killed after so many changes: from then on it changes nothing any more."""

    left = 10**9

    @classmethod
    def change(cls) -> None:
        if Stopping.left <= 0:
            raise OSError(5, "killed")
        Stopping.left -= 1


class _Stopped(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """What opening to write and copying are of a place that is killed in the middle."""

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode != "rb":
            Stopping.change()
        return super()._open(path, mode=mode, **kwargs)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        Stopping.change()
        super().cp_file(path1, path2, **kwargs)


class StoppingMemory(_Stopped, MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store in memory that is killed in the middle."""

    protocol = "stopping"
    store: dict[str, Any] = {}  # noqa: RUF012 - its own, as fsspec's memory has
    pseudo_dirs = [""]  # noqa: RUF012

    def rm_file(self, path: str) -> None:
        Stopping.change()
        super().rm_file(path)


class StoppingFolder(_Stopped, LocalFileSystem):  # type: ignore[misc]
    """A folder of this machine in which a program is killed in the middle."""

    protocol = ("stopping-folder", "file", "local")

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        Stopping.change()
        super().mv(path1, path2, **kwargs)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        for each in self.find(path):
            Stopping.change()
            Path(each).unlink()
        if self.isdir(path):
            super().rm(path, recursive=recursive, maxdepth=maxdepth)


class Losing(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory that does not keep what is written, where told so."""

    protocol = "losing"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    loses = False

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        file = super()._open(path, mode=mode, **kwargs)
        if mode != "rb" and Losing.loses:
            file.write = self._write(file)
        return file

    def _write(self, file: Any) -> Callable[[bytes], int]:
        return lambda data: int(type(file).write(file, bytes(len(data))))


class Counting(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory that counts the bytes that are read of it."""

    protocol = "counting"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    read = 0

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        found = bytes(super().cat_file(path, start=start, end=end, **kwargs))
        Counting.read += len(found)
        return found


fsspec.register_implementation("counting", Counting, clobber=True)
fsspec.register_implementation("stopping", StoppingMemory, clobber=True)
fsspec.register_implementation("stopping-folder", StoppingFolder, clobber=True)
fsspec.register_implementation("losing", Losing, clobber=True)
