"""What a receiver gets is a contract: the same bytes for the same news, in the published form."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.answer import in_short
from agent.notify.envelope import MAX_ALERTS, Sender, body, envelope, trial_notification
from core.ports import Announcement, Notification
from core.target import Target
from core.types import IncidentState
from tests.diagnoses import ANSWERS, no_fault, slow_job
from tests.page_views import (
    NOW_S,
    done_plan,
    gpu_diagnosis,
    gpu_incident,
    refused_plan,
    thermal_incident,
    volume_diagnosis,
    volume_incident,
    waiting_plan,
)

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json.loads((ROOT / "docs" / "webhook.schema.json").read_text())
SENDER = Sender(cluster="helsinki-a", external_url="https://gpumedic.example")

MESSAGES = {
    "diagnosed": Notification(
        id="inc-41-diagnosed",
        announcement=Announcement.INCIDENT_DIAGNOSED,
        time_s=NOW_S,
        summary="Job 88213 stopped; row remap failed on node-003/GPU-003-5 (p=0.86)",
        incident=gpu_incident(),
        diagnosis=gpu_diagnosis(),
        plan=waiting_plan(),
    ),
    "no_fault": Notification(
        id="inc-7-diagnosed",
        announcement=Announcement.INCIDENT_DIAGNOSED,
        time_s=NOW_S,
        summary=in_short(no_fault()),
        incident=slow_job(),
        diagnosis=no_fault(),
    ),
    "breach": Notification(
        id="inc-42-opened",
        announcement=Announcement.BREACH_EXPECTED,
        time_s=NOW_S + 0.25,
        summary="/scratch is expected to be 95 % full in 42 min (p=0.91)",
        incident=volume_incident(),
    ),
    "refused": Notification(
        id="plan-16-refused",
        announcement=Announcement.PLAN_REFUSED,
        time_s=NOW_S,
        summary="Plan plan-16 is refused",
        incident=volume_incident(),
        diagnosis=volume_diagnosis(),
        plan=refused_plan(),
    ),
    "resolved": Notification(
        id="inc-40-resolved",
        announcement=Announcement.INCIDENT_RESOLVED,
        time_s=NOW_S,
        summary="node-018 is cool again",
        incident=thermal_incident(),
        plan=done_plan(),
    ),
    "test": trial_notification("test-1", NOW_S),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_what_it_was_byte_for_byte(name: str) -> None:
    expected = (GOLDEN / f"webhook_{name}.json").read_bytes()

    assert body(MESSAGES[name], SENDER, receiver="ops") == expected.rstrip(b"\n")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_the_published_form(name: str) -> None:
    assert problems(envelope(MESSAGES[name], SENDER, receiver="ops"), SCHEMA) == []


def test_the_schema_check_itself_finds_what_is_wrong() -> None:
    message = envelope(MESSAGES["diagnosed"], SENDER, receiver="ops")
    message["gpumedic"]["plan"]["state"] = "maybe"
    message["alerts"][0]["startsAt"] = "yesterday"
    message["gpumedic"]["extra"] = 1
    del message["groupKey"]

    found = "\n".join(problems(message, SCHEMA))

    assert "$.gpumedic.plan.state" in found
    assert "$.alerts[0].startsAt" in found
    assert "$.gpumedic: unknown key extra" in found
    assert "$: missing key groupKey" in found


@pytest.mark.parametrize("announcement", Announcement)
def test_every_announcement_is_in_the_schema(announcement: Announcement) -> None:
    message = replace(MESSAGES["diagnosed"], announcement=announcement)

    assert problems(envelope(message, SENDER, receiver="ops"), SCHEMA) == []


@pytest.mark.parametrize(
    ("name", "cause", "answer"),
    [
        ("named", "node-13: cooling_degraded (p=0.93)", "thermal"),
        ("several", "node-13: cooling_degraded (p=0.50)", "thermal"),
        ("uncertain", "node-13: cooling_degraded (p=0.45)", "thermal"),
        ("unknown", "unknown (p=0.72)", "unknown"),
        ("no_fault", "no_fault (p=0.91)", "no_fault"),
    ],
)
def test_an_alerts_annotations_say_what_to_check_first(name: str, cause: str, answer: str) -> None:
    message = replace(MESSAGES["no_fault"], summary="", diagnosis=ANSWERS[name]())

    said = envelope(message, SENDER, receiver="ops")["commonAnnotations"]

    check = "node-13: read the fans' speed (ipmitool sdr type fan)"
    assert said == {"summary": "", "cause": cause, "class": answer, "check": check}


def test_a_number_nobody_knows_is_null() -> None:
    incident = volume_incident()
    breach = replace(incident.breaches[0], skill=math.nan, value=math.inf, expected_s=math.nan)
    message = replace(MESSAGES["breach"], incident=replace(incident, breaches=(breach,)))

    forecast = json.loads(body(message, SENDER, receiver="ops"))["gpumedic"]["forecast"]

    assert (forecast["skill"], forecast["value"], forecast["expected"]) == (None, None, None)


def test_a_dead_switch_does_not_make_a_message_of_a_thousand_alerts() -> None:
    targets = tuple(Target(node=f"node-{i}") for i in range(1000))
    message = replace(MESSAGES["diagnosed"], incident=replace(gpu_incident(), targets=targets))

    sent = envelope(message, SENDER, receiver="ops")

    assert len(sent["alerts"]) == MAX_ALERTS
    assert sent["truncatedAlerts"] == 1000 - MAX_ALERTS
    assert sent["gpumedic"]["incident"]["target_count"] == 1000


def test_the_alerts_of_an_incident_keep_their_labels_as_it_grows() -> None:
    grown = replace(
        gpu_incident(), title="Something else", anomalies=(), events=gpu_incident().events
    )

    before, after = (
        envelope(replace(MESSAGES["diagnosed"], incident=each), SENDER, receiver="ops")
        for each in (gpu_incident(), grown)
    )

    assert before["alerts"][0]["fingerprint"] == after["alerts"][0]["fingerprint"]


@given(text=st.text(), incident_id=st.text(min_size=1))
def test_any_text_from_outside_is_carried_and_read_back(text: str, incident_id: str) -> None:
    incident = replace(gpu_incident(), title=text, id=incident_id, state=IncidentState.OPEN)
    message = replace(MESSAGES["diagnosed"], incident=incident, summary=text)

    read = json.loads(body(message, SENDER, receiver="ops"))

    assert read["commonAnnotations"]["summary"] == text
    assert problems(read, SCHEMA) == []


def problems(value: Any, schema: Any, at: str = "$") -> list[str]:
    """Check ``value`` against the part of JSON Schema 2020-12 that our schema uses."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:  # null or something
        return [] if value is None else problems(value, schema["anyOf"][1], at)
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    if value not in allowed:
        return [f"{at}: {value!r} is not one of {allowed}"]
    if "type" in schema and not _is(value, schema["type"]):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if not re.search(schema.get("pattern", ""), value if isinstance(value, str) else ""):
        return [f"{at}: {value!r} has another form"]
    if isinstance(value, list):
        each = schema.get("items", {})
        return [p for i, item in enumerate(value) for p in problems(item, each, f"{at}[{i}]")]
    return _in_object(value, schema, at) if isinstance(value, dict) else []


def _in_object(value: dict[str, Any], schema: Any, at: str) -> list[str]:
    known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
    found = [f"{at}: missing key {key}" for key in schema.get("required", ()) if key not in value]
    for key, item in value.items():
        if key in known:
            found += problems(item, known[key], f"{at}.{key}")
        elif rest is False:
            found.append(f"{at}: unknown key {key}")
        elif isinstance(rest, dict):
            found += problems(item, rest, f"{at}.{key}")
    return found


def _is(value: Any, kinds: str | list[str]) -> bool:
    types: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "null": type(None),
        "integer": int,
        "number": (int, float),
    }
    listed = [kinds] if isinstance(kinds, str) else kinds
    return any(
        isinstance(value, types[kind])
        and not (kind in ("integer", "number") and isinstance(value, bool))
        for kind in listed
    )
