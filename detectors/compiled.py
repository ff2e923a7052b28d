"""The one adapter for numba in ``detectors``: kernels compiled once and kept on disk.

numba looks only at the file of a function to see whether what it kept is old, so the functions a
kernel calls live in the kernel's own file. There is no fast-math and no parallel reduction: the
same arrays give the same bits each time. A kernel lets go of the interpreter's lock.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "nogil": True}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled at its first call; later processes load it from the cache."""
    # The simulator's engine keeps its own elsewhere, by a setting that is the process's.
    numba.config.CACHE_DIR = ""  # type: ignore[attr-defined]
    made: Callable[P, R] = numba.njit(**_OPTIONS)(function)
    return made
