"""Verify checkpoints one by one: every byte, on request a load by torch, on request a manifest."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.checkpoints import manifest as manifests
from agent.checkpoints.catalogue import Look
from agent.checkpoints.discovery import own_files
from agent.checkpoints.found import Checkpoint, Listing, State
from agent.checkpoints.work import MEMORY_BYTES, Looker, idle_threads
from agent.launch.jobside.gpumedic_job.manifest import Saved, seal
from core.clock import Clock
from core.errors import InputError


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found; loads: name -> why it does not load, "" where it does."""

    listing: Listing
    loads: Mapping[str, str] = field(default_factory=dict)
    sealed: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Say whether there are checkpoints, and all that are not being written are whole."""
        ended = [c for c in self.listing.checkpoints if c.state is not State.BEING_WRITTEN]
        return bool(ended) and all(c.valid for c in ended) and not any(self.loads.values())


async def verified(
    looker: Looker,
    root: Path,
    names: tuple[str, ...] = (),
    *,
    load: bool = False,
    seal: bool = False,
    clock: Clock,
    tell: Callable[[str], object] = lambda text: None,
) -> Verified:
    """Verify the checkpoints below a folder; InputError where it cannot be looked at.

    load: with torch too; seal: write a manifest beside each whole one that has none
    tell: hears what is being done
    """
    headers = await looker.look(root, Look(read_bytes=0, names=names), now_s=clock.now_s())
    found = []
    for each in headers.checkpoints:
        tell(f"Reading {each.name} ...")
        found.append(await read_in_full(looker, root, each, clock=clock) if each.valid else each)
    sealed = []
    for number, each in enumerate(found):
        if seal and await asyncio.to_thread(to_be_sealed, each):
            await asyncio.to_thread(seal_it, each)
            sealed.append(each.name)
            found[number] = replace(each, sealed=True)
    loads = await _loads(found, tell) if load else {}
    return Verified(replace(headers, checkpoints=tuple(found)), loads, tuple(sealed))


async def read_in_full(
    looker: Looker, root: Path, checkpoint: Checkpoint, *, clock: Clock, threads: int | None = None
) -> Checkpoint:
    """Read one checkpoint whose headers were seen; unreadable where it has gone meanwhile."""
    how = Look(names=(checkpoint.name,), threads=threads or idle_threads())
    try:
        found = await looker.look(root, how, now_s=clock.now_s())
    except InputError as error:
        return replace(checkpoint, state=State.UNREADABLE, reason=str(error))
    return found.checkpoints[0]


async def _loads(found: Sequence[Checkpoint], tell: Callable[[str], object]) -> Mapping[str, str]:
    """Load what is valid; its memory goes by the largest, for the old form is read as a whole."""
    valid = [each for each in found if each.valid]
    largest = max((each.size_bytes for each in valid), default=0)
    loads = {}
    async with Looker(memory_bytes=MEMORY_BYTES + 2 * largest) as looker:
        for each in valid:
            tell(f"Loading {each.name} ...")
            loads[each.name] = await looker.load(Path(each.path), size_bytes=each.size_bytes)
    return loads


def to_be_sealed(checkpoint: Checkpoint) -> bool:
    """Say whether a checkpoint is whole and has no manifest, or that of an earlier save.

    Not where a damaged one lies: a copy that was interrupted may have left it, and files out.
    """
    try:
        manifests.read(Path(checkpoint.path))
    except (InputError, OSError):
        return False
    return checkpoint.valid and not checkpoint.sealed


def seal_it(checkpoint: Checkpoint) -> None:
    """Write a manifest beside a checkpoint that was found whole."""
    saved = Saved(checkpoint.saved_s, checkpoint.step)
    path = Path(checkpoint.path)
    try:
        names = own_files(path)
        seal(path, saved, form=checkpoint.format, names=names, threads=idle_threads())
    except OSError as error:
        raise InputError(
            f"Writing a manifest beside {path}: {error.strerror}. The checkpoint is whole; seal it "
            "as a user who may write there, or leave --seal out."
        ) from None
