"""Find the checkpoints below a folder: each is a file or a whole folder."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.checkpoints.distributed import is_distributed
from agent.checkpoints.folders import has_config, is_hugging_face
from agent.checkpoints.names import (
    MAYBE_SUFFIXES,
    SAFETENSORS_SUFFIX,
    TORCH_SUFFIXES,
    names_a_step,
    step_in_name,
    unfinished,
)
from agent.checkpoints.torch_files import is_torch_file
from agent.launch.jobside.gpumedic_job.manifest import OF_FOLDER, is_manifest

MAX_DEPTH = 6
_KNOWN = (*TORCH_SUFFIXES, SAFETENSORS_SUFFIX)


@dataclass(slots=True)
class Walk:
    """Yields the checkpoints below ``root``, and counts the files that are none."""

    root: Path
    passed_over: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def candidates(self) -> Iterator[Path]:
        """Yield what is one checkpoint; OSError where the root itself cannot be read."""
        if not self.root.is_dir():
            self.root.stat()
            yield self.root
            return
        yield from self._visit(self.root, 0)

    def _visit(self, folder: Path, depth: int) -> Iterator[Path]:
        files, folders = entries(folder)
        if _is_one(folder, files, folders):
            yield folder
            return
        for name in files:
            if _may_be_one(folder / name):
                yield folder / name
            elif not is_manifest(name):
                self.passed_over += 1
        if depth < MAX_DEPTH:
            for name in folders:
                try:
                    yield from self._visit(folder / name, depth + 1)
                except PermissionError:
                    if names_a_step(name):
                        yield folder / name


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of a folder's files and of its folders, sorted.

    Links to folders are not followed: ``latest`` would show a checkpoint twice. Hidden folders
    belong to somebody else, or are copies of ours that are not whole.
    """
    files, folders = [], []
    with os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    folders.append(entry.name)
            elif entry.is_file() and not _links_beside(entry):
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _links_beside(entry: os.DirEntry[str]) -> bool:
    """Say whether a file is a link to another of the same folder, as ``last.ckpt`` often is."""
    return entry.is_symlink() and os.sep not in str(Path(entry.path).readlink())


def _is_one(folder: Path, files: Sequence[str], folders: Sequence[str]) -> bool:
    """Say whether a folder is one checkpoint and not a collection of them."""
    if OF_FOLDER in files or is_distributed(files) or is_hugging_face(files):
        return True
    if not names_a_step(folder.name):
        return False
    own = step_in_name(folder.name)
    if own is None and not any(name.endswith(_KNOWN) for name in files):
        return any(_is_one(folder / name, *entries(folder / name)) for name in folders)
    within = [*folders, *(name for name in files if name.endswith(_KNOWN))]
    others = {step for name in within if (step := step_in_name(name)) is not None}
    return not others - {own} or has_config(files)


def _may_be_one(path: Path) -> bool:
    name = path.name
    if is_manifest(name) or name.startswith("."):
        return False
    if name.endswith(_KNOWN):
        return True
    if unfinished(name):
        return any(suffix in name for suffix in _KNOWN) or is_torch_file(path)
    if name.endswith(MAYBE_SUFFIXES) or not path.suffix or step_in_name(name) is not None:
        return is_torch_file(path)
    return False
