"""Alerts come in once each, only from who may send them, and nothing that is sent can harm."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from agent.alerts import parse, severity_of
from agent.database import Database
from agent.inbound import Inbound, InboundSettings
from agent.notify.envelope import envelope
from agent.notify.labels import alert_labels, target_of
from agent.notify.signing import sign
from agent.refuse import Refused, refuse
from core.clock import ManualClock
from core.errors import InputError, StoreError
from core.target import Target
from core.types import Event, Severity
from tests.test_webhook_envelope import MESSAGES, SENDER

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
NOW_S = 1_700_000_000.0
STARTS = "2023-11-14T22:03:20.123456789Z"  # nanoseconds, as Go writes them
OTHER_STARTS = "2023-11-14T22:05:00+01:00"

ALERT = {
    "status": "firing",
    "labels": {"alertname": "GpuHot", "severity": "critical", "instance": "node-7:9100"},
    "annotations": {"summary": "GPU is hot"},
    "startsAt": STARTS,
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "abc123",
}
ALERTMANAGER = {
    "receiver": "gpumedic",
    "status": "firing",
    "alerts": [ALERT],
    "groupLabels": {"alertname": "GpuHot"},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://alertmanager",
    "version": "4",
    "groupKey": '{}:{alertname="GpuHot"}',
    "truncatedAlerts": 0,
    "notification_reason": "new",
}
GRAFANA = {
    **ALERTMANAGER,
    "version": "1",
    "orgId": 1,
    "title": "[FIRING:1]",
    "state": "alerting",
    "message": "**Firing**",
    "alerts": [
        {
            **ALERT,
            "values": {"A": 91.5},
            "valueString": "[ var='A' value=91.5 ]",
            "silenceURL": "http://grafana/silence",
            "dashboardURL": "",
            "panelURL": "",
            "orgId": 1,
        }
    ],
}


class Sink:
    """Takes events as the controller would; ``broken`` is a store that cannot be written."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended: list[str] = []
        self.broken = False
        self.counted: list[str] = []

    async def take(self, firing: Mapping[str, Event], resolved: Sequence[str]) -> None:
        if self.broken:
            raise StoreError("Writing: database or disk is full.")
        self.events += [event for event in firing.values() if event not in self.events]
        self.ended += resolved


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path, owner="test")
    yield opened
    opened.close()


def client(database: Database, sink: Sink, clock: ManualClock, **rest: Any) -> httpx2.AsyncClient:
    inbound = Inbound(
        database,
        sink.take,
        clock=clock,
        settings=InboundSettings(**rest),
        counted=sink.counted.append,
    )
    app = Starlette(
        routes=[Route("/v1/alerts", inbound.__call__, methods=["POST"])],
        exception_handlers={Refused: _never, StoreError: _store},
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def _never(request: object, error: Exception) -> Any:
    raise AssertionError("the handler answers its own refusals") from error


async def _store(request: object, error: Exception) -> Any:
    return refuse(503, "store", str(error), "")


async def post(http: httpx2.AsyncClient, content: object, **headers: str) -> httpx2.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await http.post(
        "/v1/alerts", content=body, headers={"content-type": "application/json", **headers}
    )


@pytest.mark.parametrize("message", [ALERTMANAGER, GRAFANA], ids=["alertmanager", "grafana"])
async def test_an_alert_becomes_an_event_on_its_node(
    database: Database, sink: Sink, clock: ManualClock, message: dict[str, Any]
) -> None:
    answer = await post(client(database, sink, clock), message)

    (event,) = sink.events
    assert (answer.status_code, answer.json()["new"]) == (202, 1)
    assert (event.kind, event.code, event.severity) == ("alert", "GpuHot", Severity.CRITICAL)
    assert (event.target, event.text) == (Target(node="node-7"), "GPU is hot")
    assert event.time_s == pytest.approx(1_699_999_400.123, abs=0.001)
    assert sink.counted == ["accepted"]


async def test_the_same_delivery_again_changes_nothing(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    http = client(database, sink, clock)
    for _ in range(3):
        answer = await post(http, ALERTMANAGER)

    assert (answer.status_code, answer.json()["duplicate"]) == (202, 1)
    assert len(sink.events) == 1
    assert sink.counted == ["accepted", "duplicate", "duplicate"]


async def test_the_same_alert_firing_anew_is_new(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    http = client(database, sink, clock)
    await post(http, ALERTMANAGER)
    again = {**ALERTMANAGER, "alerts": [{**ALERT, "startsAt": OTHER_STARTS}]}

    assert (await post(http, again)).json()["new"] == 1
    assert len(sink.events) == 2


async def test_a_resolved_alert_is_taken_and_is_no_event(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    resolved = {**ALERT, "status": "resolved", "endsAt": "2023-11-14T22:10:00Z"}

    answer = await post(
        client(database, sink, clock), {**ALERTMANAGER, "status": "resolved", "alerts": [resolved]}
    )

    assert (answer.status_code, answer.json()["resolved"]) == (202, 1)
    assert sink.events == []
    assert sink.ended == [ALERT["fingerprint"]]


async def test_our_own_alerts_that_come_back_are_no_news(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    answer = await post(
        client(database, sink, clock), envelope(MESSAGES["breach"], SENDER, receiver="x")
    )

    assert (answer.status_code, answer.json()["own"]) == (202, 1)
    assert sink.events == []


async def test_one_bad_alert_does_not_cost_the_others(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    bad = {**ALERT, "startsAt": "yesterday", "fingerprint": "zzz"}

    answer = await post(client(database, sink, clock), {**ALERTMANAGER, "alerts": [bad, ALERT]})

    assert (answer.json()["new"], answer.json()["refused"]) == (1, 1)
    assert "alerts[0]: startsAt: found 'yesterday'" in answer.json()["errors"][0]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"alerts": [NaN]}', "NaN is no JSON"),
        (b"[" * 100_000, "nesting too deep"),
        (b'{"alerts": ' + b"9" * 5000 + b"}", "no JSON"),
        ([], "a list"),
        ({}, "'alerts' is missing"),
        ({"alerts": "all"}, "'alerts' is a text"),
        ({"alerts": [7]}, "alerts[0]: found a number"),
        ({"alerts": [{}]}, "labels is missing"),
        ({"alerts": [{"labels": {"severity": "x"}}]}, "labels.alertname is missing"),
        ({"alerts": [{"labels": {"alertname": 5}}]}, "labels.alertname is a number"),
        ({"alerts": [{**ALERT, "status": "maybe"}]}, "status is 'maybe'"),
        ({"alerts": [{**ALERT, "startsAt": None}]}, "startsAt: found None"),
        ({"alerts": [{**ALERT, "startsAt": "2023-11-14T22:03:20"}]}, "needs a time like"),
        ({"alerts": [ALERT] * 10_001}, "10001 alerts"),
    ],
)
async def test_a_malformed_message_is_refused_with_what_is_needed(
    database: Database, sink: Sink, clock: ManualClock, message: Any, found: str
) -> None:
    answer = await post(client(database, sink, clock), message)

    assert answer.status_code == 400
    assert found in answer.json()["error"]
    assert set(answer.json()) == {"code", "error", "remedy"}
    assert sink.counted == ["malformed"]
    assert sink.events == []


async def test_a_signed_message_is_taken(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    body = json.dumps(ALERTMANAGER).encode()
    headers = sign(body, message_id="m1", now_s=clock.now_s(), secrets=[SECRET])

    answer = await post(client(database, sink, clock, secrets=(SECRET,)), body, **headers)

    assert answer.status_code == 202


async def test_alertmanagers_bearer_secret_is_taken(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    http = client(database, sink, clock, secrets=(SECRET,))

    assert (await post(http, ALERTMANAGER, authorization=f"Bearer {SECRET}")).status_code == 202


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, "neither webhook-signature nor Authorization"),
        ({"authorization": "Bearer wrong"}, "does not fit"),
        ({"authorization": f"Basic {SECRET}"}, "does not fit"),
        ({"authorization": "Bearer"}, "does not fit"),
        ({"webhook-signature": "v1,AAAA"}, "header webhook-id is missing"),
    ],
)
async def test_an_unsigned_message_is_refused(
    database: Database, sink: Sink, clock: ManualClock, headers: dict[str, str], found: str
) -> None:
    answer = await post(client(database, sink, clock, secrets=(SECRET,)), ALERTMANAGER, **headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unsigned")
    assert found in answer.json()["error"]
    assert (sink.events, sink.counted) == ([], ["unsigned"])


async def test_a_replayed_message_is_refused(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    body = json.dumps(ALERTMANAGER).encode()
    headers = sign(body, message_id="m1", now_s=clock.now_s(), secrets=[SECRET])
    http = client(database, sink, clock, secrets=(SECRET,))
    await clock.advance(301.0)

    answer = await post(http, body, **headers)

    assert answer.status_code == 401
    assert "301 s old" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_refused(
    database: Database, sink: Sink, clock: ManualClock, kind: str
) -> None:
    http = client(database, sink, clock)

    answer = await post(http, ALERTMANAGER, **{"content-type": kind})

    assert answer.status_code == 415


async def test_too_much_is_refused_before_it_is_read(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    answer = await post(client(database, sink, clock, max_body=1000), b"x" * 50_000)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert sink.counted == ["too_large"]


async def test_too_much_without_an_announced_length_is_cut_off_at_the_limit(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    given_out = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given_out
        while True:
            given_out += 65536
            yield b"x" * 65536

    answer = await client(database, sink, clock, max_body=300_000).post(
        "/v1/alerts", content=endless(), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 413
    assert given_out < 600_000


async def test_a_flood_from_one_address_is_slowed(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    http = client(database, sink, clock, per_minute=3)
    statuses = [(await post(http, ALERTMANAGER)).status_code for _ in range(5)]
    await clock.advance(20.0)
    later = (await post(http, ALERTMANAGER)).status_code

    assert statuses == [202, 202, 202, 429, 429]
    assert later == 202


async def test_an_alert_is_not_forgotten_while_the_store_is_full(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    http = client(database, sink, clock)
    sink.broken = True
    refused = await post(http, ALERTMANAGER)
    sink.broken = False

    answer = await post(http, ALERTMANAGER)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert (answer.json()["new"], len(sink.events)) == (1, 1)


async def test_deliveries_are_forgotten_after_a_month_without_repeat(
    database: Database, sink: Sink, clock: ManualClock
) -> None:
    inbound = Inbound(database, sink.take, clock=clock, settings=InboundSettings())
    http = client(database, sink, clock)
    await post(http, ALERTMANAGER)
    await clock.advance(20 * 86400.0)
    await post(http, ALERTMANAGER)
    await clock.advance(20 * 86400.0)

    assert await inbound.prune() == 0
    await clock.advance(20 * 86400.0)
    assert await inbound.prune() == 1


def test_an_alert_from_the_future_happened_now() -> None:
    message = {**ALERTMANAGER, "alerts": [{**ALERT, "startsAt": "9999-12-31T23:59:59Z"}]}

    (alert,) = parse(json.dumps(message).encode(), NOW_S).alerts

    assert alert.event.time_s == NOW_S


def test_odd_text_is_made_fit_for_any_terminal() -> None:
    labels = {**ALERT["labels"], "alertname": "A\x1b[31m\n\u202eB\ud800"}  # type: ignore[dict-item]
    annotations = {"summary": "x" * 5000}
    message = {"alerts": [{**ALERT, "labels": labels, "annotations": annotations}]}

    (alert,) = parse(json.dumps(message).encode(), NOW_S).alerts

    assert alert.event.code.isprintable()
    alert.event.code.encode()
    assert len(alert.event.text) == 1000


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"instance": "node-7:9100"}, Target(node="node-7")),
        ({"instance": "[fd00::7]:9100"}, Target(node="fd00::7")),
        ({"instance": "fd00::7"}, Target(node="fd00::7")),
        ({"Hostname": "node-7", "UUID": "GPU-3f", "gpu": "0"}, Target(node="node-7", gpu="GPU-3f")),
        ({"node": "n", "gpu": "GPU-3f"}, Target(node="n", gpu="GPU-3f")),
        ({"node": "n", "gpu": "0"}, Target(node="n")),
        ({"job": "node-exporter", "job_id": "88213"}, Target(job="88213")),
        ({"job": "node-exporter"}, Target()),
        ({"nodename": "n", "mountpoint": "/x"}, Target(node="n", volume="/x")),
        ({"node": "n", "device": "mlx5_0"}, Target(node="n", port="mlx5_0")),
        ({"rack": "r1"}, Target(rack="r1")),
    ],
)
def test_a_target_is_read_from_whoevers_labels(labels: dict[str, str], target: Target) -> None:
    assert target_of(labels) == target


@pytest.mark.parametrize(
    "target",
    [
        Target(node="n", gpu="GPU-1"),
        Target(node="n", port="eth0"),
        Target(volume="/x"),
        Target(job="7", rank="3"),
        Target(switch="s"),
        Target(),
    ],
)
def test_a_target_survives_its_way_out_and_in(target: Target) -> None:
    assert target_of(alert_labels(target)) == target


@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("critical", Severity.CRITICAL),
        (" Page ", Severity.CRITICAL),
        ("warn", Severity.WARNING),
        ("none", Severity.INFO),
        ("", Severity.WARNING),
        ("purple", Severity.WARNING),
    ],
)
def test_a_rules_word_for_severity_is_understood(word: str, severity: Severity) -> None:
    assert severity_of(word) is severity


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
    max_leaves=12,
)
alerts_like = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["firing", "resolved", "x"]) | json_values,
        "labels": st.dictionaries(st.sampled_from(["alertname", "node", "gpu", "x"]), st.text())
        | json_values,
        "annotations": json_values,
        "startsAt": st.sampled_from([STARTS, "0001-01-01T00:00:00+14:00"]) | json_values,
        "endsAt": json_values,
        "fingerprint": json_values,
    },
)


@given(
    message=st.fixed_dictionaries(
        {}, optional={"alerts": st.lists(alerts_like) | json_values, "groupKey": json_values}
    )
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_is_read_or_refused(message: object) -> None:
    body = json.dumps(message).encode()
    try:
        parsed = parse(body, NOW_S)
    except InputError:
        return
    for alert in parsed.alerts:
        assert alert.event.code.isprintable()
        assert alert.event.code
        assert alert.event.time_s <= NOW_S


@given(body=st.binary(max_size=300))
def test_random_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        parse(body, NOW_S)
