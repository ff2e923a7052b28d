"""Find the checkpoints below a folder: each is a file or a whole folder."""

import errno
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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


# A network's file system says "stale" of a folder that another machine has removed.
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
# DeepSpeed's: it names the folder that holds the newest state.
_LATEST = "latest"


@dataclass(slots=True)
class Walk:
    """Yields the checkpoints below ``root``, and counts the files that are none.

    only:  these paths alone, and no folder that none of them lies in; None for all
    ahead: hears of each folder before it is looked at, and how many names it has
    """

    root: Path
    only: Collection[Path] | None = None
    ahead: Callable[[str, int], object] = lambda what, files: None
    passed_over: int = 0

    def candidates(self) -> Iterator[Path]:
        """Yield what is one checkpoint; OSError where the root itself cannot be read."""
        if not self.root.is_dir():
            self.root.stat()
            if self._wanted(self.root):
                yield self.root
            return
        yield from self._visit(self.root, 0)

    def _visit(self, folder: Path, depth: int) -> Iterator[Path]:
        self.ahead(str(folder), 0)
        files, folders = entries(folder)
        self.ahead(str(folder), len(files) + len(folders))
        if _is_one(folder, files, folders):
            if self._wanted(folder):
                yield folder
            folders = checkpoints_within(folder, files, folders)
        else:
            yield from self._files(folder, files)
        if depth < MAX_DEPTH:
            for name in folders:
                if self._on_the_way(folder / name):
                    yield from self._below(folder / name, depth + 1)

    def _files(self, folder: Path, files: Sequence[str]) -> Iterator[Path]:
        for name in files:
            path = folder / name
            if not self._wanted(path):
                continue
            if _may_be_one(path):
                yield path
            elif not is_manifest(name):
                self.passed_over += 1

    def _below(self, folder: Path, depth: int) -> Iterator[Path]:
        """Visit a folder; one that went meanwhile is none, one that cannot be read hides no other.

        What only another user may read is told of where its name is a checkpoint's.
        """
        try:
            yield from self._visit(folder, depth)
        except PermissionError:
            if names_a_step(folder.name) and self._wanted(folder):
                yield folder
        except OSError as error:
            if error.errno not in GONE and self._wanted(folder):
                yield folder

    def _wanted(self, path: Path) -> bool:
        return self.only is None or path in self.only

    def _on_the_way(self, folder: Path) -> bool:
        return self.only is None or any(each.is_relative_to(folder) for each in self.only)


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
            elif _is_file(entry) and not _links_beside(entry):
                files.append(entry.name)
    return sorted(files), sorted(folders)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Say whether it is a file; a link that leads in a circle, or where nobody may go, is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _links_beside(entry: os.DirEntry[str]) -> bool:
    """Say whether a file is a link to another of the same folder, as ``last.ckpt`` often is."""
    try:
        return entry.is_symlink() and os.sep not in str(Path(entry.path).readlink())
    except OSError:  # it went meanwhile, or is no link any more
        return False


def own_files(checkpoint: Path) -> tuple[str, ...]:
    """Return a checkpoint's files, below its folder, less those of other checkpoints in there.

    OSError where one of its folders cannot be read; of a single file its own name.
    """
    if not checkpoint.is_dir():
        return (checkpoint.name,)
    others = checkpoints_within(checkpoint, *entries(checkpoint))
    return tuple(sorted(_files_below(checkpoint, "", others)))


def _files_below(folder: Path, prefix: str, others: Collection[str]) -> Iterator[str]:
    with os.scandir(folder) as found:
        inside = list(found)
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in others:
                with suppress(FileNotFoundError):  # it went meanwhile
                    yield from _files_below(folder / entry.name, f"{prefix}{entry.name}/", ())
        elif not is_manifest(entry.name) and _is_file(entry):
            yield prefix + entry.name


def checkpoints_within(folder: Path, files: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Return which folders in that of a checkpoint are checkpoints too, and no parts of it.

    A final model is often saved beside the ``checkpoint-500`` of its run. In a ``checkpoint-500``
    DeepSpeed's ``global_step500`` is a part: of the same step, or the one that ``latest`` names.
    """
    if not _holds_one(files):
        return []
    parts = {_latest(folder)} if _LATEST in files else set()
    own = step_in_name(folder.name)
    return [
        name
        for name in folders
        if names_a_step(name)
        and name not in parts
        and (own is None or step_in_name(name) != own)
        and _is_one_there(folder / name)
    ]


def _holds_one(files: Sequence[str]) -> bool:
    """Say whether files of these names are a checkpoint, without what lies in folders below."""
    return _says_so(files) or any(name.endswith(_KNOWN) for name in files)


def _latest(folder: Path) -> str:
    try:
        with (folder / _LATEST).open("rb") as file:
            return file.read(256).decode(errors="replace").strip()
    except OSError:
        return ""


def _is_one_there(folder: Path) -> bool:
    """Say whether a folder is one checkpoint; one that cannot be read is as its name says."""
    try:
        return _is_one(folder, *entries(folder))
    except OSError as error:
        return error.errno not in GONE and names_a_step(folder.name)


def _is_one(folder: Path, files: Sequence[str], folders: Sequence[str]) -> bool:
    """Say whether a folder is one checkpoint and not a collection of them."""
    if _says_so(files):
        return True
    if not names_a_step(folder.name):
        return False
    own = step_in_name(folder.name)
    if own is None and not any(name.endswith(_KNOWN) for name in files):
        return any(_is_one_there(folder / name) for name in folders)
    within = [*folders, *(name for name in files if name.endswith(_KNOWN))]
    others = {step for name in within if (step := step_in_name(name)) is not None}
    return not others - {own} or has_config(files)


def _says_so(files: Sequence[str]) -> bool:
    return OF_FOLDER in files or is_distributed(files) or is_hugging_face(files)


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
