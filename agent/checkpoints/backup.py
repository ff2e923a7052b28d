"""Copy a checkpoint to a second place: whole or not at all, gone on with after an interruption."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from agent.checkpoints.discovery import own_files
from agent.checkpoints.found import Checkpoint, said
from agent.checkpoints.manifest import flips, misfits, read
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


class SourceDamaged(ActionFailed):
    """A checkpoint is not what its copy was made of, and was not saved again since."""


@dataclass(slots=True)
class Sending:
    """Sends checkpoints to a place at a pace; ``tell`` hears how many bytes have gone.

    read_back: read each new copy back before it takes the place of an older one
    """

    place: Place
    pace: Pace
    read_back: bool = False
    tell: Callable[[int], object] = lambda done: None
    _done: int = 0

    async def send(self, checkpoint: Checkpoint, *, held: bool = False) -> Copy | None:
        """Copy a checkpoint that was found whole; None where the place has it already.

        held: as it was read it has been held against its copy before: only see that one is there

        InputError where it does not fit; ActionFailed where the place fails or the checkpoint
        changes meanwhile. Then what was sent stays, and the next call goes on with it.
        SourceDamaged: the copy that is there stays.
        """
        path = Path(checkpoint.path)
        there = await asyncio.to_thread(self._there, checkpoint.name)
        if there is not None and held:
            return None
        manifest = await asyncio.to_thread(_own_manifest, checkpoint, path)
        if there is not None and await asyncio.to_thread(self._has, there, checkpoint, manifest):
            return None
        if manifest is None:
            manifest = await asyncio.to_thread(_measured, checkpoint, path)
        if there is not None and there.manifest.files == manifest.files:
            return None
        await asyncio.to_thread(self._fits, manifest)
        folder = await asyncio.to_thread(sealing.folder_of, path)
        copy = Copy(checkpoint.name, manifest, folder=folder == path, pending=True)
        await asyncio.to_thread(self._clear, copy)
        self._done = 0
        for file in manifest.files:
            await self._send_file(folder / file.path, copy.path(file.path), file)
        await self._finish(copy)
        return replace(copy, pending=False)

    def _there(self, name: str) -> Copy | None:
        """Return the whole copy of that name; one that an earlier call left pending is settled."""
        copies = self.place.copies()
        for each in copies:
            if each.pending:
                self.place.settle(each)
        found = next((each for each in copies if each.name == name and each.whole), None)
        return None if found is None else replace(found, pending=False)

    def _has(self, there: Copy, checkpoint: Checkpoint, own: Manifest | None) -> bool:
        """Say whether a copy is of what was saved last; SourceDamaged where the source is not.

        With the time at which it was saved the copy's manifest is the source's as well, if not the
        older word: what was measured or sealed later may have rotted before.
        """
        if own is not None and own.files == there.manifest.files:
            return True
        if checkpoint.saved_s != there.manifest.saved_s:
            return False
        folder = sealing.folder_of(Path(checkpoint.path))
        wrong = misfits(there.manifest, folder) or flips(there.manifest, folder)
        if wrong:
            raise SourceDamaged(
                f"Copying {checkpoint.path}: the source is damaged. It was not saved again since "
                f"it was copied to {self.place.url}, and {said(wrong, most=1)}. The copy was kept: "
                "bring it back with `gpumedic checkpoints restore`, or, if the source was changed "
                "on purpose, touch it and copy it again."
            )
        return checkpoint.size_bytes == there.manifest.size_bytes

    async def _send_file(self, source: Path, target: str, wanted: FileSum) -> None:
        """Send one file, from where an earlier try ended if what that has sent is right.

        ActionFailed where the source is not what was verified: then nothing of it stays.
        """
        begun = await self._begun(source, target, wanted)
        self._told(begun or 0)
        if begun == wanted.size:
            return
        start = begun or 0
        out = await asyncio.to_thread(self.place.open, target, append=start > 0)
        try:
            with await asyncio.to_thread(source.open, "rb") as file:
                changed = await self._send_blocks(file, (target, out), start, wanted)
        finally:
            await asyncio.to_thread(self.place.close, out)
        if changed:
            await asyncio.to_thread(self.place.remove, target)
            raise ActionFailed(
                f"Copying {source}: {changed} changed after they were verified. Copy a checkpoint "
                "that nobody writes any more."
            )

    async def _begun(self, source: Path, target: str, wanted: FileSum) -> int | None:
        """Return how much is there of a file, if it can be gone on with: else None.

        Each block that is all there must fit; what is there of the next, be as in the source.
        """
        size = await asyncio.to_thread(self.place.size, target)
        if size is None or size > wanted.size:
            return None
        if size < wanted.size and not self.place.can_add_to(size):
            return None
        for number, sha256 in enumerate(wanted.sha256):
            begin, end = number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, wanted.size)
            if begin >= size:
                break
            if end <= size:
                if await _digest(self.place, target, begin, end, self.pace) != sha256:
                    return None
            elif not await asyncio.to_thread(self._same, source, target, begin, size):
                return None
        return size

    def _same(self, source: Path, target: str, begin: int, end: int) -> bool:
        """Say whether these bytes are what the source has there."""
        with source.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin) == self.place.read(target, begin, end)

    async def _send_blocks(
        self, file: IO[bytes], to: tuple[str, IO[bytes]], start: int, wanted: FileSum
    ) -> str:
        """Send a file from ``start`` on; return which bytes are not what was verified, "" for none.

        to: where the beginning is already, and where the rest goes
        """
        target, out = to
        await asyncio.to_thread(file.seek, start)
        for number in range(start // BLOCK_BYTES, len(wanted.sha256)):
            first, end = number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, wanted.size)
            begin, before = max(start, first), b""
            if begin > first:
                before = await asyncio.to_thread(self.place.read, target, first, begin)
            if await self._send_span(file, out, end - begin, before) != wanted.sha256[number]:
                return f"bytes {begin:,} to {end:,}"
        return ""

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

    def _clear(self, copy: Copy) -> None:
        """Remove what a try with another checkpoint of that name has left."""
        wanted = {copy.path(each.path) for each in copy.manifest.files}
        for path in self.place.partial():
            mine = path == copy.manifest_at or path.startswith(f"{copy.at}/")
            if mine and path not in wanted:
                self.place.remove(path)

    async def _finish(self, copy: Copy) -> None:
        """See that all is there and right, make it a copy, and give it its name."""
        if self.read_back and (wrong := await check(self.place, copy, self.pace)):
            await asyncio.to_thread(self.place.drop, copy)
            raise ActionFailed(
                f"Copying {copy.name} to {self.place.url}: {wrong[0]} did not come back as it was "
                "sent, so the copy was removed. The place loses data: choose another."
            )
        await asyncio.to_thread(self.place.write_manifest, copy)
        if copy not in await asyncio.to_thread(self.place.copies):
            raise ActionFailed(
                f"Copying {copy.name} to {self.place.url}: not all of it is there as it was sent. "
                "Another program may write to that place: give this one a folder of its own."
            )
        await asyncio.to_thread(self.place.settle, copy)

    def _told(self, size: int) -> None:
        self._done += size
        self.tell(self._done)


async def check(place: Place, copy: Copy, pace: Pace) -> tuple[str, ...]:
    """Read a copy back; return each file that is not what its manifest was made of."""
    wrong, block = [], copy.manifest.block_bytes
    for file in copy.manifest.files:
        for number, wanted in enumerate(file.sha256):
            begin, end = number * block, min((number + 1) * block, file.size)
            if await _digest(place, copy.path(file.path), begin, end, pace) != wanted:
                wrong.append(file.path)
                break
    return tuple(wrong)


async def _digest(place: Place, path: str, begin: int, end: int, pace: Pace) -> str:
    found, size = hashlib.sha256(), pace.piece(_PIECE)
    for at in range(begin, end, size):
        until = min(at + size, end)
        await pace.spend(until - at)
        found.update(await asyncio.to_thread(place.read, path, at, until))
    return found.hexdigest()


def dropped(copies: Sequence[Copy], keep: Kept, sent: Collection[str] = ()) -> tuple[Copy, ...]:
    """Return the copies that are not to be kept; ``copies``: the newest first.

    sent: names of those that were just asked for: they stay
    """
    whole = [each for each in copies if each.whole]
    kept = {each.name for each in whole[: max(1, keep.last)]} | {*sent}
    if keep.every:
        steps = {each.name: each.manifest.step for each in whole}
        kept |= {
            name for name, step in steps.items() if step is not None and step % keep.every == 0
        }
    return tuple(each for each in whole if each.name not in kept)


def prune(place: Place, keep: Kept, sent: Collection[str]) -> tuple[Copy, ...]:
    """Drop the copies that are not to be kept, and return them; half copies go as well.

    sent: names of the copies that were made before: what is half there then is of older ones
    """
    copies = place.copies()
    gone = dropped(copies, keep, sent)
    for each in gone:
        place.drop(each)
    if not any(each.pending for each in copies):  # of another program, which settles it
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


def _own_manifest(checkpoint: Checkpoint, path: Path) -> Manifest | None:
    """Return the checkpoint's own manifest, None where it has none that can be gone by."""
    try:
        own = read(path) if checkpoint.sealed else None
    except InputError:
        return None
    return own if own is not None and own.block_bytes == BLOCK_BYTES else None


def _measured(checkpoint: Checkpoint, path: Path) -> Manifest:
    """Return a manifest made now."""
    saved = sealing.Saved(checkpoint.saved_s, checkpoint.step)
    return sealing.measure(path, saved, form=checkpoint.format, names=own_files(path))
