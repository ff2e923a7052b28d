"""One process compiles the engine, the others wait and load what it kept."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim.engine.jit import is_kept


@contextmanager
def alone_if_compiling() -> Iterator[None]:
    """Let only one of this user's processes in at a time while the engine is not compiled."""
    if is_kept("sim.engine.loop"):
        yield
        return
    path = Path(tempfile.gettempdir()) / f"gpumedic-{os.getuid()}.compiling"
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # falls with the process, however that ends
        yield
    finally:
        os.close(lock)
