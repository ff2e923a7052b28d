"""Copy a checkpoint to a second place: whole or not at all, gone on with after an interruption."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from agent.checkpoints import manifest as manifests
from agent.checkpoints.found import Checkpoint
from agent.checkpoints.pace import Pace
from agent.checkpoints.places import PARTIAL, Copy, Place
from agent.launch.jobside.gpumedic_job import manifest as sealing
from agent.launch.jobside.gpumedic_job.manifest import BLOCK_BYTES, FileSum, Manifest
from core.errors import ActionFailed, InputError

_PIECE = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Kept:
    """Which copies to keep: the newest ``last``, and those whose step ``every`` divides; 0: none.

    The newest whole copy is never dropped.
    """

    last: int = 3
    every: int = 0


@dataclass(slots=True)
class Sending:
    """Sends checkpoints to a place at a pace; ``tell`` hears how many bytes have gone."""

    place: Place
    pace: Pace
    tell: Callable[[int], object] = lambda done: None
    _done: int = 0

    async def send(self, checkpoint: Checkpoint) -> Copy | None:
        """Copy a checkpoint that was found whole; None where the place has it already.

        InputError where it does not fit; ActionFailed where the place fails or the checkpoint
        changes meanwhile. Then what was sent stays, and the next call goes on with it.
        """
        path = Path(checkpoint.path)
        manifest = await asyncio.to_thread(_manifest_of, checkpoint, path)
        copies = await asyncio.to_thread(self.place.copies)
        before = next((each for each in copies if each.name == checkpoint.name), None)
        if before is not None and before.whole and before.manifest.files == manifest.files:
            return None
        await asyncio.to_thread(self._fits, manifest)
        folder = await asyncio.to_thread(sealing.folder_of, path)
        copy = Copy(checkpoint.name, manifest, folder=folder == path)
        partial = replace(copy, name=f"{PARTIAL}/{copy.name}")
        self._done = 0
        for file in manifest.files:
            await self._send_file(folder / file.path, partial.path(file.path), file)
        await asyncio.to_thread(self._finish, copy, before)
        return copy

    async def _send_file(self, source: Path, target: str, wanted: FileSum) -> None:
        """Send one file, from where an earlier try ended if that is still what the source has."""
        there = await asyncio.to_thread(self.place.size, target)
        start = there or 0
        if start and not await asyncio.to_thread(self._same, source, target, start, wanted.size):
            start = 0
        self._told(start)
        if there is not None and start == wanted.size:
            return
        out = await asyncio.to_thread(self.place.open, target, append=start > 0)
        try:
            with await asyncio.to_thread(source.open, "rb") as file:
                await self._send_blocks(file, out, start, wanted)
        finally:
            await asyncio.to_thread(self.place.close, out)

    async def _send_blocks(
        self, file: IO[bytes], out: IO[bytes], start: int, wanted: FileSum
    ) -> None:
        """Send a file from ``start`` on; ActionFailed where a block is not what was verified."""
        size = BLOCK_BYTES
        for number in range(start // size, len(wanted.sha256)):
            begin, end = max(start, number * size), min((number + 1) * size, wanted.size)
            await asyncio.to_thread(file.seek, number * size)
            before = await asyncio.to_thread(file.read, begin - number * size)
            if await self._send_span(file, out, end - begin, before) != wanted.sha256[number]:
                raise ActionFailed(
                    f"Copying {file.name}: bytes {begin:,} to {end:,} changed after they were "
                    "verified. Copy a checkpoint that nobody writes any more."
                )

    async def _send_span(self, file: IO[bytes], out: IO[bytes], left: int, before: bytes) -> str:
        """Send so many bytes; return the SHA-256 of a block that begins with ``before``."""
        found = hashlib.sha256(before)
        while left:
            size = min(self.pace.piece(_PIECE), left)
            await self.pace.spend(size)
            piece = await asyncio.to_thread(file.read, size)
            if not piece:
                break
            found.update(piece)
            await asyncio.to_thread(self.place.write, out, piece)
            left -= len(piece)
            self._told(len(piece))
        return found.hexdigest()

    def _same(self, source: Path, target: str, size: int, wanted: int) -> bool:
        """Say whether what an earlier try sent is the beginning of the source."""
        if size > wanted:
            return False
        with source.open("rb") as file:
            for at in range(0, size, _PIECE):
                end = min(at + _PIECE, size)
                if self.place.read(target, at, end) != file.read(end - at):
                    return False
        return True

    def _fits(self, manifest: Manifest) -> None:
        """Refuse to begin what a folder's disk has no room for, or a store no bucket."""
        if self.place.local is None:
            self.place.see_bucket()
            return
        try:
            self.place.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Copying to {self.place.url}: it cannot be made ({error.strerror}). Name a folder "
                "that this user may write to."
            ) from None
        sent = sum(self.place.partial().values())
        room(self.place.local, manifest.size_bytes - sent)

    def _finish(self, copy: Copy, before: Copy | None) -> None:
        """Give a copy its name, and its manifest last."""
        partial = f"{PARTIAL}/{copy.name}"
        wanted = {f"{PARTIAL}/{copy.path(each.path)}" for each in copy.manifest.files}
        for path in self.place.partial():
            if path.startswith(f"{partial}/") and path not in wanted:
                self.place.remove(path)  # of a try with another checkpoint of that name
        if before is not None:
            self.place.drop(before)
        self.place.remove(copy.name)
        self.place.move(partial, copy.name)
        self.place.write_manifest(copy)
        found = next((each for each in self.place.copies() if each.name == copy.name), None)
        if found is None or not found.whole:
            lost = found.missing[0] if found else "its manifest"
            raise ActionFailed(
                f"Copying {copy.name} to {self.place.url}: {lost} is not there as it was sent. "
                "Another program may write to that place: give this one a folder of its own."
            )

    def _told(self, size: int) -> None:
        self._done += size
        self.tell(self._done)


async def check(place: Place, copy: Copy, pace: Pace) -> tuple[str, ...]:
    """Read a copy back; return each file that is not what its manifest was made of."""
    wrong = []
    for file in copy.manifest.files:
        path = copy.path(file.path)
        for number, wanted in enumerate(file.sha256):
            if await _digest(place, path, number, copy.manifest.block_bytes, pace) != wanted:
                wrong.append(file.path)
                break
    return tuple(wrong)


async def _digest(place: Place, path: str, number: int, block: int, pace: Pace) -> str:
    found = hashlib.sha256()
    for at in range(number * block, (number + 1) * block, _PIECE):
        piece = await asyncio.to_thread(
            place.read, path, at, min(at + _PIECE, (number + 1) * block)
        )
        await pace.spend(len(piece))
        found.update(piece)
        if len(piece) < _PIECE:
            break
    return found.hexdigest()


def dropped(copies: Sequence[Copy], keep: Kept) -> tuple[Copy, ...]:
    """Return the copies that are not to be kept; ``copies``: the newest first."""
    whole = [each for each in copies if each.whole]
    kept = {each.name for each in whole[: max(1, keep.last)]}
    if keep.every:
        steps = {each.name: each.manifest.step for each in whole}
        kept |= {
            name for name, step in steps.items() if step is not None and step % keep.every == 0
        }
    return tuple(each for each in whole if each.name not in kept)


def prune(place: Place, keep: Kept) -> tuple[Copy, ...]:
    """Drop the copies that are not to be kept, and return them; half copies go as well.

    To be called after a copy was made: what is half there then is of an older one.
    """
    gone = dropped(place.copies(), keep)
    for each in gone:
        place.drop(each)
    place.remove(PARTIAL)
    return gone


def room(folder: Path, wanted: int) -> None:
    """Refuse what a disk has no room for; InputError says how much is there."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"Copying {wanted:,} bytes to {folder}: only {free:,} are free there. Make room, keep "
            "fewer copies (--keep), or name another place."
        )


def _manifest_of(checkpoint: Checkpoint, path: Path) -> Manifest:
    """Return the checkpoint's own manifest, else one made now."""
    try:
        own = manifests.read(path) if checkpoint.sealed else None
    except InputError:
        own = None
    if own is not None and own.block_bytes == BLOCK_BYTES:
        return own
    saved = sealing.Saved(checkpoint.saved_s, checkpoint.step)
    return sealing.measure(path, saved, form=checkpoint.format)
