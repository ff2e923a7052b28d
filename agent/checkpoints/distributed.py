"""What torch.distributed.checkpoint writes: ``.metadata``, an index, and ``__RANK_N.distcp`` files.

The index is a pickle, written last and then renamed into place. Per tensor it says in which file
its parts lie, from which byte on and how long; each part is a ``torch.save`` zip with checksums of
its own (torch/distributed/checkpoint/filesystem.py of torch 2.13). torch reads the index with a
full unpickler, so one that names anything strange is worse than a damaged one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.checkpoints.found import Checked, Format, Seen, State, Trouble, least_checked
from agent.checkpoints.pickles import BROKEN, read_pickle, strange_names
from agent.checkpoints.torch_files import ZIP_MAGIC, Part, beginning, look_at_zip, never_written

SUFFIX = ".distcp"
INDEX = ".metadata"
_INDEX_OF_RANK = re.compile(r"__\d+\.metadata")
_UNFINISHED = re.compile(r"(?:__\d+)?\.metadata\.tmp")


@dataclass(frozen=True, slots=True)
class StoredPart:
    """Where a part of a tensor, or an object, lies: ``plain`` where it is a zip as it is."""

    name: str
    file: str
    start: int
    size: int
    plain: bool


def is_distributed(names: Iterable[str]) -> bool:
    """Say whether a folder with files of these names is one of its checkpoints."""
    return any(name.endswith(SUFFIX) or is_index(name) or is_unfinished(name) for name in names)


def is_index(name: str) -> bool:
    """Say whether a file is an index; without collectives each rank writes its own."""
    return name == INDEX or _INDEX_OF_RANK.fullmatch(name) is not None


def is_unfinished(name: str) -> bool:
    """Say whether a file is an index that was never renamed into place."""
    return _UNFINISHED.fullmatch(name) is not None


def look_at_distributed(folder: Path, names: Sequence[str], *, contents: bool) -> Seen:
    """Look at a folder; OSError where a file of it cannot be read."""
    indexes = [name for name in names if is_index(name)]
    if not indexes:
        half = next((name for name in names if is_unfinished(name)), None)
        told = f"only {half} is" if half else "it is"
        text = f"{told} there: the save did not end, for its index is written last"
        text = text if half else "is not there: the save did not end, for its index is written last"
        return Seen(Format.DISTRIBUTED, (Trouble(State.TORN, INDEX, text),))
    troubles: list[Trouble] = []
    checked = [Checked.CONTENTS if contents else Checked.HEADERS]
    step = None
    by_file: dict[str, list[StoredPart]] = defaultdict(list)
    for name in indexes:
        found, trouble = parts_of(folder / name)
        troubles += [trouble] if trouble else []
        for part in found:
            by_file[part.file].append(part)
    for file, parts in sorted(by_file.items()):
        seen = _look_at_file(folder, file, parts, contents=contents)
        troubles += seen.troubles
        checked.append(seen.checked)
        step = seen.step if step is None else step
    return Seen(Format.DISTRIBUTED, tuple(troubles), step, least_checked(checked))


def parts_of(path: Path) -> tuple[Sequence[StoredPart], Trouble | None]:
    """Return what an index says is stored, and what is wrong with the index."""
    data = path.read_bytes()
    if text := never_written(data, len(data)):
        return (), Trouble(State.TRUNCATED, path.name, text)
    if data[:1] != b"\x80" and (data[0] ^ 0x80).bit_count() > 1:
        text = f"is no index of torch.distributed.checkpoint: it begins with {beginning(data)}"
        return (), Trouble(State.WRONG_FORMAT, path.name, text)
    try:
        root, reader = read_pickle(data)
    except BROKEN as error:
        return (), _unread(data, error, path.name)
    if strange := strange_names(reader.names):
        text = (
            f"names {', '.join(strange[:3])}, which no index needs and which torch would run: do "
            "not load it"
        )
        return (), Trouble(State.WRONG_FORMAT, path.name, text)
    return _laid_out(root, path.name)


def _unread(data: bytes, error: Exception, name: str) -> Trouble:
    if isinstance(error, EOFError) or "truncated" in str(error) or not data.endswith(b"."):
        text = f"ends after {len(data):,} bytes, within its index"
        return Trouble(State.TRUNCATED, name, text)
    return Trouble(State.BIT_FLIPPED, name, f"cannot be read ({error})")


def _laid_out(root: Any, name: str) -> tuple[Sequence[StoredPart], Trouble | None]:
    try:
        stored = root.part("storage_data")
        parts = [_part(index, info) for index, info in stored.items()]
    except (AttributeError, TypeError, ValueError):
        text = "is a pickle, but not laid out as an index of parts, files and offsets"
        return (), Trouble(State.BIT_FLIPPED, name, text)
    return parts, None


def _part(index: Any, info: Any) -> StoredPart:
    file, start, size = (info.part(key) for key in ("relative_path", "offset", "length"))
    if not (isinstance(file, str) and isinstance(start, int) and isinstance(size, int)):
        raise TypeError("a part without file, offset and length")
    if start < 0 or size < 0 or Path(file).is_absolute() or ".." in Path(file).parts:
        raise ValueError(f"a part that lies in {file!r:.80} from byte {start} on")
    return StoredPart(
        str(index.part("fqn")), file, start, size, plain=not info.part("transform_descriptors")
    )


def _look_at_file(folder: Path, name: str, parts: Sequence[StoredPart], *, contents: bool) -> Seen:
    needed = max(part.start + part.size for part in parts)
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        text = f"is not there: {len(parts)} parts lie in it"
        return Seen(Format.DISTRIBUTED, (Trouble(State.TORN, name, text),))
    if size < needed:
        return Seen(Format.DISTRIBUTED, (_short(folder / name, size, needed),))
    troubles: list[Trouble] = []
    checked = [Checked.CONTENTS if contents else Checked.HEADERS]
    step = None
    with (folder / name).open("rb") as file:
        for part in parts if contents else parts[:1]:
            file.seek(part.start)
            head = file.read(4)
            if not part.plain or (head != ZIP_MAGIC and not _ends_as_zip(file, part)):
                checked.append(Checked.NO_CHECKSUMS)
                troubles += _not_a_zip(part, head, name)
                continue
            seen = look_at_zip(Part(file, part.start, part.size), name, contents=contents)
            troubles += [_damage(each, part) for each in seen.troubles]
            checked.append(seen.checked)
            if part.name in ("step", "global_step", "iteration") and step is None:
                step = seen.step
    return Seen(Format.DISTRIBUTED, tuple(troubles), step, least_checked(checked))


def _ends_as_zip(file: Any, part: StoredPart) -> bool:
    """Say whether the part has a zip's last record, so that its first bytes are damaged."""
    file.seek(part.start + max(0, part.size - 22))
    return bytes(file.read(4)) == b"PK\x05\x06"


def _not_a_zip(part: StoredPart, head: bytes, name: str) -> list[Trouble]:
    """Say what is wrong with a part that is no zip: nothing, where it was written otherwise."""
    if not (part.plain and part.size and name.endswith(SUFFIX)):
        return []
    where = f"{part.name} from byte {part.start:,} on"
    if not head.strip(b"\0"):
        text = f"{where} is zeros: it was set aside and never written"
        return [Trouble(State.TRUNCATED, name, text)]
    if part.start:
        return [Trouble(State.BIT_FLIPPED, name, f"{where} begins with {beginning(head)}")]
    return [_stranger(name, head)]


def _stranger(name: str, head: bytes) -> Trouble:
    text = f"is no file of torch.distributed.checkpoint: it begins with {beginning(head)}"
    return Trouble(State.WRONG_FORMAT, name, text)


def _damage(trouble: Trouble, part: StoredPart) -> Trouble:
    """Name the tensor; a part that is there in full and cannot be read was changed later."""
    where = f"{part.name} from byte {part.start:,} on"
    return Trouble(State.BIT_FLIPPED, trouble.file, f"{where}: {trouble.text}")


def _short(path: Path, size: int, needed: int) -> Trouble:
    with path.open("rb") as file:
        head = file.read(16)
    if size >= 4 and not head.startswith(ZIP_MAGIC) and head.strip(b"\0"):
        return _stranger(path.name, head)
    return Trouble(State.TRUNCATED, path.name, f"has {size:,} of {needed:,} bytes")
