"""Alerts of Alertmanager and Grafana as events: strict about what is needed, lenient to the rest.

Alertmanager's webhook, version 4, and Grafana's superset of it: unknown keys are passed over, one
alert that cannot be used does not cost the others, and nothing in it is trusted to be short, to be
printable or to be in the past.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.notify.labels import SOURCE, fingerprint, target_of
from agent.times import from_rfc3339, rfc3339, still_firing
from core.errors import InputError
from core.types import Event, Severity

EVENT_KIND = "alert"
MAX_ALERTS = 10_000
MAX_NAME_CHARS = 256
MAX_TEXT_CHARS = 1000
_SHOWN_ERRORS = 5
_TEXT_FROM = ("summary", "description", "message")

# Words for severity that rules in the wild use, beside Prometheus' own three.
_SEVERITIES: Mapping[str, Severity] = {
    **dict.fromkeys(
        ("critical", "crit", "page", "fatal", "emergency", "disaster", "high", "p1", "error"),
        Severity.CRITICAL,
    ),
    **dict.fromkeys(("warning", "warn", "average", "medium", "p2", "p3"), Severity.WARNING),
    **dict.fromkeys(("info", "informational", "none", "low", "notice", "debug"), Severity.INFO),
}


@dataclass(frozen=True, slots=True)
class AlertKey:
    """What makes an alert the same one when it is delivered again."""

    group_key: str
    fingerprint: str
    starts_at: str
    status: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One usable alert; ``own``: gpumedic sent it to Alertmanager itself."""

    key: AlertKey
    event: Event
    firing: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Parsed:
    """The alerts that can be used, and what is wrong with those that cannot."""

    alerts: tuple[Alert, ...]
    errors: tuple[str, ...]


def parse(body: bytes, now_s: float) -> Parsed:
    """Read a webhook's body; InputError says what was found where nothing of it can be used."""
    document = _document(body)
    found = document.get("alerts")
    if not isinstance(found, list):
        raise _unusable(f"'alerts' is {_kind(found)}", "a list of alerts under 'alerts'")
    if len(found) > MAX_ALERTS:
        raise _unusable(f"{len(found)} alerts", f"at most {MAX_ALERTS} in one message")
    group_key = _clean(document.get("groupKey"), MAX_TEXT_CHARS)
    status = document.get("status")
    alerts, errors = [], []
    for index, item in enumerate(found):
        try:
            alerts.append(_alert(item, group_key=group_key, status=status, now_s=now_s))
        except InputError as error:
            errors.append(f"alerts[{index}]: {error}")
    if errors and not alerts:
        raise _unusable("; ".join(errors[:_SHOWN_ERRORS]), "one usable alert at least")
    return Parsed(tuple(alerts), tuple(errors))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        found = "nesting too deep" if isinstance(error, RecursionError) else str(error)
        raise _unusable(f"{len(body)} bytes that are no JSON ({found:.120})", "JSON") from None
    if not isinstance(document, dict):
        raise _unusable(_kind(document), "an object")
    return document


def _alert(item: object, *, group_key: str, status: object, now_s: float) -> Alert:
    if not isinstance(item, dict):
        raise InputError(f"found {_kind(item)}, needs an object")
    labels = _texts(item.get("labels"), "labels")
    name = labels.get("alertname", "").strip()
    if not name:
        raise InputError("labels.alertname is missing or empty")
    firing = _is_firing(item, item.get("status", status))
    starts_s = _time(item, "startsAt")
    word = "firing" if firing else "resolved"
    given = _clean(item.get("fingerprint"), MAX_NAME_CHARS)
    key = AlertKey(group_key, given or fingerprint(labels), rfc3339(starts_s) or "", word)
    event = Event(
        target=target_of(labels),
        time_s=min(starts_s, now_s),
        kind=EVENT_KIND,
        code=name,
        text=_text(item.get("annotations")) or name,
        severity=severity_of(labels.get("severity", "")),
    )
    return Alert(key, event, firing, labels.get("source") == SOURCE and "incident" in labels)


def severity_of(word: str) -> Severity:
    """Map a rule's word for severity; an unknown one is a warning."""
    return _SEVERITIES.get(word.strip().lower(), Severity.WARNING)


def _is_firing(item: Mapping[str, Any], status: object) -> bool:
    """Say whether the alert fires; an ``endsAt`` in year 1 says so too, where no status does."""
    if status in ("firing", "resolved"):
        return status == "firing"
    if status is not None:
        raise InputError(f"status is {status!r:.40}, needs firing or resolved")
    return "endsAt" not in item or still_firing(_time(item, "endsAt"))


def _time(item: Mapping[str, Any], name: str) -> float:
    try:
        return from_rfc3339(item.get(name))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _texts(found: object, name: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise InputError(f"{name} is {_kind(found)}, needs an object of texts")
    if wrong := next((key for key, value in found.items() if not isinstance(value, str)), None):
        raise InputError(f"{name}.{wrong:.40} is {_kind(found[wrong])}, needs a text")
    return {
        _clean(key, MAX_NAME_CHARS): _clean(value, MAX_NAME_CHARS) for key, value in found.items()
    }


def _text(annotations: object) -> str:
    found = annotations if isinstance(annotations, dict) else {}
    return next((text for name in _TEXT_FROM if (text := _clean(found.get(name)))), "")


def _clean(found: object, longest: int = MAX_TEXT_CHARS) -> str:
    """Return text on one line that any store, terminal and page takes; "" for what is no text."""
    if not isinstance(found, str):
        return ""
    printable = (c if c.isprintable() else " " for c in found[: 2 * longest])
    return " ".join("".join(printable).split())[:longest]


def _kind(found: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "missing" if found is None else names.get(type(found), "a number")


def _unusable(found: str, needed: str) -> InputError:
    return InputError(
        f"Reading alerts: found {found}; needs {needed}, as Alertmanager's webhook version 4 "
        "or Grafana's webhook send it."
    )


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")
