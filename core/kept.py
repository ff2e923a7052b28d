"""Where code that was compiled once is kept, so that later processes need not compile it again."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def folder_to_keep(beside: Path, name: str) -> Path | None:
    """Return a folder of this user's that can be written, made if it was not there; None: nowhere.

    beside: the folder of the source; tried first, as it goes where the installation goes. A service
    whose installation and home are read-only keeps its own under the folder for temporary files.
    Code is run from there, so a folder that belongs to somebody else is passed over.
    """
    for base in _bases(beside):
        folder = base / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = folder.stat().st_uid
        except OSError:
            continue
        if owner == os.getuid() and os.access(folder, os.W_OK):
            return folder
    return None


def _bases(beside: Path) -> Iterator[Path]:
    """Yield where compiled code may be kept, best first: beside the source, this user's, any."""
    yield beside / "__pycache__"
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache or "HOME" in os.environ:
        yield Path(cache or Path.home() / ".cache") / "gpumedic"
    yield Path(tempfile.gettempdir()) / f"gpumedic-{os.getuid()}"
