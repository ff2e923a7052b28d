"""Bring a checkpoint back from a second place: verified, and never over a newer valid one."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from agent.checkpoints import manifest as manifests
from agent.checkpoints.backup import room
from agent.checkpoints.discovery import own_files
from agent.checkpoints.found import Checkpoint, Listing
from agent.checkpoints.pace import Pace
from agent.checkpoints.places import Copy, Place
from agent.launch.jobside.gpumedic_job import manifest as sealing
from agent.launch.jobside.gpumedic_job.manifest import FileSum
from core.errors import ActionFailed, ActionRefused, InputError

_PIECE = 4 * 2**20
_HALF = ".gpumedic-restoring"
DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.

    done:  no where the checkpoint was there already
    aside: where what had its name before is now
    """

    copy: Copy
    path: Path
    done: bool
    aside: Path | None = None


def chosen(place: Place, name: str | None) -> Copy:
    """Return the copy of that name, or the newest whole one; InputError says what there is."""
    place.see_folder()
    copies = place.copies()
    if name is not None:
        found = next((each for each in copies if each.name == name), None)
        if found is None:
            near = get_close_matches(name, [each.name for each in copies], n=1, cutoff=0.0)
            there = f"the nearest is {near[0]}" if near else "there is none at all"
            raise InputError(
                f"Looking for a copy of {name} at {place.url}: it is not there; {there}. "
                "`gpumedic checkpoints copies` shows all."
            )
    else:
        found = next((each for each in copies if each.whole), None)
        if found is None:
            halves = len(place.partial())
            more = f", {halves} files of copies that were not finished" if halves else ""
            raise InputError(
                f"Looking for a copy at {place.url}: none is whole ({len(copies)} with files "
                f"missing{more}). Make one with `gpumedic checkpoints backup DIR --to {place.url}`."
            )
    if not found.whole:
        raise InputError(
            f"Bringing {found.name} back from {place.url}: {len(found.missing)} of its files are "
            f"missing or short, {found.missing[0]} the first. Choose another copy."
        )
    return found


def refuse_older(copy: Copy, here: Listing) -> None:
    """Refuse to bring back what is older than a valid checkpoint that is there; ActionRefused."""
    newer = next((each for each in here.checkpoints if each.valid and _newer(each, copy)), None)
    if newer is not None:
        step = "" if newer.step is None else f" of step {newer.step}"
        raise ActionRefused(
            "newer_checkpoint",
            f"Not bringing {copy.name} back to {here.folder}: {newer.name}{step} is there, valid "
            "and newer.",
            "Go back to that one, or say --anyway: what has the copy's name is then put aside.",
        )


def _newer(here: Checkpoint, copy: Copy) -> bool:
    there = copy.manifest
    if here.fence is not None and there.fence is not None and here.fence != there.fence:
        return here.fence > there.fence
    if here.step is not None and there.step is not None and here.step != there.step:
        return here.step > there.step
    return here.saved_s > there.saved_s


@dataclass(slots=True)
class Fetching:
    """Fetches copies at a pace; ``tell`` hears how many bytes have come."""

    place: Place
    pace: Pace
    tell: Callable[[int], object] = lambda done: None
    _done: int = 0

    async def fetch(self, copy: Copy, root: Path) -> Restored:
        """Put a copy below ``root`` under its name, every byte held against its manifest.

        What has that name now is kept under another. ActionFailed where the copy is damaged or the
        disk fails: then nothing was changed.
        """
        path = root / copy.name
        half = root / _HALF / copy.name
        await asyncio.to_thread(shutil.rmtree, root / _HALF, ignore_errors=True)
        await asyncio.to_thread(_make_room, half.parent, copy.manifest.size_bytes)
        self._done = 0
        try:
            for file in copy.manifest.files:
                target = half / file.path if copy.folder else half
                await self._fetch_file(copy, file, target)
            aside = await asyncio.to_thread(_into_place, copy, half, path)
        finally:
            await asyncio.to_thread(shutil.rmtree, root / _HALF, ignore_errors=True)
        return Restored(copy, path, done=True, aside=aside)

    async def _fetch_file(self, copy: Copy, file: FileSum, target: Path) -> None:
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        block = copy.manifest.block_bytes
        try:
            with await asyncio.to_thread(target.open, "wb") as out:
                for number, wanted in enumerate(file.sha256):
                    begin, end = number * block, min((number + 1) * block, file.size)
                    found = hashlib.sha256()
                    size = self.pace.piece(_PIECE)
                    for at in range(begin, end, size):
                        piece = await self._piece(copy.path(file.path), at, min(at + size, end))
                        found.update(piece)
                        await asyncio.to_thread(out.write, piece)
                    if found.hexdigest() != wanted:
                        raise ActionFailed(
                            f"Bringing {copy.name} back from {self.place.url}: bytes {begin:,} to "
                            f"{end:,} of {file.path} are damaged in the copy. Choose another copy; "
                            "nothing was changed here."
                        )
                await asyncio.to_thread(out.flush)
                await asyncio.to_thread(os.fsync, out.fileno())
        except OSError as error:
            raise ActionFailed(
                f"Bringing {copy.name} back: writing {target} failed: {error.strerror}. Make room "
                "and let this user write there; nothing was changed."
            ) from error

    async def _piece(self, path: str, begin: int, end: int) -> bytes:
        await self.pace.spend(end - begin)
        piece = await asyncio.to_thread(self.place.read, path, begin, end)
        self._done += len(piece)
        self.tell(self._done)
        return piece


def is_it(path: Path, copy: Copy) -> bool:
    """Say whether what is there is what the copy is of."""
    folder = sealing.folder_of(path)
    if manifests.misfits(copy.manifest, folder):
        return False
    return not manifests.flips(copy.manifest, folder)


def _make_room(folder: Path, size_bytes: int) -> None:
    """Make a folder for so many bytes; InputError says why there can be none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Bringing a copy back to {folder.parent}: it cannot be written to ({error.strerror}). "
            "Name a folder that this user may write to, or one to be made."
        ) from None
    room(folder, size_bytes)


def _into_place(copy: Copy, half: Path, path: Path) -> Path | None:
    """Give what was fetched its name; return where what had it before is now."""
    aside = _put_aside(path) if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():  # other checkpoints lie below its name
        _rename_each(half, path, [each.path for each in copy.manifest.files])
    else:
        half.rename(path)
    sealing.sync(path)
    sealing.write(path, copy.manifest)
    return aside


def _put_aside(path: Path) -> Path | None:
    """Rename a checkpoint, with its manifest, to what no list takes for one; return that.

    Other checkpoints below it stay where they are; None where there is nothing but those.
    """
    aside, manifest = _free_name(path), sealing.manifest_path(path)
    try:
        own = own_files(path)
    except OSError:  # a folder of it cannot be read: then all of it goes
        own = sealing.files_of(path)
    if path.is_dir() and len(own) < len(sealing.files_of(path)):
        _rename_each(path, aside, [*([manifest.name] if manifest.exists() else []), *own])
        return aside if aside.exists() else None
    beside = manifest.exists() and not path.is_dir()
    path.rename(aside)
    if beside:
        manifest.rename(sealing.manifest_path(aside))
    return aside


def _rename_each(folder: Path, to: Path, names: Sequence[str]) -> None:
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(to / name)


def _free_name(path: Path) -> Path:
    """Return a name for a damaged checkpoint that no list takes for one, and nothing has."""
    number = 0
    while True:
        name = f".{path.name}{DAMAGED}{f'-{number}' if number else ''}"
        if not path.with_name(name).exists():
            return path.with_name(name)
        number += 1
