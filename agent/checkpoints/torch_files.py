"""What ``torch.save`` writes, looked at without torch: the zip of today and the old pickles.

The zip (since torch 1.6): members stored uncompressed below one folder, ``data.pkl`` with the
structure, ``data/KEY`` with one storage each, and a CRC-32 of each member in the central directory
at the end; torch/csrc and caffe2/serialize/inline_container.h of torch 2.13. The CRCs are 0 where
``torch.serialization.set_crc32_options(False)`` was called.

The old form: pickles of a magic number, a version, the system, the structure and the storages'
keys, then for each key its number of elements in 8 bytes and its bytes; no checksums.
"""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from agent.checkpoints.found import Checked, Format, Seen, State, Trouble
from agent.checkpoints.pickles import BROKEN, Inert, read_pickle, step_in, unsafe_names
from agent.checkpoints.zip_index import index_fault

ZIP_MAGIC = b"PK\x03\x04"
# The first pickle: protocol 2 and the number 0x1950a86a20f9469cfc6c, torch.serialization's own.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_INDEX_MAGIC = b"PK\x01\x02"
_CHUNK = 2**20
# A structure is names and shapes; torch's largest known ones are some tens of MB.
MAX_STRUCTURE_BYTES = 256 * 2**20
_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    *(EOFError, RuntimeError, ValueError, OverflowError, UnicodeDecodeError),
    struct.error,
    NotImplementedError,
)
_ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("ComplexDoubleStorage",), 16),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("CharStorage", "ByteStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("QInt8Storage", "QUInt8Storage"), 1),
}


class Part(io.RawIOBase):
    """The bytes ``start`` to ``start + size`` of a file, as a file of their own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the place of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the place of the next read."""
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError(22, "before the beginning")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes; all that are left for a negative size."""
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def look_at_torch_file(path: Path, *, contents: bool) -> Seen:
    """Look at a file that its name or place says ``torch.save`` wrote; OSError where unreadable."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(64)
        if head.startswith(LEGACY_MAGIC):
            return _look_at_legacy(file, size, path.name)
        if head.startswith(ZIP_MAGIC):
            return look_at_zip(file, path.name, contents=contents)
        return Seen(Format.UNKNOWN, (_stranger(head, size, path.name),))


def is_torch_file(path: Path) -> bool:
    """Say whether a file begins as ``torch.save`` does, whatever it is called."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return head.startswith(LEGACY_MAGIC) or (
        head.startswith(ZIP_MAGIC) and (b"/data.pkl" in head or b"/constants.pkl" in head)
    )


def beginning(head: bytes) -> str:
    """Show the first bytes of a file to a person."""
    text = head[:16].decode("ascii", errors="replace")
    return repr(text) if text.isprintable() else head[:8].hex(" ")


def _stranger(head: bytes, size: int, name: str) -> Trouble:
    """Say what is wrong with a file that does not begin as ``torch.save``'s do."""
    if text := never_written(head, size) or _too_short(head, size):
        return Trouble(State.TRUNCATED, name, text)
    if len(head) >= 4 and _bits_apart(head[:4], ZIP_MAGIC) <= 2:
        text = f"its first bytes are {head[:4].hex(' ')}, bits away from a zip's 50 4b 03 04"
        return Trouble(State.BIT_FLIPPED, name, text)
    if len(head) >= 15 and _bits_apart(head[:15], LEGACY_MAGIC) <= 2:
        text = "its first bytes are bits away from those of torch.save's old form"
        return Trouble(State.BIT_FLIPPED, name, text)
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < size:
        return Trouble(State.WRONG_FORMAT, name, "is safetensors, not what torch.save writes")
    text = f"is not what torch.save writes: it begins with {beginning(head)}"
    return Trouble(State.WRONG_FORMAT, name, text)


def never_written(head: bytes, size: int) -> str:
    """Say that a file is empty or begins with zeros; "" where it does not."""
    if size == 0:
        return "is empty: nothing was written, or a disk was full"
    if not head.strip(b"\0"):
        return f"begins with zeros: its {size:,} bytes were set aside and never written"
    return ""


def _too_short(head: bytes, size: int) -> str:
    begun = size < len(LEGACY_MAGIC) and (
        LEGACY_MAGIC.startswith(head) or ZIP_MAGIC.startswith(head)
    )
    return f"ends after {size} bytes" if begun else ""


def _bits_apart(one: bytes, other: bytes) -> int:
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


def look_at_zip(file: BinaryIO | Part, name: str, *, contents: bool) -> Seen:
    """Look at what ``torch.save`` wrote as a zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            if fault := index_fault(file, archive.infolist()):
                return Seen(Format.TORCH_ZIP, (Trouble(State.BIT_FLIPPED, name, fault),))
            return _look_within(archive, name, contents=contents)
    except _BAD_ZIP as error:
        return Seen(Format.TORCH_ZIP, (_no_index(file, name, error),))
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the beginning, from a damaged index
            raise
        return Seen(Format.TORCH_ZIP, (_no_index(file, name, error),))


def _no_index(file: BinaryIO | Part, name: str, error: Exception) -> Trouble:
    """Say why a zip's central directory cannot be read: it is cut off, or it is damaged."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 2**20))
    tail = file.read(2**20)
    zeros = len(tail) - len(tail.rstrip(b"\0"))
    if zeros > 64:
        count = f"{'at least ' if zeros == len(tail) else ''}{zeros:,}"
        text = f"ends in {count} zeros, without its index: cut off, a disk full, or power failed"
        return Trouble(State.TRUNCATED, name, text)
    ends_whole = tail[-22:-18] == b"PK\x05\x06" or tail[-42:-38] == b"PK\x06\x07"
    # The index's last record with one bit changed is still where it belongs.
    near = len(tail) >= 22 and _bits_apart(tail[-22:-18], b"PK\x05\x06") <= 2
    if _INDEX_MAGIC in tail and (ends_whole or near):
        return Trouble(State.BIT_FLIPPED, name, f"its index is damaged ({error})")
    return Trouble(State.TRUNCATED, name, f"ends after {size:,} bytes, before its index")


def _look_within(archive: zipfile.ZipFile, name: str, *, contents: bool) -> Seen:
    members = archive.infolist()
    structure = next(
        (m for m in members if m.filename.endswith(("/data.pkl", "/constants.pkl"))), None
    )
    if structure is None and any(m.filename.endswith("/serialization_id") for m in members):
        text = "its index has lost the name of data.pkl"
        return Seen(Format.TORCH_ZIP, (Trouble(State.BIT_FLIPPED, name, text),))
    if structure is None:
        text = f"is a zip of {len(members)} files without data.pkl: torch.save did not write it"
        return Seen(Format.UNKNOWN, (Trouble(State.WRONG_FORMAT, name, text),))
    summed = any(member.CRC for member in members)
    if not summed:
        for member in members:
            member.CRC = None  # type: ignore[assignment]  # then zipfile compares nothing
    troubles = list(_flips(archive, members, name)) if contents else []
    step: int | None = None
    notes: list[str] = []
    if not troubles and structure.filename.endswith("/data.pkl"):
        troubles, step, notes = _structure(archive, structure, members, name)
    if not summed:
        notes.append(f"{name} was saved without checksums (set_crc32_options(False))")
    read = Checked.CONTENTS if summed else Checked.NO_CHECKSUMS
    checked = read if contents else Checked.HEADERS
    return Seen(Format.TORCH_ZIP, tuple(troubles), step, checked, tuple(notes))


def _flips(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], name: str
) -> Iterator[Trouble]:
    """Read every member; one whose checksum is wrong is told with its place in the file."""
    for member in members:
        try:
            with archive.open(member) as stream:
                while stream.read(_CHUNK):
                    pass
        except _BAD_ZIP as error:
            where = f"{member.filename} at byte {member.header_offset:,}"
            why = "its checksum is wrong" if "CRC" in str(error) else str(error)
            yield Trouble(State.BIT_FLIPPED, name, f"{where}: {why}")


def _structure(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, members: list[zipfile.ZipInfo], name: str
) -> tuple[list[Trouble], int | None, list[str]]:
    """Read ``data.pkl``: whether all it refers to is there, and which step it says."""
    if member.file_size > MAX_STRUCTURE_BYTES:
        return [], None, [f"{name}: its structure of {member.file_size:,} bytes was not read"]
    try:
        root, reader = read_pickle(archive.read(member))
    except (*_BAD_ZIP, *BROKEN) as error:
        text = f"its structure cannot be read ({error})"
        return [Trouble(State.BIT_FLIPPED, name, text)], None, []
    folder = member.filename.removesuffix("data.pkl")
    sizes = {each.filename: each.file_size for each in members}
    troubles = []
    for key, (kind, elements) in reader.storages.items():
        size, item = sizes.get(f"{folder}data/{key}"), _ITEM_BYTES.get(_storage(kind))
        if size is None:
            troubles.append(Trouble(State.TORN, name, f"storage {key} is not there"))
        elif item is not None and size != item * elements:
            text = f"storage {key} has {size:,} bytes and should have {item * elements:,}"
            troubles.append(Trouble(State.BIT_FLIPPED, name, text))
    return troubles, step_in(root), _names_note(reader, name)


def _names_note(reader: Inert, name: str) -> list[str]:
    strange = unsafe_names(reader.names)
    if not strange:
        return []
    more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
    return [f"{name} needs weights_only=False: it names {', '.join(strange[:3])}{more}"]


def _storage(kind: str) -> str:
    return kind.rpartition(".")[2]


def _look_at_legacy(file: BinaryIO, size: int, name: str) -> Seen:
    def ended(state: State, text: str) -> Seen:
        return Seen(Format.TORCH_LEGACY, (Trouble(state, name, text),))

    file.seek(0)
    readers = []
    values = []
    for _ in range(5):  # magic number, version, system, structure, keys
        reader = Inert(file)
        try:
            values.append(reader.load())
        except BROKEN as error:
            at = file.tell()
            if at >= size or isinstance(error, EOFError) or "truncated" in str(error):
                return ended(State.TRUNCATED, f"ends after {size:,} bytes, within its structure")
            return ended(State.BIT_FLIPPED, f"its structure is damaged near byte {at:,} ({error})")
        readers.append(reader)
    structure, keys = readers[3], values[4]
    if not isinstance(keys, list):
        return ended(State.BIT_FLIPPED, "its list of storages is none")
    trouble = _legacy_storages(file, structure, [str(key) for key in keys], size)
    if trouble is not None:
        return ended(*trouble)
    return Seen(
        Format.TORCH_LEGACY,
        step=step_in(values[3]),
        checked=Checked.NO_CHECKSUMS,
        notes=tuple(_names_note(structure, name)),
    )


def _legacy_storages(
    file: BinaryIO, structure: Inert, keys: list[str], size: int
) -> tuple[State, str] | None:
    """Walk over the storages; what is wrong with them, or None."""
    at = file.tell()
    for key in keys:
        kind, elements = structure.storages.get(key, ("", 0))
        item = _ITEM_BYTES.get(_storage(kind))
        if item is None:
            return None  # of a kind that is not known here: the rest cannot be walked
        file.seek(at)
        written = file.read(8)
        if len(written) == 8 and struct.unpack("<q", written)[0] != elements:
            text = f"the length of storage {key} at byte {at:,} is not what its structure says"
            return State.BIT_FLIPPED, text
        at += 8 + item * elements
    if size < at:
        return State.TRUNCATED, f"has {size:,} of {at:,} bytes"
    if size > at:
        return State.BIT_FLIPPED, f"has {size:,} bytes and should end after {at:,}"
    return None
