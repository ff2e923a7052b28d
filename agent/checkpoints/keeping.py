"""Back up what is whole and new, drop what is not to be kept, and bring back what was lost."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent.checkpoints.backup import Kept, Sending, prune
from agent.checkpoints.catalogue import Look
from agent.checkpoints.found import Checkpoint, Listing
from agent.checkpoints.pace import Pace
from agent.checkpoints.places import Copy, Place
from agent.checkpoints.restore import Fetching, Restored, chosen, is_it, refuse_older
from agent.checkpoints.verifying import read_in_full, verified
from agent.checkpoints.work import Looker
from core.clock import Clock
from core.errors import ActionFailed, InputError


@dataclass(frozen=True, slots=True)
class How:
    """How to copy.

    bytes_per_s: at most, None without a limit; keep: which copies stay, None drops none
    read_back:   read a new copy back before it takes the place of an older one
    """

    bytes_per_s: float | None = None
    keep: Kept | None = None
    read_back: bool = False


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was copied, what was there already, and what was dropped."""

    sent: tuple[Copy, ...]
    there: tuple[str, ...]
    dropped: tuple[Copy, ...]


async def back_up(
    looker: Looker,
    root: Path,
    place: Place,
    names: tuple[str, ...] = (),
    *,
    how: How,
    clock: Clock,
    tell: Callable[[str], object] = lambda text: None,
) -> BackedUp:
    """Verify and copy the newest valid checkpoint, or those named; InputError where none is whole.

    What is not whole is never copied. ActionFailed where the place fails: call again to go on.
    """
    found = await _to_copy(looker, root, names, clock=clock, tell=tell)
    sent: list[Copy] = []
    there: list[str] = []
    for each in found:
        copy = await send_one(place, each, how=how, clock=clock, tell=tell)
        if copy is None:
            there.append(each.name)
        else:
            sent.append(copy)
    asked = {each.name for each in found}
    gone = await asyncio.to_thread(prune, place, how.keep, asked) if how.keep else ()
    return BackedUp(tuple(sent), tuple(there), gone)


async def send_one(
    place: Place,
    checkpoint: Checkpoint,
    *,
    how: How,
    clock: Clock,
    held: bool = False,
    tell: Callable[[str], object] = lambda text: None,
) -> Copy | None:
    """Copy a checkpoint that was found whole; None where the place has it. Errors as ``back_up``.

    It is read once where it has a manifest and twice where it has none; not at all where a copy is
    there and it was ``held`` against that before.
    """
    told = _told(tell, "Copying", checkpoint)
    sending = Sending(place, Pace(clock, how.bytes_per_s), how.read_back, told)
    return await sending.send(checkpoint, held=held)


async def _to_copy(
    looker: Looker,
    root: Path,
    names: tuple[str, ...],
    *,
    clock: Clock,
    tell: Callable[[str], object],
) -> tuple[Checkpoint, ...]:
    """Return the checkpoints to copy, each read and found whole."""
    if names:
        found = (await verified(looker, root, names, clock=clock, tell=tell)).listing
        bad = next((each for each in found.checkpoints if not each.valid), None)
        if bad is not None:
            raise InputError(
                f"Copying {bad.name} from {root}: it is {bad.state}: {bad.reason}. Only a whole "
                "checkpoint is copied: leave the name out for the newest of those."
            )
        return found.checkpoints
    newest = await newest_whole(looker, root, clock=clock, tell=tell)
    if newest is None:
        raise InputError(
            f"Copying the newest valid checkpoint of {root}: there is none. "
            f"`gpumedic checkpoints list {root}` says what is wrong with each."
        )
    return (newest,)


async def newest_whole(
    looker: Looker,
    root: Path,
    *,
    clock: Clock,
    tell: Callable[[str], object] = lambda text: None,
) -> Checkpoint | None:
    """Return the newest checkpoint of which every byte fits, reading no more than it takes."""
    headers = await looker.look(root, Look(read_bytes=0), now_s=clock.now_s())
    for each in headers.checkpoints:
        if each.valid:
            tell(f"Reading {each.name} ...")
            read = await read_in_full(looker, root, each, clock=clock)
            if read.valid:
                return read
    return None


async def bring_back(
    looker: Looker,
    root: Path,
    place: Place,
    name: str | None = None,
    *,
    anyway: bool = False,
    bytes_per_s: float | None = None,
    clock: Clock,
    tell: Callable[[str], object] = lambda text: None,
) -> tuple[Restored, Checkpoint]:
    """Bring a copy back and verify it where it is now.

    anyway: even where a newer valid checkpoint is there; else that is ActionRefused
    """
    copy = await asyncio.to_thread(chosen, place, name)
    tell(f"Looking at {root} ...")
    here = await _listing_of(looker, root, clock=clock)
    same = here.named(copy.name)
    if same is not None and same.valid and await asyncio.to_thread(is_it, root / copy.name, copy):
        return Restored(copy, root / copy.name, done=False), same
    if not anyway:
        refuse_older(copy, here)
    fetching = Fetching(place, Pace(clock, bytes_per_s), _told(tell, "Bringing back", copy))
    done = await fetching.fetch(copy, root)
    read = await verified(looker, root, (copy.name,), clock=clock, tell=tell)
    found = read.listing.checkpoints[0]
    if not found.valid:
        raise ActionFailed(
            f"Bringing {copy.name} back to {root}: it is {found.state} there: {found.reason}. The "
            "disk loses data: bring it back to another folder."
        )
    return done, found


async def _listing_of(looker: Looker, root: Path, *, clock: Clock) -> Listing:
    """Return what is in a folder, read in full as far as it matters; nothing where it is not."""
    if not await asyncio.to_thread(os.path.exists, root):  # no where this user may not look
        return Listing(str(root), clock.now_s(), ())
    newest = await newest_whole(looker, root, clock=clock)
    headers = await looker.look(root, Look(read_bytes=0), now_s=clock.now_s())
    known = [
        newest if newest and each.name == newest.name else each for each in headers.checkpoints
    ]
    older = newest.age_key if newest else None
    # What is newer than the newest whole one only looks whole by its headers.
    return replace(
        headers,
        checkpoints=tuple(
            each for each in known if not each.valid or (older and each.age_key <= older)
        ),
    )


def _told(
    tell: Callable[[str], object], what: str, each: Checkpoint | Copy
) -> Callable[[int], object]:
    size = each.size_bytes if isinstance(each, Checkpoint) else each.manifest.size_bytes
    return lambda done: tell(f"{what} {each.name}: {100 * done / max(1, size):.0f} % ...")
