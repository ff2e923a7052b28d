"""Real programs for tests: found on PATH, else skipped with a reason (failed where CI demands)."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str, *, in_ci: bool = True) -> NoReturn:
    """Skip for want of a real part; fail instead under GPUMEDIC_REQUIRE_REAL=1.

    in_ci: whether .ci/run installs it; what no package has is skipped there too
    """
    if in_ci and os.environ.get("GPUMEDIC_REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """Return the program's path, or say that it is missing."""
    return shutil.which(name) or missing(f"{name} is not on PATH: .ci/run installs it")


@contextmanager
def small_volume(folder: Path, size: int) -> Iterator[Path]:
    """Mount a file system of ``size`` bytes of memory at a new folder, for the test alone."""
    folder.mkdir()
    done = subprocess.run(
        [program("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        missing(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([program("umount"), "--lazy", str(folder)], check=True)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
