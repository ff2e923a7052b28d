"""The one adapter for numba: functions over flat tables, compiled once and kept on disk.

Compiled code does what the same Python would do (no fast-math, no parallel reductions), so
``NUMBA_DISABLE_JIT=1`` runs the simulator interpreted, for a debugger or a coverage report.

numba looks only at the file of a function to see whether what it kept is old, not at those of the
functions it calls. So what is kept stands in a folder named after all of the engine's source.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy"}
_UNCOUNTED = _OPTIONS | {"_nrt": False}


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept, best first: beside the source, this user's, any."""
    yield Path(__file__).parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpumedic"
    yield Path(tempfile.gettempdir()) / f"gpumedic-{os.getuid()}"


def _keep_by_source() -> None:
    """Tell numba where to keep what it compiles: a folder for this very source."""
    source = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source.update(path.read_bytes())
    for folder in _folders():
        kept = folder / f"engine-{source.hexdigest()[:12]}"
        try:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(kept, os.W_OK) and kept.stat().st_uid == os.getuid():
            numba.config.CACHE_DIR = str(kept)
            return


_keep_by_source()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled at its first call; later processes load it from the cache.

    It must not make arrays, lists or sets (test membership in tuples): numba's reference counts
    are left out. With them a call counts each of the tables up and down, which takes 0.35 us:
    measured, a one-GPU job's ``scaling.pace`` is 60 ns without and 740 ns with them.
    """
    made: Callable[P, R] = numba.njit(**_UNCOUNTED)(function)
    return made


def compiled_with_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Return the same of a function that makes arrays, or calls one that does."""
    made: Callable[P, R] = numba.njit(**_OPTIONS)(function)
    return made
