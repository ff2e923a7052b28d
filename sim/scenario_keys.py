"""The keys of a scenario's file: which there are, what each takes, and how a value is written."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from datetime import UTC, datetime
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from core.errors import InputError
from sim.checks import nearest, read_seconds, write_seconds
from sim.scenario import JOB_KINDS, TELEMETRY

# A time's key is its field without the unit, as the value has one; where that name is taken or
# says too little, this one.
_RENAMED = {
    "batch_more_s": "batch_more",
    "batch_s": "batch_time",
    "check_s": "check_every",
    "reboot_hi_s": "reboot_longest",
    "reboot_lo_s": "reboot_shortest",
    "requeue_s": "requeue_after",
    "restart_s_per_gpu": "restart_per_gpu",
}
_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "moment": datetime.timestamp,
    "number": float,
    "whole": int,
}
_NO_TIME = ("nic_bytes_per_s", "storage_bytes_per_s")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: the field it sets and what it takes.

    kind:    moment, time, number, whole, switch or text
    choices: of a text; empty for any
    """

    name: str
    field: str
    kind: str
    choices: tuple[str, ...] = ()
    default: Any = None
    required: bool = False

    def read(self, value: Any) -> Any:
        """Return a file's value as the field's; InputError says what it must be."""
        match self.kind:
            case "time":
                return read_seconds(value)
            case "moment":
                good = isinstance(value, datetime) and value.tzinfo is not None
                wanted = "a moment such as 2026-03-01T08:00:00Z"
            case "number":
                good, wanted = _number(value), "a number"
            case "whole":
                good, wanted = _number(value) and value == int(value), "a whole number"
            case "switch":
                good, wanted = isinstance(value, bool), "true or false"
            case _:
                good, wanted = isinstance(value, str), "text in quotes"
        if good and self.choices and value not in self.choices:
            raise InputError(f"{value!r} is none it can be; {nearest(value, self.choices)}")
        if not good:
            raise InputError(f"{value!r} is not {wanted}.")
        if self.kind in _CONVERT:
            return _CONVERT[self.kind](value)
        return value

    def write(self, value: Any) -> Any:
        """Return a field's value as ``read`` takes it."""
        if self.kind == "moment":
            return datetime.fromtimestamp(value, UTC)
        return write_seconds(value) if self.kind == "time" and math.isfinite(value) else value


@cache
def keys_of(kind: type) -> Mapping[str, Key]:
    """Return the keys of a part of a scenario: those of its plain fields."""
    hints = get_type_hints(kind)
    keys = {}
    for part in fields(kind):
        hint = hints[part.name]
        if get_origin(hint) is UnionType:
            hint = next(choice for choice in get_args(hint) if choice is not type(None))
        made = _key(part, hint)
        if made is not None:
            keys[made.name] = made
    return keys


def key_name(field: str) -> str:
    """Return the key that sets a field."""
    if field in _RENAMED:
        return _RENAMED[field]
    return field.removesuffix("_s") if field not in _NO_TIME else field


_CHOICES: Mapping[str, tuple[str, ...]] = {"kind": JOB_KINDS, "telemetry": TELEMETRY}
_KINDS = {bool: "switch", int: "whole", str: "text", float: "number"}


def _key(part: Field[Any], hint: Any) -> Key | None:
    """Return the key of a field; None of one that is a part of its own, with its own section."""
    kind = _KINDS.get(hint)
    if kind is None:
        return None
    if part.name == "start_s":
        kind = "moment"
    elif kind == "number" and part.name not in _NO_TIME:
        kind = "time" if part.name.endswith("_s") or part.name in _RENAMED else kind
    return Key(
        name=key_name(part.name),
        field=part.name,
        kind=kind,
        choices=_CHOICES.get(part.name, ()),
        default=part.default,
        required=part.default is MISSING,
    )


def plain(spec: Any) -> dict[str, Any]:
    """Return the keys of a part that are not as they are by default, as a file writes them."""
    table = {}
    kind: type = type(spec)
    for key in keys_of(kind).values():
        value = getattr(spec, key.field)
        if value is not None and value != key.default:
            table[key.name] = key.write(value)
    return table


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124
