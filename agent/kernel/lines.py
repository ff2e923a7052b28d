"""What a line of the kernel's log says: pure functions from text to a finding.

NVIDIA's error codes are read here; all else is in ``forms``.
"""

import re
from dataclasses import dataclass

from agent.kernel.forms import FORMS, PCI, Part
from core.types import Severity
from detectors.faults.catalogue import sxid, xid
from detectors.faults.recovery import KIND as RECOVERY
from detectors.faults.recovery import RECOVERY_ACTIONS

# The kernel cuts a line near this (LOG_LINE_MAX); more of one is no line.
MAX_LINE = 2048
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """What a line says; ``device`` is "" where it names none, or the node itself."""

    kind: str
    code: str
    severity: Severity
    text: str
    part: Part = Part.NODE
    device: str = ""


_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?P<device>[0-9a-f:.]{7,16})[^)]{0,40}\): (?P<code>\d{1,4})\b"
    r"(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_SXID = re.compile(r"SXid \(PCI:(?P<device>[0-9a-f:.]{7,16})\): (?P<code>\d{1,5}), (?P<rest>.*)")
_SXID_DETAIL = re.compile(r"(?:Data \{|Severity \d)")
_RECOVERY = re.compile(r"recovery action changed from \S+ \([^)]*\) to 0x(?P<to>[0-9a-f]{1,4})\b")
GPU_UUID = re.compile(rf"NVRM: GPU at (?:PCI:)?{PCI}: (?P<uuid>GPU-[0-9a-f-]{{36}})", re.IGNORECASE)


def finding(text: str) -> Finding | None:
    """Return what a line says, None for most lines."""
    text = text[:MAX_LINE]
    if found := _XID.search(text):
        return _xid(found, text)
    if found := _SXID.search(text):
        return _sxid(found, text)
    plain = text.lower()
    for form in FORMS:
        if form.word in plain and (found := form.pattern.search(text)):
            named = found.groupdict().get("device") or ""
            return _found(form.kind, form.code, form.severity, text, (form.part, named))
    return None


def recovery(text: str) -> Finding | None:
    """Return what the driver says that a GPU needs, where Xid 154 says so."""
    found = _XID.search(text) if "recovery action" in text else None
    to = _RECOVERY.search(found["rest"]) if found else None
    if found is None or to is None:
        return None
    word = RECOVERY_ACTIONS.get(int(to["to"], 16), f"unknown_{int(to['to'], 16)}")
    return _found(RECOVERY, word, Severity.INFO, text, (Part.PCI, found["device"]))


def pci_of(address: str) -> str:
    """Return domain, bus and device of an address in any form: 0000:18:00.

    NVML writes 00000000:18:00.0, the kernel 0000:18:00.0, an Xid PCI:0000:18:00.
    """
    parts = address.lower().removeprefix("pci:").partition(".")[0].split(":")
    if len(parts) == 2:
        parts = ["0", *parts]
    try:
        domain, bus, device = (int(part, 16) for part in parts)
    except ValueError:
        return ""
    return f"{domain:04x}:{bus:02x}:{device:02x}"


def _xid(found: re.Match[str], text: str) -> Finding:
    code = int(found["code"])
    return _found("xid", str(code), xid(code).severity, text, (Part.PCI, found["device"]))


def _sxid(found: re.Match[str], text: str) -> Finding | None:
    """Return an NVSwitch's error; its lines of details say nothing new."""
    if _SXID_DETAIL.match(found["rest"]):
        return None
    code = int(found["code"])
    return _found("sxid", str(code), sxid(code).severity, text, (Part.NODE, ""))


def _found(kind: str, code: str, severity: Severity, text: str, where: tuple[Part, str]) -> Finding:
    part, device = where
    if part is Part.PCI:
        device = pci_of(device)
    elif part is Part.PORT:
        device = device.replace(" port ", ":")
    cut = text[: 2 * MAX_TEXT]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else " " for c in cut)
    plain = " ".join(cut.split())
    return Finding(kind, code, severity, plain[:MAX_TEXT], part, device)
