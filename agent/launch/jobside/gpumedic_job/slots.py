"""Slots in shared memory, which outlive the worker that wrote them."""

import errno
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from .layout import ALIGN, BEAT, HEADER, NO_STEP, Phase, beat_path, copy_path, slot_step
from .state import Packed, Parts, as_bytes, holes, take_shared

_MIB = 1 << 20
# Of /dev/shm, copies leave so much: to the ranks' own states, which are small and come first, and
# to the script's own workers, such as a DataLoader's, whom a full one kills (SIGBUS).
_LEFT = 0.25


class Pulse:
    """Says how far this worker is, in memory that its supervisor reads; about 2 µs a beat."""

    def __init__(self, folder: Path, uid: str) -> None:
        path = beat_path(folder, uid)
        path.write_bytes(bytes(BEAT.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BEAT.size)

    def beat(self, generation: int, step: int, phase: Phase) -> None:
        """Overwrite the last beat."""
        BEAT.pack_into(self._map, 0, generation, step, phase, time.monotonic_ns())

    def moved(self) -> None:
        """Give the last beat again: this worker is where it was, and gets on with it."""
        generation, step, phase, _ = BEAT.unpack_from(self._map, 0)
        BEAT.pack_into(self._map, 0, generation, step, phase, time.monotonic_ns())


class Memory:
    """What slots lie in. Where there is no room in it a training goes on, and says so, once.

    tell: takes the words
    """

    def __init__(self, folder: Path, tell: Callable[[str], object]) -> None:
        self.folder, self._tell = folder, tell
        self._told = False

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Do without what finds no room."""
        try:
            yield
        except OSError as error:
            if not self._told:
                self._told = True
                self._tell(self._words(error))

    def _words(self, error: OSError) -> str:
        system, where = os.statvfs(self.folder), self.folder.parent
        total, free = (n * system.f_frsize / _MIB for n in (system.f_blocks, system.f_bavail))
        return (
            f"a copy of the state finds no room in {where}: {error.strerror}, {free:.0f} of its "
            f"{total:.0f} MiB are free, of which copies leave a quarter of all. The training goes "
            "on, with fewer copies or none: what no rank has when ranks die then comes from the "
            f"newest checkpoint. Make {where} three times as large as the model and its "
            "optimizers (docker run --shm-size=16g; in Kubernetes an emptyDir with medium: Memory, "
            "mounted there)."
        )


class Slot:
    """One file of shared memory: a step, a pickle, tensors; whole, or marked as not.

    leave: of the file system, the share that is to stay free
    """

    def __init__(self, path: Path, *, leave: float = 0.0) -> None:
        self._path, self._leave = path, leave
        self._map: mmap.mmap | None = None
        self.size = 0

    @property
    def step(self) -> int:
        """After how many steps the state is that is here, NO_STEP where none is whole."""
        return slot_step(self._path)

    def write(self, step: int, packed: Packed) -> None:
        """Replace the content; a reader finds NO_STEP until all of it is there.

        OSError where there is no room; nothing is here then.
        """
        blob, tensors = packed
        views = [as_bytes(each) for each in tensors]
        starts, size = _starts(len(blob), [view.numel() for view in views])
        memory = self._emptied(size)
        HEADER.pack_into(memory, 0, NO_STEP, len(blob), size, 0)
        memory[HEADER.size : HEADER.size + len(blob)] = blob
        for start, view in zip(starts, views, strict=True):
            _view(memory, start, view.numel()).copy_(view)
        struct.pack_into("<q", memory, 0, step)

    def forget(self) -> None:
        """Mark the content as not whole; takes no room."""
        if self._map is None and self.step != NO_STEP:
            self._map = self._mapped()
        if self._map is not None:
            struct.pack_into("<q", self._map, 0, NO_STEP)

    def frame(self, room: int, next_room: int) -> bytearray:
        """Return what was written as a frame of ``room`` bytes; its header alone where it is more.

        next_room: how long the next frame will be
        """
        frame = bytearray(room)
        step, blob_size, size = NO_STEP, 0, HEADER.size
        if self._map is not None and 0 < self.size <= room:
            step, blob_size, size, _ = HEADER.unpack_from(self._map, 0)
            frame[:size] = self._map[:size]
        HEADER.pack_into(frame, 0, step, blob_size, size, next_room)
        return frame

    def put(self, frame: memoryview) -> None:
        """Replace the content by what a frame has; OSError as in ``write``."""
        step, _, size, _ = HEADER.unpack_from(frame, 0)
        memory = self._emptied(size)
        memory[8:size] = frame[8:size]
        struct.pack_into("<q", memory, 0, step)

    def read(self, step: int) -> Packed:
        """Return copies of what was written for the step; LookupError where that is not here.

        Who wrote it may live, and write on: it is looked at again once it is copied.
        """
        self._check(step)
        memory = self._map = self._mapped()
        _, blob_size, self.size, _ = HEADER.unpack_from(memory, 0)
        blob = memory[HEADER.size : HEADER.size + blob_size]
        self._check(step)
        missing = holes(blob)
        sizes = [torch.Size(each.shape).numel() * each.dtype.itemsize for each in missing]
        starts, _ = _starts(blob_size, sizes)
        tensors = [
            _view(memory, start, size).clone().view(hole.dtype).reshape(hole.shape)
            for hole, start, size in zip(missing, starts, sizes, strict=True)
        ]
        self._check(step)
        return blob, tensors

    def _check(self, step: int) -> None:
        if self.step != step:
            raise LookupError(f"{self._path.name} holds step {self.step}, not {step}")

    def _emptied(self, size: int) -> mmap.mmap:
        """Return memory of at least this size, marked as not whole."""
        self.forget()
        self.size = 0
        if self._map is None or len(self._map) < size:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._grow(descriptor, size)
                self._map = mmap.mmap(descriptor, 0)
            finally:
                os.close(descriptor)
        self.size = size
        return self._map

    def _grow(self, descriptor: int, size: int) -> None:
        """Make the file as large; a full /dev/shm is an error, not SIGBUS when it is written to."""
        more = size - os.fstat(descriptor).st_size
        system = os.fstatvfs(descriptor)
        limited = self._leave and system.f_blocks  # 0: as large as the machine's memory
        if limited and more > (system.f_bavail - self._leave * system.f_blocks) * system.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(descriptor, 0, size)

    def _mapped(self) -> mmap.mmap:
        with self._path.open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)


def _starts(blob_size: int, sizes: list[int]) -> tuple[list[int], int]:
    """Return where each tensor starts, and the size of all."""
    at, starts = HEADER.size + blob_size, []
    for size in sizes:
        at = -(-at // ALIGN) * ALIGN
        starts.append(at)
        at += size
    return starts, at


def _view(memory: mmap.mmap, start: int, size: int) -> Tensor:
    if not size:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(memory, dtype=torch.uint8, count=size, offset=start)


class Copier:
    """Copies the shared state as often as its cost allows, and never over the newest copy.

    share: of the time between two copies that making one may take
    """

    def __init__(self, memory: Memory, share: float) -> None:
        self._memory, self._share = memory, share
        self._slots: tuple[Slot, ...] = ()
        self._newest = NO_STEP
        self._due_s = 0.0

    def begin(self, step: int, *, writes: bool) -> None:
        """Go on after a step; copies of later ones are of steps that will be done again.

        writes: whether the copies of this node are this rank's to make
        """
        self._slots = tuple(self._slot(parity) for parity in range(2)) if writes else ()
        for each in self._slots:
            if each.step > step:
                each.forget()
        self._newest = max((each.step for each in self._slots), default=NO_STEP)

    def copy(self, step: int, parts: Parts) -> None:
        """Write the copy if it is due; one step later where the newest lies in this step's slot."""
        began_s = time.monotonic()
        taken = self._newest != NO_STEP and (step - self._newest) % 2 == 0
        if not self._slots or taken or began_s < self._due_s:
            return
        self._newest = NO_STEP  # where there is room for one copy, that one is written over
        with self._memory.spared():
            self._slots[step % 2].write(step, take_shared(parts))
            self._newest = step
        cost_s = time.monotonic() - began_s
        self._due_s = began_s + cost_s / self._share

    def _slot(self, parity: int) -> Slot:
        return Slot(copy_path(self._memory.folder, parity), leave=_LEFT)
