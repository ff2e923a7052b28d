"""A world in a file: its tables as plain arrays, its scenario as JSON, and a checksum over all.

The file is an uncompressed ``.npz``, read without pickle, so a file from a stranger runs no code.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from sim.engine.tables import SCHEMA, Table, Tables

# Raised whenever a table's form changes: an older file is refused, not guessed at.
FORMAT = 1
_ABOUT = "about"
_TEXT = np.uint8


def write(path: Path, tables: Tables, about: Mapping[str, Any]) -> None:
    """Write tables and what belongs to them; a file that was there is replaced only at the end."""
    arrays = {name: np.ascontiguousarray(table) for name, table in tables._asdict().items()}
    text = json.dumps({**about, "format": FORMAT, "sha256": _digest(arrays)}, sort_keys=True)
    arrays[_ABOUT] = np.frombuffer(text.encode(), dtype=_TEXT)
    whole = io.BytesIO()
    np.savez(whole, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(whole.getvalue())
        part.replace(path)
    except OSError as error:
        raise InputError(
            f"saving a world to {path}: {error.strerror}; name a file in a folder that can be "
            "written to."
        ) from error


def read(path: Path) -> tuple[Tables, dict[str, Any]]:
    """Return the tables and what was written with them; InputError says what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InputError(f"loading a world: there is no file {path}.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"loading a world from {path}: it is no saved world, or a torn one ({error}); save the "
            "world again."
        ) from error
    about = _about(path, arrays)
    missing = [name for name in Tables._fields if name not in arrays]
    if missing or about.pop("sha256", "") != _digest(arrays):
        found = f"it lacks {', '.join(missing)}" if missing else "its checksum does not match"
        raise InputError(
            f"loading a world from {path}: {found}; the file was damaged. Save the world again."
        )
    tables = {name: arrays[name].astype(SCHEMA[name], copy=False) for name in Tables._fields}
    return Tables(**{name: table.view(SCHEMA[name]) for name, table in tables.items()}), about


def _about(path: Path, arrays: dict[str, Table]) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(bytes(arrays.pop(_ABOUT)).decode())
        found = about.pop("format")
    except (KeyError, ValueError) as error:
        raise InputError(
            f"loading a world from {path}: it is an array file, but no saved world; save one with "
            "World.save."
        ) from error
    if found != FORMAT:
        raise InputError(
            f"loading a world from {path}: it has format {found} and this version reads {FORMAT}; "
            "run its scenario and seed again instead: the same world comes of it."
        )
    return about


def _digest(arrays: Mapping[str, Table]) -> str:
    """Return a checksum of names, types and bytes."""
    total = hashlib.sha256()
    for name in Tables._fields:
        if name in arrays:
            table = arrays[name]
            total.update(f"{name} {table.dtype.descr} {table.shape}".encode())
            total.update(table.tobytes())
    return total.hexdigest()
