"""NVIDIA's Xid and SXid codes: what each means, how bad it is, and what to do about it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.types import Severity

_FILE = Path(__file__).with_name("xid.toml")


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next.

    words:  for people; "" where nothing is to be done
    action: what it comes to in the catalogue of actions (``remediation.catalogue``), "" for none
    """

    words: str
    action: str


# What `next` comes to. Diagnostics of the vendor run on a node that is out, as a validation does;
# what only hands or the vendor can do is for people.
STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "none": Step("", ""),
        "follow_other": Step("see the error before it", ""),
        "check_app": Step("check the application", "restart_job"),
        "restart_app": Step("restart the application", "restart_job"),
        "reset_gpu": Step("reset the GPU", "reset_gpu"),
        "reset_gpu_when_idle": Step("reset the GPU when it is idle", "reset_gpu"),
        "reboot_node": Step("restart the node", "reboot_node"),
        "restart_vm": Step("restart the virtual machine", "reboot_node"),
        "field_diagnostics": Step("run the vendor's field diagnostics", "validate_node"),
        "check_power": Step("check the power cables", "page_person"),
        "check_cabling": Step("check the link's cables", "page_person"),
        "check_cooling": Step("check the cooling", "page_person"),
        "check_fabric_manager": Step("check the fabric manager's configuration", "page_person"),
        "restart_fabric_manager": Step("restart the fabric manager and the jobs", "page_person"),
        "reset_fabric": Step("reset the GPUs and switches of the fabric", "reboot_node"),
        "update_software": Step("update driver and firmware", "page_person"),
        "contact_support": Step("ask the vendor", "page_person"),
        "rma": Step("replace the GPU", "quarantine"),
    }
)


@dataclass(frozen=True, slots=True)
class Source:
    """Whose word a row follows, and of which day."""

    name: str
    date: date


@dataclass(frozen=True, slots=True)
class Xid:
    """One code; the words that a field may hold are in ``xid.toml``."""

    code: int
    meaning: str
    immediate: str
    investigate: str
    severity: Severity
    origin: str
    workload: str
    next: str
    source: Source
    mnemonic: str = ""
    alone: bool = True
    context: str = ""
    why: str = ""

    @property
    def step(self) -> Step:
        """Return the next step."""
        return STEPS[self.next]


@dataclass(frozen=True, slots=True)
class SXid:
    """One range of NVSwitch codes, first and last included."""

    first: int
    last: int
    kind: str
    meaning: str
    severity: Severity
    next: str

    @property
    def step(self) -> Step:
        """Return the next step."""
        return STEPS[self.next]


def xid(code: int) -> Xid:
    """Return what is known of an Xid; of one that the catalogue lacks, that it is not known."""
    return xids().get(code) or Xid(
        code=code,
        meaning="a code that is not known here; see NVIDIA's Xid catalogue",
        immediate="",
        investigate="",
        severity=Severity.WARNING,
        origin="unused",
        workload="may stop",
        next="contact_support",
        source=_sources()["gpumedic"],
        why="the catalogue lacks this code",
    )


def sxid(code: int) -> SXid:
    """Return what is known of an NVSwitch code."""
    found = (known for known in _sxids() if known.first <= code <= known.last)
    return next(found, None) or SXid(
        code, code, "unknown", "see NVIDIA's SXid catalogue", Severity.WARNING, "contact_support"
    )


@cache
def xids() -> Mapping[int, Xid]:
    """Return every code of the catalogue."""
    names = _read()["mnemonics"]
    return MappingProxyType(
        {
            code: Xid(
                code=code,
                mnemonic=names.get(str(code), ""),
                **_fields(entry, without="codes") | {"source": _sources()[entry["source"]]},
            )
            for entry in _read()["xid"]
            for code in entry["codes"]
        }
    )


@cache
def _sources() -> Mapping[str, Source]:
    return {key: Source(**entry) for key, entry in _read()["sources"].items()}


@cache
def _sxids() -> tuple[SXid, ...]:
    return tuple(
        SXid(first=first, last=last, **_fields(entry, without="ranges"))
        for entry in _read()["sxid"]
        for first, last in entry["ranges"]
    )


def _fields(entry: Mapping[str, Any], *, without: str) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key != without}
    return kept | {"severity": Severity(entry["severity"])}


@cache
def _read() -> Mapping[str, Any]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))
