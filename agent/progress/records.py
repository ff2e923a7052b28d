"""The records that ranks write at each step (``gpumedic_job.Progress``), read from outside."""

import fcntl
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.launch.jobside.gpumedic_job.progress import (
    CHECK,
    MAGIC,
    PREFIX,
    RECORD,
    SHARED_MEMORY,
    SIZE,
    VERSION,
)
from core.target import Target

# A machine has some ranks a GPU; more files than this are not a training's.
MOST_FILES = 4096
# A record that is just being written is whole at the next look.
TRIES = 3
_NAME = re.compile(r"([A-Za-z0-9_-]{1,100})\.(\d{1,7})")
_LOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_NS = 1e-9
_AT, _SAVED = 3, -1  # where the times are in it, in ns


@dataclass(frozen=True, slots=True)
class Record:
    """What a rank said last; its process lives.

    step: newest step done, as the job counts them; -1: none. ``steps`` counts those of this process
    step_s, data_s, comm_s: seconds in all of these steps, in them waiting for data, in collectives
    saved_step, saved_s: newest checkpoint, and when; -1 and 0 for none
    """

    job: str
    rank: int
    pid: int
    world: int
    step: int
    at_s: float
    steps: int
    step_s: float
    data_s: float
    comm_s: float
    loss: float
    grad_norm: float
    nan_steps: int
    saved_step: int
    saved_s: float

    def target(self, node: str) -> Target:
        """Return the rank on its node."""
        return Target(node=node, job=self.job, rank=str(self.rank))


def records(folders: Sequence[Path] = (), *, memory: Path = SHARED_MEMORY) -> tuple[Record, ...]:
    """Return the records of ranks that live, by job and rank; what is none is passed over.

    folders: beside each user's own in ``memory``; such as one that pods mount
    """
    own = (each for each in memory.glob(f"{PREFIX}*") if _is_users(each))
    files = [file for folder in (*own, *folders) for file in _files(folder)]
    found = [record for file in files[:MOST_FILES] if (record := read(file)) is not None]
    return tuple(sorted(found, key=lambda record: (record.job, record.rank)))


def read(path: Path) -> Record | None:
    """Return the record in a file; None where it is none, or nobody writes it any more."""
    named = _NAME.fullmatch(path.name)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        said = os.fstat(file)
        if named is None or not stat.S_ISREG(said.st_mode) or said.st_size != SIZE:
            return None
        if not _is_written(file):
            return None
        for _ in range(TRIES):
            if (found := decode(os.pread(file, SIZE, 0), named[1], int(named[2]))) is not None:
                return found
    except OSError:
        return None
    finally:
        os.close(file)
    return None


def decode(data: bytes, job: str, rank: int) -> Record | None:
    """Return what these bytes say; None for half a record or another version's."""
    if (
        len(data) != SIZE
        or zlib.crc32(data[: RECORD.size]) != CHECK.unpack_from(data, RECORD.size)[0]
    ):
        return None
    magic, version, size, *said = RECORD.unpack_from(data)
    if (magic, version, size) != (MAGIC, VERSION, SIZE):
        return None
    said[_AT], said[_SAVED] = said[_AT] * _NS, said[_SAVED] * _NS
    return Record(job, rank, *said)


def _is_written(file: int) -> bool:
    """Say whether a process holds the lock: the kernel takes it from one that dies."""
    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = _LOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return bool(answer[0] != fcntl.F_UNLCK)


def _is_users(folder: Path) -> bool:
    """Say whether a folder is its user's own, as its name has it."""
    uid = folder.name.removeprefix(PREFIX)
    try:
        said = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(said.st_mode) and str(said.st_uid) == uid and not said.st_mode & 0o022


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except OSError:
        return
