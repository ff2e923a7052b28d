"""One order: a line of JSON with a verb of the closed list, checked key by key."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import InputError

MAX_LINE_BYTES = 4096
_KEY = re.compile(r"[A-Za-z0-9._:/-]{1,160}")
JOB = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_GPU = re.compile(r"GPU-[0-9a-fA-F-]{8,40}")

Plain = int | str | bool
# What each verb is told beside its key; ``restore`` instead of a value gives back what was before.
VALUES: Mapping[str, tuple[str, ...]] = {
    "power_limit": ("gpu", "watts"),
    "clock_lock": ("gpu", "percent"),
    "gpu_reset": ("gpu",),
    "signal": ("job", "pid", "started", "signal"),
    "renice": ("job", "pid", "started", "nice"),
    "ionice": ("job", "pid", "started", "io_class", "io_level"),
    "loader_hint": ("job", "loaders"),
    "reboot": (),
}
SUBJECT = ("gpu", "job", "pid", "started")
_TEXTS = {"gpu", "job", "signal", "io_class"}


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: ``key`` is its own, an order of the same key is carried out once.

    restore: give back what was there before the first order about this subject
    """

    verb: str
    key: str
    values: Mapping[str, Plain]
    restore: bool = False

    @property
    def subject(self) -> str:
        """Return what the order is about: a GPU, a process, a job, or the machine."""
        words = [str(self.values[name]) for name in SUBJECT if name in self.values]
        return "/".join(words) or "machine"

    def text(self, name: str) -> str:
        """Return a text among the values."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """Return a whole number among the values."""
        return int(self.values[name])

    @property
    def plain(self) -> dict[str, Any]:
        """Return what was asked, for the journal."""
        return {"verb": self.verb, **self.values, "restore": self.restore}


def read_order(line: bytes) -> Order:
    """Read an order; InputError says what was found and what would be taken."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError("The line is no JSON object. Send one object with verb and key a line.")
    verb, key, restore = found.pop("verb", None), found.pop("key", None), found.pop("restore", 0)
    if not isinstance(verb, str) or verb not in VALUES:
        raise InputError(f"The verb is {verb!r:.40}. Known are {', '.join(VALUES)}.")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InputError(f"The key is {key!r:.40}. Give 1 to 160 letters, digits or ._:/-.")
    if restore not in (False, True):
        raise InputError(f"restore is {restore!r:.40}. Give true, or leave it out.")
    wanted = [name for name in VALUES[verb] if name in SUBJECT or not restore]
    if set(found) != set(wanted):
        raise InputError(f"{verb} was told {sorted(found)!s:.100}. It needs {wanted}.")
    for name, value in found.items():
        _check(name, value)
    return Order(verb, key, found, bool(restore))


def _check(name: str, value: object) -> None:
    if name in _TEXTS:
        forms = {"gpu": _GPU, "job": JOB}
        fits = isinstance(value, str) and forms.get(name, JOB).fullmatch(value) is not None
        form = "a GPU's UUID" if name == "gpu" else "a plain name"
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
        form = "a whole number, 0 or more"
    if not fits:
        raise InputError(f"{name} is {value!r:.60}. Give {form}.")
