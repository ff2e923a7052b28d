"""How far a training is, for gpumedic to see: one small record of each rank, in memory.

    from gpumedic_job import Progress          # or copy this file: the standard library is all
    progress = Progress()
    for step, batch in enumerate(progress.waited(loader)):
        ...
        progress.step(step, loss=loss)         # a number at hand: a tensor waits for its GPU

It never fails a job: without memory, folder or permission, in a child process or beside another
writer of the same rank it does nothing.
"""

import contextlib
import fcntl
import math
import os
import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FOLDER_ENV, JOB_ENV = "GPUMEDIC_PROGRESS", "GPUMEDIC_JOB"
SHARED_MEMORY, PREFIX = Path("/dev/shm"), "gpumedic-progress-"  # noqa: S108 - a folder a user
MAGIC, VERSION = b"gmPr", 1
# Magic, version, size; pid; world, newest step, its time (ns since the epoch); since the start:
# steps, seconds in them, waiting for data, in collectives; loss, gradient norm of the newest step;
# steps whose loss or norm was no number; newest checkpoint's step and time (ns).
RECORD = struct.Struct("<4sHHIIqqqdddddqqq")
CHECK = struct.Struct("<I")  # CRC-32 of the record, which a reader may find half written
SIZE = RECORD.size + CHECK.size


class Progress:
    """What one rank says of itself; ``job`` where neither its launcher nor Slurm names it."""

    def __init__(self, job: str = "") -> None:
        self._pid, self._last_s, self._world = os.getpid(), time.monotonic(), _world()
        self._steps = self._nan_steps = self._saved_ns = 0
        self._step = self._saved = -1
        self._step_s = self._data_s = self._comm_s = 0.0
        self._loss = self._norm = math.nan
        self._file = _opened(job)

    def step(
        self, step: int, *, loss: float | None = None, grad_norm: float | None = None,
        data_wait_s: float = 0.0, comm_wait_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Tell that a step is done; waits are of this step, beside what ``waited`` has measured."""
        now_s = time.monotonic()
        self._step_s, self._last_s = self._step_s + now_s - self._last_s, now_s
        with contextlib.suppress(Exception):
            told = [float(value) for value in (loss, grad_norm) if value is not None]
            self._nan_steps += not all(map(math.isfinite, told))
            self._loss = math.nan if loss is None else float(loss)
            self._norm = math.nan if grad_norm is None else float(grad_norm)
            self._data_s, self._comm_s = self._data_s + data_wait_s, self._comm_s + comm_wait_s
            self._step, self._steps = int(step), self._steps + 1
            self._write()

    def saved(self, step: int) -> None:
        """Tell that a checkpoint is whole; the time since the last step is not the next one's."""
        self._saved, self._saved_ns, self._last_s = step, time.time_ns(), time.monotonic()
        with contextlib.suppress(Exception):
            self._write()

    def waited(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches and measure how long each is waited for."""
        source, began_s = iter(batches), time.monotonic()
        for batch in source:
            self._data_s += time.monotonic() - began_s
            yield batch
            began_s = time.monotonic()

    def _write(self) -> None:
        if (
            self._file < 0 or os.getpid() != self._pid
        ):  # a child has its parent's file, not its rank
            return
        said = RECORD.pack(
            MAGIC, VERSION, SIZE, self._pid, self._world, self._step, time.time_ns(), self._steps,
            self._step_s, self._data_s, self._comm_s, self._loss, self._norm,
            self._nan_steps, self._saved, self._saved_ns,
        )  # fmt: skip
        os.pwrite(self._file, said + CHECK.pack(zlib.crc32(said)), 0)


def _opened(job: str) -> int:
    """Return the rank's file, locked while this process lives; -1 where it cannot be had."""
    env = os.environ.get
    elastic = env("TORCHELASTIC_RUN_ID", "none").replace("none", "")
    job = job or env(JOB_ENV) or env("SLURM_JOB_ID") or elastic or f"local-{os.getppid()}"
    rank = env("RANK") or env("SLURM_PROCID") or env("OMPI_COMM_WORLD_RANK") or "0"
    with contextlib.suppress(OSError, ValueError):
        own = SHARED_MEMORY / f"{PREFIX}{os.getuid()}"
        folder = Path(env(FOLDER_ENV) or own)
        folder.mkdir(exist_ok=True)
        if folder == own:
            folder.chmod(0o755)  # whatever the umask: it is read by another user
        name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', job)[:100]}.{int(rank)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(folder / name, flags, 0o644)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(file, 0, SIZE)
            os.fchmod(file, 0o644)
        except OSError:
            os.close(file)
            raise
        return file
    return -1


def _world() -> int:
    env = os.environ.get
    said = env("WORLD_SIZE") or env("SLURM_NTASKS") or env("OMPI_COMM_WORLD_SIZE") or "1"
    return int(said) if said.isdecimal() else 1
