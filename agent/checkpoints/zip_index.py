"""Hold a zip's index against itself: what other readers forgive and torch does not.

A bit turned over in the central directory escapes a member's CRC-32. Layout: PKWARE's APPNOTE.TXT,
sections 4.3.12 to 4.3.16; what torch's writer puts there: caffe2/serialize/inline_container.cc.
"""

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY_BYTES = 46
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# Names in UTF-8, sizes after the data: the only flags that torch sets.
_FLAGS = 0x0808
_DIRECTORY = 0x10


def index_fault(file: BinaryIO | io.RawIOBase, members: Sequence[zipfile.ZipInfo]) -> str:
    """Return the first thing in a zip's index that cannot be as it was written; "" for none."""
    return next(chain(_of_members(members), _of_end(file, len(members))), "")


def _of_members(members: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    for each in members:
        if each.compress_type == zipfile.ZIP_STORED and each.compress_size != each.file_size:
            yield f"{each.filename} has two sizes, {each.compress_size:,} and {each.file_size:,}"
        if each.flag_bits & ~_FLAGS or each.volume or each.external_attr & _DIRECTORY:
            yield f"{each.filename} has marks that torch never sets"


def _of_end(file: BinaryIO | io.RawIOBase, count: int) -> Iterator[str]:
    """Yield what does not fit in the last records; a zip of torch's ends with them."""
    size = file.seek(0, io.SEEK_END)
    found = _read(file, size - _END.size, _END)
    if found is None or found[0] != b"PK\x05\x06":
        yield "its last record is damaged"
        return
    _, disk, first, here, total, length, start, comment = found
    if disk or first or comment:
        yield "its last record says that the zip goes on elsewhere"
    end = size - _END.size
    locator = _read(file, end - _LOCATOR.size, _LOCATOR)
    if locator is not None and locator[0] == b"PK\x06\x07":
        end = end - _LOCATOR.size - _END64.size
        wide = _read(file, end, _END64)
        if locator[1:] != (0, end, 1) or wide is None or wide[:2] != (b"PK\x06\x06", 44):
            yield "its last records do not lead to each other"
            return
        if here not in (_FULL16, wide[6]) or total not in (_FULL16, wide[7]):
            yield "its last records differ in their counts"
        if length not in (_FULL32, wide[8]) or start not in (_FULL32, wide[9]):
            yield "its last records differ in their places"
        if wide[4] or wide[5]:
            yield "its last record says that the zip goes on elsewhere"
        here, total, length, start = wide[6:]
    if (here, total) != (count, count):
        yield f"its index has {count} files and says {here} and {total}"
    if start + length != end or not _filled(file, start, length, count):
        yield "its index is not where its last record says, or not so long"


def _filled(file: BinaryIO | io.RawIOBase, start: int, length: int, count: int) -> bool:
    """Say whether so many entries fill the index to its last byte."""
    file.seek(start)
    index = file.read(length) or b""
    at = 0
    for _ in range(count):
        if index[at : at + 4] != b"PK\x01\x02" or at + _ENTRY_BYTES > len(index):
            return False
        at += _ENTRY_BYTES + sum(struct.unpack_from("<3H", index, at + 28))
    return at == len(index) == length


def _read(file: BinaryIO | io.RawIOBase, at: int, form: struct.Struct) -> tuple[Any, ...] | None:
    if at < 0:
        return None
    file.seek(at)
    data = file.read(form.size) or b""
    return form.unpack(data) if len(data) == form.size else None
