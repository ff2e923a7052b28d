"""The one adapter for numba: functions over flat tables, compiled once and kept on disk.

``NUMBA_DISABLE_JIT=1`` runs the simulator interpreted, for a debugger or a coverage report: the
same events at the same times but for the last digits, as numpy keeps a 32-bit field times a float
at 32 bits and compiled code does not. There is no fast-math and no parallel reduction.

numba looks only at the file of a function to see whether what it kept is old, not at those of the
functions it calls. So a module's compiled code stands in a folder named after its source and that
of all it imports of ours.
"""

import hashlib
import re
import shutil
from collections.abc import Callable
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numba
from numba.core import types
from numba.core.sigutils import normalize_signature

from core.kept import folder_to_keep
from sim.engine import handle
from sim.engine.tables import Tables

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy"}
_UNCOUNTED = _OPTIONS | {"_nrt": False}
_KEPT = 4  # sources of a module: a process that runs an older one may still load from it
_ENGINE = Path(__file__).parent
# As they were when this process began to import them: whoever edits one while it still does must
# not find code of the older under the checksum of the newer.
_TEXTS = {
    f"sim.engine.{path.stem}": path.read_text(encoding="utf-8") for path in _ENGINE.glob("*.py")
}
_IMPORTS = re.compile(
    r"^from ((?:core|remediation|sim)[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE
)


@cache
def _source(module: str) -> bytes:
    """Return a checksum of a module of ours and of those it imports; b"": it is none."""
    path = _ENGINE.parents[1] / f"{module.replace('.', '/')}.py"
    if module not in _TEXTS and not path.is_file():
        return b""
    text = _TEXTS.get(module) or path.read_text(encoding="utf-8")
    total = hashlib.sha256(text.encode())
    for imported, names in _IMPORTS.findall(text):
        total.update(_source(imported))
        for name in re.findall(r"\w+", names):
            total.update(_source(f"{imported}.{name}"))
    return total.digest()


def _forget_old(folder: Path, module: str) -> None:
    """Remove what was compiled of a module's older sources, but for the newest few."""
    kept = sorted(folder.glob(f"{module}-*"), key=lambda path: path.stat().st_mtime)
    for path in kept[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _kept_as(module: str) -> str:
    """Name the folder for a module of ours as its source is now."""
    return f"{module.rpartition('.')[2]}-{_source(module).hex()[:12]}"


def is_kept(module: str) -> bool:
    """Say whether a module of ours has been compiled, as its source is now."""
    folder = folder_to_keep(_ENGINE, _kept_as(module))
    return folder is not None and any(folder.glob("*/*.nbi"))


def _keep_by_source(function: Callable[..., Any]) -> None:
    """Tell numba where to keep what it compiles: a folder for this very source."""
    module = function.__module__
    folder = folder_to_keep(_ENGINE, _kept_as(module))
    if folder is not None:
        _forget_old(folder.parent, module.rpartition(".")[2])
        numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled at its first call; later processes load it from the cache.

    It must not make arrays, lists or sets (test membership in tuples): numba's reference counts
    are left out. With them a call counts each of the tables up and down, which takes 0.35 us:
    measured, a one-GPU job's ``scaling.pace`` is 60 ns without and 740 ns with them.
    """
    _keep_by_source(function)
    return _as_hinted(numba.njit(**_UNCOUNTED)(function), function)


def compiled_with_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Return the same of a function that makes arrays, or calls one that does."""
    _keep_by_source(function)
    return _as_hinted(numba.njit(**_OPTIONS)(function), function)


_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean, Tables: handle.TABLES}


def _as_hinted(made: Any, function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function once, for the numbers its hints name: an i2 field is passed as an int.

    numba compiles a function anew for every width of number that it is called with, and for every
    enum: for this engine three times as much code.
    """
    if made is not function:
        hints = get_type_hints(function)
        wanted = [_NUMBERS.get(hints[name]) for name in signature(function).parameters]
        exactly = made.compile

        def compile_as_hinted(asked: Any) -> Any:
            given, _ = normalize_signature(asked)
            return exactly(tuple(own or other for own, other in zip(wanted, given, strict=True)))

        made.compile = compile_as_hinted
    as_before: Callable[P, R] = made
    return as_before
