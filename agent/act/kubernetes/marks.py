"""What gpumedic writes on nodes and jobs, as annotations: who holds a node, and orders taken.

An order's key is written in the same change as what it does, so that neither is there without the
other, whatever happens to this process and whichever process goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.act.node_note import NodeNote

HELD, NOTED, ORDERS, PLACED = (f"gpumedic/{name}" for name in ("held", "noted", "orders", "placed"))
DECLARED = "gpumedic/job"
KEEP = 20  # the newest orders that an object keeps; one is not given again after so many others


@dataclass(frozen=True, slots=True)
class Taken:
    """An order that was taken.

    pods: by uid, that must go; spares: that are released; both may be done again
    """

    at_s: float
    pods: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Why gpumedic keeps a node out of service, and by which order; ``mark``: "lemon" or ""."""

    reason: str
    key: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """What was asked of the scheduler in a job's name: nodes to prefer, nodes to stay off."""

    prefer: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Marks:
    """All of it on one object; what is written badly is as if it were not there.

    orders: by key; placed: by role of the job's pods
    """

    held: Held | None = None
    noted: NodeNote = field(default_factory=NodeNote)
    orders: Mapping[str, Taken] = field(default_factory=dict)
    placed: Mapping[str, Placed] = field(default_factory=dict)


def marks_in(annotations: Mapping[str, str] | None) -> Marks:
    """Read an object's annotations."""
    if not annotations:
        return Marks()
    held = _read(annotations.get(HELD))
    orders = {key: _taken(value) for key, value in _read(annotations.get(ORDERS)).items()}
    placed = {role: _placed(value) for role, value in _read(annotations.get(PLACED)).items()}
    return Marks(
        Held(_text(held.get("reason")), _text(held.get("key")), _text(held.get("mark")))
        if held
        else None,
        _noted(_read(annotations.get(NOTED))),
        orders,
        placed,
    )


def written(value: Any) -> str:
    """Return the text of an annotation."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def with_order(marks: Marks, key: str, taken: Taken) -> str:
    """Return the text that keeps the orders and one more."""
    kept = sorted({**marks.orders, key: taken}.items(), key=lambda item: item[1].at_s)[-KEEP:]
    return written({name: [each.at_s, each.pods, each.spares] for name, each in kept})


def with_note(marks: Marks, **changes: Any) -> str:
    """Return the text that keeps what is noted, with these changes."""
    now = {name: getattr(marks.noted, name) for name in NodeNote.__dataclass_fields__}
    return written({name: value for name, value in {**now, **changes}.items() if value is not None})


def _read(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _noted(row: Mapping[str, Any]) -> NodeNote:
    return NodeNote(
        checked_s=_number(row.get("checked_s")),
        finding=_text(row.get("finding")),
        reset_s=_number(row.get("reset_s")),
        paged_s=_number(row.get("paged_s")),
        clocks=_number(row.get("clocks")) or 1.0,
        power_watts=_number(row.get("power_watts")),
    )


def _taken(value: Any) -> Taken:
    parts = value if isinstance(value, list) else []
    at_s, pods, spares = (*parts, None, None, None)[:3]
    return Taken(_number(at_s) or 0.0, _names(pods), _names(spares))


def _placed(value: Any) -> Placed:
    row = value if isinstance(value, dict) else {}
    return Placed(_names(row.get("prefer")), _names(row.get("avoid")))


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _names(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
