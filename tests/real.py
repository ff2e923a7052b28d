"""Real programs for tests: found on PATH, else skipped with a reason (failed where CI demands)."""

import os
import shutil
import socket

import pytest


def program(name: str) -> str:
    """Return the program's path; skip where it is missing, fail under GPUMEDIC_REQUIRE_REAL=1."""
    if path := shutil.which(name):
        return path
    reason = f"{name} is not on PATH: .ci/run installs it"
    if os.environ.get("GPUMEDIC_REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
