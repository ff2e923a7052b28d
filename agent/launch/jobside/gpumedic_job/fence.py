"""A folder's fence: who saves there must be of the newest world that has claimed it.

A *world* is when a launch began, in ns since the epoch, and the generation of its group: what began
last is newest. ``.gpumedic-world`` in the folder remembers the newest. An orphan of an older world
(a node that was cut off, a process that outlived a requeue) is refused. Imports no torch.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path

FENCE = ".gpumedic-world"
# What is done behind the fence takes milliseconds: whoever holds it so long is frozen.
HELD_S = 10.0
_PAUSE_S = 0.02
_NO_LOCKS = (ENOLCK, ENOSYS, EOPNOTSUPP)  # Lustre without -o flock, some FUSE
World = tuple[int, int]


class Fenced(RuntimeError):
    """A newer world of this job has claimed the folder: this process must not save there."""


def newest_world(folder: Path) -> World:
    """Return the newest world that has claimed a folder; (0, 0) where none has."""
    try:
        return _read((folder / FENCE).read_bytes())
    except FileNotFoundError:
        return 0, 0


def now_ns(folder: Path) -> int:
    """Return the time, ns since the epoch, by the clock of the folder's file system.

    That is one clock for all machines that share it.
    """
    probe = folder / f"{FENCE}.{os.getpid()}.now"
    probe.write_bytes(b"")
    found = probe.stat().st_mtime_ns
    probe.unlink()
    return found


def claim(folder: Path, world: World) -> None:
    """Shut out all older worlds from now on; Fenced where a newer one was here."""
    with passed(folder, world):
        pass


@contextmanager
def passed(folder: Path, world: World, *, held_s: float = HELD_S) -> Iterator[None]:
    """Be alone behind the fence for what must be done at once; Fenced where a newer world was here.

    held_s: a frozen process that holds the fence is passed by after so long
    """
    handle = _locked(folder / FENCE, held_s)
    try:
        found = _read(os.pread(handle, 4096, 0))
        if found > world:
            raise Fenced(
                f"Saving in {folder}: world {_said(found)} has claimed it, which is newer than "
                f"{_said(world)}, this process's. This process is left over and must end."
            )
        if found < world:
            data = json.dumps(world).encode()
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))
        yield
    finally:
        os.close(handle)


def _locked(path: Path, held_s: float) -> int:
    """Return the fence's file, locked; a new file in its place where a frozen process holds it."""
    until_s = time.monotonic() + held_s
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return handle
            os.close(handle)
            if error.errno not in (EAGAIN, EACCES):
                raise
            if time.monotonic() > until_s:
                _replace(path)
                until_s += held_s
            time.sleep(_PAUSE_S)
            continue
        with suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        os.close(handle)  # it was replaced meanwhile


def _replace(path: Path) -> None:
    """Put a copy of the fence in its place: the frozen process holds the old file."""
    copy = path.with_name(f"{path.name}.{os.getpid()}")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def _read(data: bytes) -> World:
    """Read a fence; an empty or torn one is nobody's."""
    try:
        launched, generation = json.loads(data)
        return int(launched), int(generation)
    except (ValueError, TypeError):
        return 0, 0


def _said(world: World) -> str:
    return f"{world[0]}.{world[1]}"
