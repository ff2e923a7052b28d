"""NVIDIA's Xid and SXid codes: what each means, how bad it is, and what to do about it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.types import Severity

_FILE = Path(__file__).with_name("xid.toml")

# What `next` says in words; "" where there is nothing to do.
NEXT_STEPS: Mapping[str, str] = MappingProxyType(
    {
        "none": "",
        "follow_other": "see the error before it",
        "check_app": "check the application",
        "restart_app": "restart the application",
        "reset_gpu": "reset the GPU",
        "reset_gpu_when_idle": "reset the GPU when it is idle",
        "reboot_node": "restart the node",
        "restart_vm": "restart the virtual machine",
        "field_diagnostics": "run the vendor's field diagnostics",
        "check_power": "check the power cables",
        "check_cabling": "check the link's cables",
        "check_cooling": "check the cooling",
        "check_fabric_manager": "check the fabric manager's configuration",
        "restart_fabric_manager": "restart the fabric manager and the jobs",
        "reset_fabric": "reset the GPUs and switches of the fabric",
        "update_software": "update driver and firmware",
        "contact_support": "ask the vendor",
        "rma": "replace the GPU",
    }
)


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

    @property
    def step(self) -> str:
        """Return the next step in words, "" for none."""
        return NEXT_STEPS[self.next]


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
    def step(self) -> str:
        """Return the next step in words, "" for none."""
        return NEXT_STEPS[self.next]


def xid(code: int) -> Xid:
    """Return what is known of an Xid; of one that the catalogue lacks, that it is not known."""
    return xids().get(code) or Xid(
        code=code,
        meaning="see NVIDIA's Xid catalogue",
        immediate="",
        investigate="",
        severity=Severity.WARNING,
        origin="unused",
        workload="may stop",
        next="contact_support",
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
    return MappingProxyType(
        {
            code: Xid(code=code, **_fields(entry, without="codes"))
            for entry in _read()["xid"]
            for code in entry["codes"]
        }
    )


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
