"""What tests of the worker pool run in a worker: it must be importable by a spawned process."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

import numpy as np


def echo(argument: object) -> object:
    return argument


def describe(_: object) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "temp": tempfile.gettempdir(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "modules": sorted(sys.modules),
    }


def hang(_: object) -> None:
    threading.Event().wait()


def hang_with_child(path: str) -> None:
    """Note the process ids of a child and of itself, then never end."""
    child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    Path(path).write_text(f"{os.getpid()} {child.pid}")
    threading.Event().wait()


def raise_value_error(text: str) -> NoReturn:
    raise ValueError(text)


def eat_memory(size: int) -> int:
    return int(np.ones(size, dtype=np.uint8).sum())


def die(text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
    os.abort()


def litter(count: int) -> str:
    folder = Path(tempfile.mkdtemp())
    for index in range(count):
        (folder / f"left-{index}").write_text("x" * 1000)
    sys.stdout.write("and noise on standard output\n")
    return str(folder)
