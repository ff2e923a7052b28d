"""The other end of a worker: reads calls from its input, runs them, and never outlives its parent.

Started by agent.workers as ``python -m agent.worker_process FOLDER MEMORY_BYTES``. A message is its
length in 8 bytes and a pickle; both ends are one program under one user, so nothing is unpickled
that this program did not pickle.
"""

import contextlib
import importlib
import os
import pickle
import queue
import resource
import shutil
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

LENGTH = struct.Struct(">Q")
# A fit gives way to the training that the node is there for; it is late by milliseconds at most
# on a node with an idle core.
NICE = 5

OK, RAISED, OUT_OF_MEMORY = "ok", "raised", "memory"


def pack(message: object) -> bytes:
    """Return the message as it goes over the pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def main() -> None:
    """Serve calls until the input closes."""
    folder, memory_bytes = Path(sys.argv[1]), int(sys.argv[2])
    limit_memory(memory_bytes)
    os.nice(NICE)
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints must not mix with answers.
    os.dup2(2, 1)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(calls, folder), daemon=True).start()
    while True:
        answer = _answer(calls.get())
        _sweep(folder / "tmp")
        answers.write(answer)
        answers.flush()


def limit_memory(memory_bytes: int) -> None:
    """Bound private writable memory; going over it is a MemoryError at the place that asked.

    RLIMIT_DATA, not RLIMIT_AS: prophet and torch map hundreds of MiB of files and address space
    that cost no memory (measured after both imports: 875 MiB mapped, 293 MiB private writable,
    320 MiB resident), and no watcher of resident memory can be quick enough to stop one large
    allocation. It holds for each child process of the worker too.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def _receive(calls: queue.SimpleQueue[bytes], folder: Path) -> None:
    """Queue what arrives; when the input ends the parent is gone or done, so end all of us.

    A thread of its own, so that the end is noticed in the middle of a call as well.
    """
    try:
        while header := _read(sys.stdin.buffer, LENGTH.size):
            calls.put(_read(sys.stdin.buffer, LENGTH.unpack(header)[0]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    return data if len(data) == size else b""


def _answer(call: bytes) -> bytes:
    try:
        name, argument = pickle.loads(call)  # noqa: S301  # from our own parent
        return pack((OK, _find(name)(argument)))
    except MemoryError:
        return pack((OUT_OF_MEMORY, "", ""))
    except Exception as error:
        return pack((RAISED, f"{type(error).__name__}: {error}", traceback.format_exc()))


def _find(name: str) -> Callable[[object], Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def _sweep(folder: Path) -> None:
    """Delete the files a call left: prophet leaves 34 kB a fit. Folders stay, libraries keep them.

    What the call printed goes too, so that the file of it stays small.
    """
    for path in folder.rglob("*"):
        if path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.ftruncate(2, 0)


if __name__ == "__main__":
    main()
