"""Slots in shared memory, which outlive the worker that wrote them."""

import mmap
import os
import struct
import time
from pathlib import Path

import torch
from torch import Tensor

from .layout import ALIGN, BEAT, HEADER, NO_STEP, Phase, beat_path
from .state import Packed, Parts, as_bytes, holes, take_shared


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


class Slot:
    """One file of shared memory: a step, a pickle, tensors; whole, or marked as not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self.size = 0

    def write(self, step: int, packed: Packed) -> None:
        """Replace the content; a reader finds NO_STEP until all of it is there."""
        blob, tensors = packed
        views = [as_bytes(each) for each in tensors]
        starts, size = _starts(len(blob), [view.numel() for view in views])
        memory, self.size = self._room(size), size
        HEADER.pack_into(memory, 0, NO_STEP, len(blob), size, 0)
        memory[HEADER.size : HEADER.size + len(blob)] = blob
        for start, view in zip(starts, views, strict=True):
            _view(memory, start, view.numel()).copy_(view)
        struct.pack_into("<q", memory, 0, step)

    def forget(self) -> None:
        """Mark the content as not whole."""
        struct.pack_into("<q", self._room(HEADER.size), 0, NO_STEP)

    def frame(self, room: int, next_room: int) -> bytearray:
        """Return what was written as a frame of ``room`` bytes; its header alone where it is more.

        next_room: how long the next frame will be
        """
        frame, memory = bytearray(room), self._room(self.size)
        step, blob_size, size, _ = HEADER.unpack_from(memory, 0)
        if size > room:
            step, size = NO_STEP, HEADER.size
        frame[:size] = memory[:size]
        HEADER.pack_into(frame, 0, step, blob_size, size, next_room)
        return frame

    def put(self, frame: memoryview) -> None:
        """Replace the content by what a frame has."""
        step, _, size, _ = HEADER.unpack_from(frame, 0)
        memory, self.size = self._room(size), size
        struct.pack_into("<q", memory, 0, NO_STEP)
        memory[8:size] = frame[8:size]
        struct.pack_into("<q", memory, 0, step)

    def read(self, step: int) -> Packed:
        """Return copies of what was written for the step; LookupError where that is not here."""
        with self._path.open("r+b") as file:
            memory = self._map = mmap.mmap(file.fileno(), 0)
        found, blob_size, self.size, _ = HEADER.unpack_from(memory, 0)
        if found != step:
            raise LookupError(f"{self._path.name} holds step {found}, not {step}")
        blob = memory[HEADER.size : HEADER.size + blob_size]
        missing = holes(blob)
        sizes = [torch.Size(each.shape).numel() * each.dtype.itemsize for each in missing]
        starts, _ = _starts(blob_size, sizes)
        tensors = [
            _view(memory, start, size).clone().view(hole.dtype).reshape(hole.shape)
            for hole, start, size in zip(missing, starts, sizes, strict=True)
        ]
        return blob, tensors

    def _room(self, size: int) -> mmap.mmap:
        """Return the memory, made larger where that is needed."""
        if self._map is None or len(self._map) < size:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                size = max(size, os.fstat(descriptor).st_size)
                os.posix_fallocate(descriptor, 0, size)  # a full /dev/shm is an error, not SIGBUS
                self._map = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        return self._map


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
    """Copies the shared state as often as its cost allows.

    share: of the time between two copies that making one may take
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._due_s = 0.0

    def copy(self, slot: Slot, step: int, parts: Parts) -> None:
        """Write the copy if it is due."""
        began_s = time.monotonic()
        if began_s < self._due_s:
            return
        slot.write(step, take_shared(parts))
        cost_s = time.monotonic() - began_s
        self._due_s = began_s + cost_s / self._share
