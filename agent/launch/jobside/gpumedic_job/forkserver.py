"""Forks workers with torch imported: ``python forkserver.py SCRIPT ...``, or ``-m MODULE ...``.

It imports and does nothing else, so that it has one thread and has not touched a GPU: what is
forked from it can do all that a new process can, and starts seconds sooner. Its standard input is a
socket to its supervisor; each message asks for a worker. It ends when the supervisor does.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

# The last is what the first optimizer or parallel model would import.
_SLOW = ("torch", "torch.distributed", "torch.nn.parallel", "torch._dynamo")
_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.001
_libc = ctypes.CDLL(None)


def main() -> None:
    """Import, fork whenever that is asked for, and in what is forked be the worker."""
    sys.path[0] = str(Path(sys.argv[2 if sys.argv[1] == "-m" else 1]).resolve().parent)
    # CUDA's own way of counting devices would start the driver, which no fork survives.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    for module in _SLOW:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the collector would otherwise write to all memory that the workers share
    asked = _serve(socket.socket(fileno=0))
    from gpumedic_job import standby

    standby.main(asked["kind"])


def _serve(line: socket.socket) -> dict[str, Any]:
    """Fork for each message; return, in each worker, what was asked for."""
    supervisor = os.getppid()
    line.send(b"{}")
    while text := line.recv(_BYTES):
        if os.fork() == 0:
            # One process in between, which ends: the kernel gives its child to the supervisor.
            between = os.getpid()
            if os.fork() != 0:
                os._exit(0)
            asked: dict[str, Any] = json.loads(text)
            _begin(asked, between, supervisor)
            line.send(json.dumps({"uid": asked["uid"], "pid": os.getpid()}).encode())
            _open_standard_files(line, asked["log"])
            return asked
        os.wait()
    os._exit(0)


def _begin(asked: dict[str, Any], between: int, supervisor: int) -> None:
    """Make this process what a new one would be."""
    os.setsid()
    while os.getppid() == between:
        time.sleep(_LOOK_S)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)  # it ended before it could be told of
    os.environ.update(asked["environment"])
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()  # all workers would draw the same; Python's own module sees to that itself


def _open_standard_files(line: socket.socket, log: str | None) -> None:
    """Read from nowhere, and write to the log's folder, where there is one."""
    files = [(os.devnull, 0)]
    if log is not None:
        files += [(f"{log}/stdout.log", 1), (f"{log}/stderr.log", 2)]
    line.detach()
    for path, number in files:
        opened = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    main()
