"""A manifest beside a checkpoint: its files, sizes and checksums, its step, and who saved it.

It is written after the checkpoint is durable, whole or not at all: where it is and fits, the save
had ended. In a folder it is ``gpumedic.manifest.json``, beside a single file
``NAME.gpumedic.manifest.json``. It carries a checksum of itself. Imports nothing but the standard
library: jobs write manifests, and gpumedic reads them.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

VERSION = 1
MAX_BYTES = 64 * 2**20
BODY = "gpumedic_manifest"
OF_FOLDER = "gpumedic.manifest.json"
SUFFIX = ".gpumedic.manifest.json"
# SHA-256 and not BLAKE2: processors with SHA instructions do 1.6 GB/s a core and BLAKE2b 0.9
# (measured, `gpumedic bench checkpoints`), and every system has a program to check it with.
# In blocks: several at once, and damage is told with the place it is in.
BLOCK_BYTES = 64 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file of a checkpoint; sha256: of each block of ``block_bytes``, in order."""

    path: str
    size: int
    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """What the one who saves knows and the files do not say.

    saved_s: when it was durable, seconds since the epoch
    step:    None where nobody said
    world:   the id of the world (the set of ranks) that saved it, "" where nobody said
    fence:   grows with each world of a job, so that a left-over world's checkpoint is known as old
    save_s:  how long the job stood for it
    took_s:  how long it took until it was durable, the job going on meanwhile
    """

    saved_s: float
    step: int | None = None
    world: str = ""
    fence: int | None = None
    save_s: float | None = None
    took_s: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint was when it was saved; see ``Saved``.

    seal: SHA-256 of all the rest
    """

    version: int
    format: str
    step: int | None
    saved_s: float
    world: str
    fence: int | None
    save_s: float | None
    block_bytes: int
    files: tuple[FileSum, ...]
    seal: str = ""
    took_s: float | None = None

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(each.size for each in self.files)

    @property
    def age_key(self) -> tuple[int, int, float]:
        """Return what is larger for a newer one.

        The fence token first: after a roll-back the newest state has a lower step than the old.
        Then the step, for times move when files are copied.
        """
        fence = -1 if self.fence is None else self.fence
        return (fence, -1 if self.step is None else self.step, self.saved_s)

    def sealed(self) -> "Manifest":
        """Return it with its seal."""
        return replace(self, seal=_seal(asdict(self)))


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a file: ``size`` bytes from ``start`` on."""

    file: str
    start: int
    size: int


def is_manifest(name: str) -> bool:
    """Say whether a file is a manifest of ours."""
    return name == OF_FOLDER or name.endswith(SUFFIX)


def manifest_path(checkpoint: Path) -> Path:
    """Return where a checkpoint's manifest belongs."""
    if checkpoint.is_dir():
        return checkpoint / OF_FOLDER
    return checkpoint.with_name(checkpoint.name + SUFFIX)


def files_of(checkpoint: Path) -> tuple[str, ...]:
    """Return a checkpoint's files, below its folder; of a single file its own name."""
    if not checkpoint.is_dir():
        return (checkpoint.name,)
    found = (
        path for path in checkpoint.rglob("*") if path.is_file() and not is_manifest(path.name)
    )
    return tuple(sorted(str(path.relative_to(checkpoint)) for path in found))


def folder_of(checkpoint: Path) -> Path:
    """Return the folder that ``files_of`` counts from."""
    return checkpoint if checkpoint.is_dir() else checkpoint.parent


def blocks_of(file: str, size: int, *, block: int = BLOCK_BYTES) -> tuple[Block, ...]:
    """Cut a file of so many bytes; an empty one has no blocks."""
    return tuple(Block(file, at, min(block, size - at)) for at in range(0, size, block))


def digest(path: Path, block: Block) -> str:
    """Return the SHA-256 of a block; of fewer bytes where the file has become shorter."""
    found = hashlib.sha256()
    left, buffer = block.size, bytearray(_CHUNK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        file.seek(block.start)
        while left:
            count = file.readinto(view[: min(left, _CHUNK)])
            if not count:
                break
            found.update(view[:count])
            left -= count
    return found.hexdigest()


def digests(
    folder: Path,
    blocks: Sequence[Block],
    *,
    threads: int = 1,
    tell: Callable[[int], object] = lambda done: None,
) -> Iterator[str]:
    """Yield the digest of each block in order; ``tell`` hears how many bytes are done.

    Threads: hashing and reading let go of the interpreter's lock.
    """
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for block, found in zip(
            blocks, pool.map(lambda each: digest(folder / each.file, each), blocks), strict=True
        ):
            done += block.size
            tell(done)
            yield found


def damaged(
    manifest: Manifest,
    folder: Path,
    *,
    threads: int = 1,
    tell: Callable[[int], object] = lambda done: None,
) -> list[Block]:
    """Read every byte; return the blocks that are not what they were. OSError: cannot be read."""
    size = manifest.block_bytes
    blocks = [b for each in manifest.files for b in blocks_of(each.path, each.size, block=size)]
    wanted = [found for each in manifest.files for found in each.sha256]
    found = digests(folder, blocks, threads=threads, tell=tell)
    return [b for b, one, other in zip(blocks, found, wanted, strict=True) if one != other]


def measure(
    checkpoint: Path,
    saved: Saved,
    *,
    form: str,
    names: Sequence[str] | None = None,
    threads: int = 1,
    tell: Callable[[int], object] = lambda done: None,
) -> Manifest:
    """Read a checkpoint and return its manifest; OSError where a file cannot be read.

    names: its files, where they are not all that lie below it
    """
    folder, names = folder_of(checkpoint), files_of(checkpoint) if names is None else names
    sizes = {name: (folder / name).stat().st_size for name in names}
    blocks = [block for name in names for block in blocks_of(name, sizes[name])]
    sums: dict[str, list[str]] = {name: [] for name in names}
    found = digests(folder, blocks, threads=threads, tell=tell)
    for block, one in zip(blocks, found, strict=True):
        sums[block.file].append(one)
    return Manifest(
        version=VERSION,
        format=form,
        step=saved.step,
        saved_s=saved.saved_s,
        world=saved.world,
        fence=saved.fence,
        save_s=saved.save_s,
        block_bytes=BLOCK_BYTES,
        files=tuple(FileSum(name, sizes[name], tuple(sums[name])) for name in names),
        took_s=saved.took_s,
    ).sealed()


def seal(
    checkpoint: Path,
    saved: Saved,
    *,
    form: str,
    names: Sequence[str] | None = None,
    threads: int = 1,
) -> Manifest:
    """Make a checkpoint durable, then write its manifest; OSError where that fails.

    For the program that saves: call it when the last rank has written, on one rank. ``names``: see
    ``measure``.
    """
    sync(checkpoint, names)
    manifest = measure(checkpoint, saved, form=form, names=names, threads=threads)
    write(checkpoint, manifest)
    return manifest


def sync(checkpoint: Path, names: Sequence[str] | None = None) -> None:
    """Have the disk take a checkpoint's files, or those of these names, then the names."""
    folder = folder_of(checkpoint)
    folders = {folder}
    for name in files_of(checkpoint) if names is None else names:
        sync_one(folder / name)
        folders.add((folder / name).parent)
    for each in folders:
        sync_one(each)


def sync_one(path: Path) -> None:
    """Have the disk take a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(checkpoint: Path, manifest: Manifest) -> Path:
    """Put a manifest beside its checkpoint, whole or not at all."""
    path = manifest_path(checkpoint)
    half = path.with_name(path.name + ".half")
    with half.open("w", encoding="utf-8") as file:
        file.write(as_text(manifest))
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    sync_one(path.parent)
    return path


def as_text(manifest: Manifest) -> str:
    """Return a manifest's file."""
    return json.dumps({BODY: asdict(manifest)}, indent=1) + "\n"


def read_sealed(checkpoint: Path) -> Manifest | None:
    """Return a checkpoint's manifest; None where it has none that is whole and of this version."""
    try:
        with manifest_path(checkpoint).open("rb") as file:
            body = json.loads(file.read(MAX_BYTES))[BODY]
        if body["version"] != VERSION or not is_sealed(body):
            return None
        files = tuple(
            FileSum(each["path"], each["size"], tuple(each["sha256"])) for each in body["files"]
        )
        found = Manifest(**{**body, "files": files})
        return found if is_covered(found) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def is_covered(manifest: Manifest) -> bool:
    """Say whether a manifest has a checksum for each block of its files, and no more.

    So no length that somebody wrote into it makes more work than its own checksums are.
    """
    block = manifest.block_bytes
    return block > 0 and all(
        each.size >= 0 and len(each.sha256) == -(-each.size // block) for each in manifest.files
    )


def is_sealed(body: Mapping[str, Any]) -> bool:
    """Say whether a manifest's own checksum fits."""
    return bool(body.get("seal") == _seal(body))


def _seal(body: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in body.items() if key != "seal"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
