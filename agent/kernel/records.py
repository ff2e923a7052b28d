"""Records of the kernel's log, as ``/dev/kmsg`` and the journal give them.

The form of a record is that of the kernel's Documentation/ABI/testing/dev-kmsg:
``level,number,microseconds since boot,flags[,more];text`` and, indented, ``KEY=value`` lines.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

# The kernel's longest record is 8 KiB (CONSOLE_EXT_LOG_MAX); a read with less room fails.
RECORD_BYTES = 8192
_HEAD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),([^,;]{1,8})[^;]{0,4096};")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_CONTINUES = frozenset("c+")
_US = 1e-6


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log.

    number: the kernel's own, without a gap; -1 where the source does not say
    boot_s: seconds since boot
    device: what it is about, ``pci:0000:18:00.0``, where the kernel says so
    begun:  it goes on what the record before it began
    """

    number: int
    boot_s: float
    text: str
    device: str = ""
    begun: bool = False


def kmsg_record(raw: bytes) -> Record | None:
    """Read a record of /dev/kmsg; None for what is none."""
    head = _HEAD.match(raw)
    if head is None:
        return None
    line, *more = raw[head.end() :].split(b"\n")
    said = dict(pair.strip().partition(b"=")[::2] for pair in more if pair.startswith(b" "))
    return Record(
        number=int(head[2]),
        boot_s=int(head[3]) * _US,
        text=_unescaped(line),
        device=_unescaped(said.get(b"DEVICE", b"")).lstrip("+"),
        begun=bool(_CONTINUES & {*head[4].decode(errors="replace")}),
    )


def journal_record(line: bytes) -> tuple[Record, str] | None:
    """Read a line of ``journalctl -o json`` and its cursor; None for what is no such line.

    The journal takes ``NVRM:`` for the name of a program where the line came by way of a process;
    here it is put back.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(cursor := fields.get("__CURSOR"), str):
        return None
    text = _text_of(fields.get("MESSAGE"))
    if (name := _text_of(fields.get("SYSLOG_IDENTIFIER"))) not in ("", "kernel"):
        text = f"{name}: {text}"
    boot_us = fields.get("_SOURCE_MONOTONIC_TIMESTAMP", fields.get("__MONOTONIC_TIMESTAMP"))
    since_boot = boot_us if isinstance(boot_us, str) and boot_us.isdecimal() else "0"
    device = _text_of(fields.get("_KERNEL_DEVICE")).lstrip("+")
    return Record(-1, int(since_boot[:20]) * _US, text, device), cursor


def joined(records: Iterable[Record]) -> Iterator[Record]:
    """Yield whole lines: a fragment is put behind the record before it."""
    whole: Record | None = None
    for record in records:
        if whole is not None and record.begun:
            text = (whole.text + record.text)[:RECORD_BYTES]
            whole = replace(record, text=text, device=whole.device or record.device)
            continue
        if whole is not None:
            yield whole
        whole = record
    if whole is not None:
        yield whole


def _unescaped(raw: bytes) -> str:
    r"""Return text as it was printed: the kernel writes what is not printable as ``\x0a``."""
    if b"\\x" in raw:
        raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), raw)
    return raw.decode(errors="replace")


def _text_of(value: object) -> str:
    """Return a field's text; the journal gives what is not UTF-8 as a list of bytes."""
    if isinstance(value, list):
        whole = [each for each in value if isinstance(each, int) and 0 <= each < 256]
        return bytes(whole).decode(errors="replace")
    return value if isinstance(value, str) else ""
