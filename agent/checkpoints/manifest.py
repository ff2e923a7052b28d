"""Reading a manifest, and holding a checkpoint against it; jobs write them (``gpumedic_job``)."""

import json
from collections.abc import Callable
from pathlib import Path

from agent.checkpoints.found import State, Trouble
from agent.launch.jobside.gpumedic_job.manifest import (
    BODY,
    MAX_BYTES,
    VERSION,
    Manifest,
    damaged,
    is_covered,
    is_sealed,
    manifest_path,
)
from core.codec import from_json
from core.errors import InputError


def from_text(text: str | bytes, *, where: str) -> Manifest:
    """Read a manifest; InputError says what is wrong with it."""
    try:
        data = json.loads(text)
        body = data[BODY]
        version = body.get("version")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"Reading the manifest {where}: it is none of gpumedic's ({type(error).__name__}: "
            f"{error}). Delete it, and make another with `gpumedic checkpoints verify --seal`."
        ) from None
    if version != VERSION:
        raise InputError(
            f"Reading the manifest {where}: it has version {version!r:.20}, this gpumedic reads "
            f"{VERSION}. Use the gpumedic that wrote it, or a newer one."
        )
    if not isinstance(body, dict) or not is_sealed(body):
        raise InputError(
            f"Reading the manifest {where}: its own checksum is wrong, so it was changed after it "
            "was written. Delete it, and make another with `gpumedic checkpoints verify --seal`."
        )
    found = from_json(Manifest, body)
    _check_paths(found, where)
    return found


def read(checkpoint: Path) -> Manifest | None:
    """Return a checkpoint's manifest, None where it has none; InputError where it is damaged."""
    path = manifest_path(checkpoint)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    return from_text(text, where=str(path))


def misfits(manifest: Manifest, folder: Path) -> tuple[Trouble, ...]:
    """Return each file that is missing or not as long as its manifest says."""
    troubles = []
    for each in manifest.files:
        try:
            size = (folder / each.path).stat().st_size
        except FileNotFoundError:
            text = "is not there, and its manifest has it"
            troubles.append(Trouble(State.TORN, each.path, text))
            continue
        if size != each.size:
            state = State.TRUNCATED if size < each.size else State.BIT_FLIPPED
            text = f"has {size:,} bytes and its manifest says {each.size:,}"
            troubles.append(Trouble(state, each.path, text))
    return tuple(troubles)


def flips(
    manifest: Manifest,
    folder: Path,
    *,
    threads: int = 1,
    tell: Callable[[int], object] = lambda done: None,
) -> tuple[Trouble, ...]:
    """Read every byte; return each file that is not what it was, and where it differs."""
    wrong = damaged(manifest, folder, threads=threads, tell=tell)
    troubles = []
    for name in dict.fromkeys(block.file for block in wrong):
        first, *more = (block for block in wrong if block.file == name)
        where = f"bytes {first.start:,} to {first.start + first.size:,}"
        rest = f" and {len(more)} more blocks" if more else ""
        text = f"{where}{rest} are not what its manifest was made of"
        troubles.append(Trouble(State.BIT_FLIPPED, name, text))
    return tuple(troubles)


def _check_paths(manifest: Manifest, where: str) -> None:
    """Refuse one that could lead out of its folder, or whose blocks do not cover its files."""
    if not is_covered(manifest):
        raise InputError(
            f"Reading the manifest {where}: the checksums are not those of blocks of "
            f"{manifest.block_bytes:,} bytes of files of its lengths. Delete the manifest."
        )
    for each in manifest.files:
        path = Path(each.path)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"Reading the manifest {where}: its entry {each.path!r:.80} leads out of the "
                "checkpoint. Delete the manifest."
            )
