"""What tests of the worker pool run in a worker: it must be importable by a spawned process."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

import numpy as np

from core.choice import Choice
from remediation.deciding.chooser import Seen, Thought


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


def nothing(_: object) -> None:
    """Stand for a process that is ready at once."""


def swap(asked: tuple[str, float, Seen]) -> Thought:
    """Choose the swap, whatever is asked."""
    return Thought(Choice.SWAP, "quick", "1")


def hang_first(asked: tuple[str, float, Seen]) -> Thought:
    """Note the process id in the file that is named like the policy and hang, but once."""
    note = Path(asked[0])
    if not note.exists():
        note.write_text(str(os.getpid()))
        threading.Event().wait()
    return swap(asked)


def break_down(asked: tuple[str, float, Seen]) -> Thought:
    raise ValueError("nobody foresaw this")
