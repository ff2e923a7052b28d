"""What safetensors writes, by its public format: a length, a JSON header, the tensors.

8 bytes: length N of the header, little endian; N bytes of JSON: name -> dtype, shape and
data_offsets (begin, end) into what follows, which has no holes; the tensors. No checksums.
"""

import io
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.checkpoints.found import Checked, Format, Seen, State, Trouble
from agent.checkpoints.torch_files import LEGACY_MAGIC, ZIP_MAGIC, beginning, never_written

# The library refuses longer headers.
_MAX_HEADER_BYTES = 100_000_000
_BITS: Mapping[str, int] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


def look_at_safetensors(path: Path) -> Seen:
    """Look at a file that its name says safetensors wrote; OSError where it cannot be read."""
    header, trouble = read_header(path)
    if trouble is not None:
        state = Format.UNKNOWN if trouble.state is State.WRONG_FORMAT else Format.SAFETENSORS
        return Seen(state, (trouble,))
    step = _step(header.get("__metadata__"))
    return Seen(Format.SAFETENSORS, step=step, checked=Checked.NO_CHECKSUMS)


def read_header(path: Path) -> tuple[Mapping[str, Any], Trouble | None]:
    """Return the header, name -> entry, and what is wrong with the file."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(9)
        length = struct.unpack("<Q", head[:8])[0] if len(head) == 9 else 0
        if trouble := _unlike(head, length, size, path.name):
            return {}, trouble
        file.seek(8)
        written = file.read(length)
    try:
        header = json.loads(written)
        end = 8 + length + _end_of(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {}, Trouble(State.BIT_FLIPPED, path.name, f"its header is damaged ({error})")
    if end > size:
        return {}, Trouble(State.TRUNCATED, path.name, f"has {size:,} of {end:,} bytes")
    if end < size:
        text = f"has {size:,} bytes and should end after {end:,}"
        return {}, Trouble(State.BIT_FLIPPED, path.name, text)
    return header, None


def _unlike(head: bytes, length: int, size: int, name: str) -> Trouble | None:
    """Say what in the first 9 bytes shows that there is no header to read; None where nothing."""
    if len(head) < 9:
        text = "is empty" if size == 0 else f"ends after {size} bytes"
        return Trouble(State.TRUNCATED, name, text)
    if head[8:] != b"{" or length > _MAX_HEADER_BYTES:
        return _stranger(head, length, size, name)
    if 8 + length > size:
        text = f"has {size:,} bytes; its header alone takes {8 + length:,}"
        return Trouble(State.TRUNCATED, name, text)
    return None


def _end_of(header: Mapping[str, Any]) -> int:
    """Return where the last tensor ends; ValueError where two overlap or leave a hole."""
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        bits = _BITS.get(entry["dtype"])
        if bits is None and any(_one_bit_apart(entry["dtype"], known) for known in _BITS):
            raise ValueError(f"{name} has the type {entry['dtype']!r:.20}, a bit from a known one")
        if bits is not None and math.prod(entry["shape"]) * bits != (end - begin) * 8:
            raise ValueError(f"{name} is not as long as its shape says")
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at or end < begin:
            raise ValueError(f"the tensors leave a hole or overlap at byte {at}")
        at = end
    return at


def _one_bit_apart(one: str, other: str) -> bool:
    """Say whether a word is another with one bit changed; a newer type's name is none such."""
    ours, theirs = one.encode(), other.encode()
    if len(ours) != len(theirs):
        return False
    return sum((a ^ b).bit_count() for a, b in zip(ours, theirs, strict=True)) == 1


def _stranger(head: bytes, length: int, size: int, name: str) -> Trouble:
    if head.startswith((ZIP_MAGIC, LEGACY_MAGIC[:9])):
        return Trouble(State.WRONG_FORMAT, name, "is what torch.save writes, not safetensors")
    if text := never_written(head, size):
        return Trouble(State.TRUNCATED, name, text)
    bits_of_length = (length ^ (1 << bit) for bit in range(64))
    if head[8:] == b"{" and any(0 < each <= size for each in bits_of_length):
        text = f"the length of its header, {length:,}, is impossible in {size:,} bytes"
        return Trouble(State.BIT_FLIPPED, name, text)
    if (head[8] ^ ord("{")).bit_count() == 1 and 0 < length < size:
        return Trouble(State.BIT_FLIPPED, name, "its header does not begin with a brace")
    text = f"is not safetensors: it begins with {beginning(head)}"
    return Trouble(State.WRONG_FORMAT, name, text)


def _step(metadata: object) -> int | None:
    """Return the step in the header's free words, or None."""
    if not isinstance(metadata, Mapping):
        return None
    text = next((metadata[key] for key in ("global_step", "step") if key in metadata), None)
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 16 else None
