"""Load a checkpoint with torch, weights only: what says that a job could; in a worker process."""

from pathlib import Path
from typing import IO, cast

import torch

from agent.checkpoints.discovery import own_files
from agent.checkpoints.distributed import SUFFIX, is_index, parts_of
from agent.checkpoints.torch_files import LEGACY_MAGIC, Part, is_torch_file
from agent.launch.jobside.gpumedic_job.manifest import folder_of


def loaded(checkpoint: str) -> str:
    """Load every file and part that torch wrote; "" where all load, else the first that does not.

    Zips are mapped and not read through: their contents are held against checksums elsewhere.
    """
    path = Path(checkpoint)
    folder = folder_of(path)
    for name in own_files(path):
        if name.endswith(SUFFIX):
            continue  # its parts are loaded by their index
        if is_index(Path(name).name):
            found = _load_parts(folder / name)
        elif is_torch_file(folder / name):
            found = _load(folder / name)
        else:
            continue
        if found:
            return f"{name}: {found}"
    return ""


def _load(path: Path) -> str:
    with path.open("rb") as file:
        old = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=not old)
    except Exception as error:
        return _first_line(error)
    return ""


def _load_parts(index: Path) -> str:
    parts, trouble = parts_of(index)
    if trouble is not None:
        return trouble.text
    for part in parts:
        if not part.plain:
            continue
        with (index.parent / part.file).open("rb") as file:
            stored = cast(IO[bytes], Part(file, part.start, part.size))
            try:
                torch.load(stored, map_location="cpu", weights_only=True)
            except Exception as error:
                return f"{part.name}: {_first_line(error)}"
    return ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
