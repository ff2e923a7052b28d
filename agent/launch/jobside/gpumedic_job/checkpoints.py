"""The checkpoints of a folder, as a job sees them: which is the newest that is whole, which go.

Each is a folder with a sealed manifest, which a save writes last. Imports no torch.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .fence import World
from .manifest import Manifest, damaged, read_sealed

PART = ".part"
_OF_WORLD = re.compile(r"\.(\d+)\.(\d+)\.part$")


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint whose files are as long as its manifest says, or of which that is not so."""

    path: Path
    manifest: Manifest
    fits: bool


def part_of(folder: Path, step: int, world: World) -> Path:
    """Return where a step is saved until it is whole: no other world's place."""
    return folder / f"step_{step}.{world[0]}.{world[1]}{PART}"


def place_of(folder: Path, step: int) -> Path:
    """Return a name for a step that nothing has."""
    path, number = folder / f"step_{step}", 1
    while path.exists():
        number += 1
        path = folder / f"step_{step}-{number}"
    return path


def found(folder: Path) -> list[Found]:
    """Return the checkpoints of a folder that were sealed, the newest first."""
    seen = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.name.startswith(".") and path.suffix != PART:
            manifest = read_sealed(path)
            if manifest is not None:
                seen.append(Found(path, manifest, _fits(path, manifest)))
    return sorted(seen, key=lambda each: each.manifest.age_key, reverse=True)


def newest(folder: Path, tell: Callable[[str], object]) -> Found | None:
    """Return the newest of which every byte fits, or None; ``tell`` hears why others are not."""
    for each in found(folder):
        wrong = _wrong(each)
        if not wrong:
            return each
        tell(f"{each.path.name} is passed over: {wrong}")
    return None


def prune(folder: Path, keep: int, keep_every: int) -> list[str]:
    """Drop what lies beyond the newest ``keep`` whole ones; return the names.

    keep_every: those whose step this divides stay too; 0: none
    """
    whole, gone = 0, []
    for each in found(folder):
        step = each.manifest.step
        stays = whole < keep or (keep_every and each.fits and (step or 0) % keep_every == 0)
        whole += each.fits
        if not stays:
            gone.append(each.path.name)
            _drop(each.path)
    return gone


def sweep(folder: Path, world: World, spare: Path | None) -> None:
    """Remove what saves of older worlds left half done; ``spare``: one that goes on."""
    for path in folder.glob(f"*{PART}"):
        match = _OF_WORLD.search(path.name)
        if match and (int(match[1]), int(match[2])) < world and path != spare:
            shutil.rmtree(path, ignore_errors=True)


def _wrong(found: Found) -> str:
    """Read every byte; return what is wrong, "" for nothing."""
    if not found.fits:
        return "its files are not what was saved"
    try:
        wrong = damaged(found.manifest, found.path)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    if not wrong:
        return ""
    return f"{wrong[0].file} from byte {wrong[0].start:,} on are not what was saved"


def _fits(path: Path, manifest: Manifest) -> bool:
    for each in manifest.files:
        try:
            if (path / each.path).stat().st_size != each.size:
                return False
        except OSError:
            return False
    return True


def _drop(path: Path) -> None:
    """Remove a checkpoint; half removed it has not its name any more."""
    going = path.with_name(f"{path.name}.0.0{PART}")
    path.rename(going)
    shutil.rmtree(going)
