"""The one adapter for numba in ``detectors``: kernels compiled once and kept on disk.

numba looks only at the file of a function to see whether what it kept is old, so the functions a
kernel calls live in the kernel's own file. There is no fast-math and no parallel reduction: the
same arrays give the same bits each time. A kernel lets go of the interpreter's lock.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

from core.kept import folder_to_keep

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}


@cache
def kept_in() -> Path | None:
    """Return where compiled kernels are kept; None: nowhere."""
    return folder_to_keep(Path(__file__).parent, "kernels")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled at its first call; later processes load it from the disk.

    Where nothing can be kept it is compiled in each process.
    """
    folder = kept_in()
    # The simulator's engine keeps its own elsewhere, by this same setting of the whole process.
    numba.config.CACHE_DIR = str(folder or "")  # type: ignore[attr-defined]
    made: Callable[P, R] = numba.njit(**_OPTIONS, cache=folder is not None)(function)
    return made
