"""A world in a file: its tables as plain arrays, its scenario as JSON, and a checksum over all.

The file is an uncompressed ``.npz``, read without pickle, so a file from a stranger runs no code.
Its checksum, the archive's comment, is looked at first: nothing of a damaged file is used.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from sim.engine.tables import SCHEMA, Table, Tables

_ABOUT = "about"
_SUM_LETTERS = 64


def form() -> str:
    """Return a checksum of the tables' form: a file of another version is refused, not guessed."""
    rows = [f"{name} {kind.descr}" for name, kind in SCHEMA.items()]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


def write(path: Path, tables: Tables, about: Mapping[str, Any]) -> None:
    """Write tables and what belongs to them; a file that was there is replaced only at the end."""
    arrays = {name: _plain(table) for name, table in tables._asdict().items()}
    text = json.dumps({**about, "form": form()}, sort_keys=True)
    arrays[_ABOUT] = np.frombuffer(text.encode(), dtype=np.uint8)
    whole = io.BytesIO()
    np.savez(whole, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(sealed(whole.getvalue()))
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise InputError(
            f"saving a world to {path}: {error.strerror}; name a file in a folder that can be "
            "written to."
        ) from error


def _plain(table: Table) -> Table:
    """Return rows as bytes, 0 between their fields: the same world is the same file."""
    if table.dtype.names is None:
        return np.ascontiguousarray(table)
    clean = np.zeros(table.shape, dtype=table.dtype)
    for field in table.dtype.names:
        clean[field] = table[field]
    return clean.view(np.uint8)


def sealed(archive: bytes) -> bytes:
    """Return a ZIP archive that had no comment, with its checksum for one."""
    body = archive[:-2] + _SUM_LETTERS.to_bytes(2, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


def read(path: Path) -> tuple[Tables, dict[str, Any]]:
    """Return the tables and what was written with them; InputError says what is wrong with it."""
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"loading a world from {path}: {error.strerror}; name a file that World.save wrote."
        ) from error
    if whole != sealed(whole[:-_SUM_LETTERS]):
        raise InputError(
            f"loading a world from {path}: it is no saved world, or it was damaged: its checksum "
            "does not match; save the world again."
        )
    with np.load(io.BytesIO(whole), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = [name for name in (_ABOUT, *Tables._fields) if name not in arrays]
    if missing:
        raise InputError(
            f"loading a world from {path}: it lacks {', '.join(missing)}; it is no saved world. "
            "Name a file that World.save wrote."
        )
    about: dict[str, Any] = json.loads(bytes(arrays[_ABOUT]).decode())
    if about.pop("form") != form():
        raise InputError(
            f"loading a world from {path}: another version of the simulator saved it, with other "
            "tables; run its scenario and seed again instead."
        )
    return Tables(**{name: arrays[name].view(SCHEMA[name]) for name in Tables._fields}), about
