"""The one adapter for numba: functions over flat tables, compiled once and kept on disk.

Compiled code does what the same Python would do (no fast-math, no parallel reductions), so
``NUMBA_DISABLE_JIT=1`` runs the simulator interpreted, for a debugger or a coverage report.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled at its first call; later processes load it from the cache."""
    made: Callable[P, R] = numba.njit(cache=True, error_model="numpy")(function)
    return made
