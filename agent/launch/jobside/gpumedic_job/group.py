"""The process group of one generation: formed on a fresh store, cut from another thread."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from .link import GenerationOver, GenerationStore, Link
from .state import Packed, as_bytes, holes

CHUNK_BYTES = 32 << 20


class Group:
    """At most one default process group at a time.

    timeout_s: how long a collective may take before torch itself gives up
    """

    def __init__(self, link: Link, timeout_s: float) -> None:
        self._link, self._timeout_s = link, timeout_s
        self._before: frozenset[str] | None = None
        self._store: GenerationStore | None = None
        self._own: object = None
        self._lock = threading.Lock()

    def form(self, generation: int, rank: int, world: int, connect_s: float) -> None:
        """Join the others; raises where that fails or the generation ends meanwhile."""
        with self._lock:
            self._before = frozenset(_sockets().values())
        if self._link.wanted > generation:
            raise GenerationOver(f"generation {generation} is over")
        self._store = GenerationStore(self._link.path, generation)
        # Groups are numbered by this process's own count, which must be every rank's: an attempt
        # that failed has counted here, and may not have elsewhere.
        dist.distributed_c10d._world.group_count = 0
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_initialized() else "gloo"
        connect = timedelta(seconds=connect_s)
        dist.init_process_group(
            backend, store=self._store, rank=rank, world_size=world, timeout=connect
        )
        self._own = dist.group.WORLD
        timeout = timedelta(seconds=self._timeout_s)
        dist.distributed_c10d._set_pg_timeout(timeout, dist.group.WORLD)

    def cut(self) -> None:
        """End every operation of the group, from any thread.

        Gloo has no abort: its connections are shut down instead, so that whoever waits on them is
        told. Only connections made since the group began are, and never a listening socket, which
        gloo does not survive.
        """
        with self._lock:
            if self._before is None:
                return
            for descriptor, name in _sockets().items():
                if name not in self._before:
                    _shut(descriptor)
        if torch.cuda.is_initialized() and dist.is_initialized():
            with contextlib.suppress(RuntimeError, ValueError):
                dist.distributed_c10d._abort_process_group()

    def close(self) -> None:
        """Leave the group, if there is one; whoever used it, such as a parallel model, goes before.

        The last to let go of a group waits for gloo's threads, which may want the interpreter's
        lock: a parallel model would not give it to them, this reference does.
        """
        self.cut()
        with self._lock:
            self._before = None
        if dist.is_initialized():
            dist.destroy_process_group()
        self._own = None
        if self._store is not None:
            self._store.close()
            self._store = None


def _sockets() -> dict[int, str]:
    """Return this process's sockets: descriptor and the kernel's name."""
    found: dict[int, str] = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(entry.readlink())
            if name.startswith("socket:"):
                found[int(entry.name)] = name
    return found


def _shut(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.getpeername()  # an OSError where it only listens
            connection.shutdown(socket.SHUT_RDWR)


def send(packed: Packed, to: int, moved: Callable[[], None]) -> None:
    """Send a state to a rank of the group, by way of the CPU; ``moved`` is called as it gets on."""
    blob, tensors = packed
    dist.send(torch.tensor([len(blob)]), to)
    dist.send(torch.frombuffer(bytearray(blob), dtype=torch.uint8), to)
    for part, members in _parts(tensors):
        torch.cat(members, out=part)
        dist.send(part, to)
        moved()


def receive(source: int, moved: Callable[[], None]) -> Packed:
    """Receive a state into memory of its own: what this rank had stays whole until all is here."""
    size = torch.zeros(1, dtype=torch.int64)
    dist.recv(size, source)
    blob = torch.zeros(int(size), dtype=torch.uint8)
    dist.recv(blob, source)
    pickled = blob.numpy().tobytes()
    tensors = [torch.empty(hole.shape, dtype=hole.dtype) for hole in holes(pickled)]
    for part, into in _parts(tensors):
        dist.recv(part, source)
        _spread(part, into)
        moved()
    return pickled, tensors


def _parts(tensors: list[Tensor]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Group a state into messages: a buffer, and the pieces of tensors whose bytes it holds.

    Small tensors go together and large ones in pieces, so that no message is long under way and no
    buffer is as large as the state.
    """
    members: list[Tensor] = []
    room = CHUNK_BYTES
    for piece in (piece for each in tensors for piece in as_bytes(each).split(CHUNK_BYTES)):
        if piece.numel() > room:
            yield _buffer(members), members
            members, room = [], CHUNK_BYTES
        members.append(piece)
        room -= piece.numel()
    if room < CHUNK_BYTES:
        yield _buffer(members), members


def _buffer(members: list[Tensor]) -> Tensor:
    return torch.empty(sum(each.numel() for each in members), dtype=torch.uint8)


def _spread(part: Tensor, into: list[Tensor]) -> None:
    for view, piece in zip(into, part.split([each.numel() for each in into]), strict=True):
        view.copy_(piece)
