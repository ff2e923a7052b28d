"""The server says how things stand, takes commands from who may give them, and cannot be misled."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from agent.access import ensure_token, host_is_ours
from agent.database import Database
from agent.inbound import Inbound, InboundSettings
from agent.notify.outbox import Outbox
from agent.server import SECURITY_HEADERS, ServerSettings, build_app
from agent.serving import listen_at, serve
from core.clock import ManualClock, RealClock
from core.codec import from_json
from core.errors import ConfigError, StoreError
from core.types import Diagnosis, Incident, PlanRecord, PlanState
from tests.page_controls import FakeControls
from tests.page_views import (
    NOW_S,
    busy_view,
    empty_view,
    gpu_diagnosis,
    gpu_incident,
    gpu_timeline,
)
from tests.real import free_port
from tests.test_outbox import GIVE_UP, Scripted, news

TOKEN = "token-of-the-test"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
PATHS = [
    "/",
    "/incidents/inc-41",
    "/plans/plan-17",
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/status",
    "/v1/incidents",
    "/v1/incidents/inc-41",
    "/v1/forecasts",
    "/v1/learned",
    "/v1/plans",
    "/v1/plans/plan-17",
    "/static/style.css",
    "/static/page.js",
    "/favicon.ico",
]


def app_for(
    controls: FakeControls,
    *,
    missing: tuple[str, ...] = (),
    inbound: Inbound | None = None,
    outbox: Outbox | None = None,
) -> Starlette:
    return build_app(
        controls,
        metrics_page=lambda accept: (f"# {accept}\n".encode(), "text/plain; version=0.0.4"),
        ready=lambda: missing,
        settings=ServerSettings(token=TOKEN, names=("controller.cluster",)),
        clock=ManualClock(NOW_S),
        inbound=inbound,
        outbox=outbox,
    )


def client(controls: FakeControls | None = None, **rest: Any) -> httpx2.AsyncClient:
    app = app_for(controls or FakeControls(), **rest)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8642")


@contextlib.asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[int]:
    port, stop = free_port(), asyncio.Event()
    task = asyncio.create_task(serve(app, f"127.0.0.1:{port}", stop))
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        stop.set()
        await task


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_guarded(path: str) -> None:
    answer = await client().get(path)

    assert answer.status_code == 200
    for name in SECURITY_HEADERS.keys() - {"cache-control"}:
        assert answer.headers[name] == SECURITY_HEADERS[name]
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_before_anything_is_known(path: str) -> None:
    answer = await client(FakeControls(empty_view())).get(path)

    assert answer.status_code == (404 if path.count("inc-41") + path.count("plan-17") else 200)


async def test_health_and_readiness_are_two_things() -> None:
    http = client(missing=("no cycle has run yet", "no source of readings answers"))

    health, ready = await http.get("/healthz"), await http.get("/readyz")

    assert (health.status_code, ready.status_code) == (200, 503)
    assert ready.json()["missing"] == ["no cycle has run yet", "no source of readings answers"]
    assert (await client().get("/readyz")).json() == {"ready": True, "missing": []}


async def test_the_metrics_page_is_passed_through() -> None:
    answer = await client().get("/metrics", headers={"accept": "application/openmetrics-text"})

    assert answer.text == "# application/openmetrics-text\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4"


async def test_the_status_says_how_things_stand() -> None:
    status = (await client().get("/v1/status")).json()

    assert status["incidents_open"] == 2
    assert status["plans_waiting"] == 1
    assert status["sources"]["alertmanager"] is None
    assert [node["name"] for node in status["nodes"] if node["condition"] == "down"] == ["node-021"]
    assert len(status["jobs"]) == 5


async def test_incidents_read_back_as_what_they_are() -> None:
    http = client()

    listed = (await http.get("/v1/incidents", params={"open": "true"})).json()["incidents"]
    shown = (await http.get("/v1/incidents/inc-41")).json()

    assert [each["id"] for each in listed] == ["inc-41", "inc-42"]
    assert from_json(Incident, shown["incident"]) == gpu_incident()
    assert from_json(Diagnosis, shown["diagnosis"]) == gpu_diagnosis()
    assert [from_json(PlanRecord, each).plan.id for each in shown["plans"]] == ["plan-17"]
    assert [each["words"] for each in shown["timeline"]] == [each.text for each in gpu_timeline()]


async def test_a_plan_is_approved_with_the_token() -> None:
    controls = FakeControls()

    answer = await client(controls).post(
        "/v1/plans/plan-17/approve", json={"by": "anna"}, headers=AUTHORIZED
    )

    assert answer.status_code == 200
    assert from_json(PlanRecord, answer.json()["plan"]).state is PlanState.APPROVED
    assert controls.told == [("approve", "plan-17", "anna")]


async def test_deny_pause_and_resume_take_their_reasons() -> None:
    controls = FakeControls()
    http = client(controls)

    await http.post("/v1/plans/plan-17/deny", json={"because": "no"}, headers=AUTHORIZED)
    taken = await http.post("/v1/plans/plan-17/acknowledge", json={"by": "ada"}, headers=AUTHORIZED)
    paused = await http.post(
        "/v1/pause", json={"by": "anna", "because": "work", "for_s": 60}, headers=AUTHORIZED
    )
    resumed = await http.post("/v1/resume", headers=AUTHORIZED)

    assert paused.json()["pause"]["until_s"] == NOW_S + 60
    assert resumed.json() == {"pause": None}
    assert taken.json()["plan"]["decided_by"] == "ada"
    assert controls.told == [
        ("deny", "plan-17", "api", "no"),
        ("acknowledge", "plan-17", "ada"),
        ("resume", "api"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/plans/plan-17/approve",
        "/v1/plans/plan-17/deny",
        "/v1/plans/plan-17/acknowledge",
        "/v1/pause",
        "/v1/resume",
    ],
)
@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer"}, {"cookie": TOKEN}],
)
async def test_no_command_without_the_token(path: str, headers: dict[str, str]) -> None:
    controls = FakeControls()

    answer = await client(controls).post(path, json={}, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "token" in answer.json()["remedy"]
    assert controls.told == []


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/plans/plan-99/approve", b"{}", 404),
        ("/v1/plans/plan-15/approve", b"{}", 409),
        ("/v1/plans/plan-17/approve", b"[]", 400),
        ("/v1/plans/plan-17/approve", b"{", 400),
        ("/v1/plans/plan-17/approve", b'{"who": "me"}', 400),
        ("/v1/plans/plan-17/approve", b'{"by": 7}', 400),
        ("/v1/pause", b'{"for_s": -1}', 400),
        ("/v1/pause", b'{"for_s": true}', 400),
        ("/v1/pause", b'{"for_s": 1e300}', 400),
        ("/v1/pause", b" " * 70_000, 413),
    ],
)
async def test_a_command_that_does_not_fit_says_so(path: str, content: bytes, status: int) -> None:
    controls = FakeControls()

    answer = await client(controls).post(path, content=content, headers=AUTHORIZED)

    assert answer.status_code == status
    assert set(answer.json()) == {"code", "error", "remedy"}
    assert controls.told == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/incidents/inc-99", 404),
        ("GET", "/v1/incidents?open=maybe", 400),
        ("DELETE", "/v1/plans", 405),
        ("POST", "/v1/alerts", 404),
    ],
)
async def test_an_error_of_the_api_has_one_form(method: str, path: str, status: int) -> None:
    answer = await client().request(method, path)

    assert answer.status_code == status
    assert set(answer.json()) == {"code", "error", "remedy"}


@pytest.mark.parametrize("path", ["/nothing", "/incidents/inc-99", "/static/../page.py"])
async def test_an_error_of_the_page_is_a_page(path: str) -> None:
    answer = await client().get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


async def test_what_breaks_inside_stays_inside() -> None:
    class Broken(FakeControls):
        def view(self) -> Any:
            raise ZeroDivisionError("secret detail")

    with capture_logs() as logged:
        answer = await client(Broken()).get("/v1/status")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert [(line["event"], line["path"]) for line in logged] == [("request failed", "/v1/status")]
    assert "secret detail" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_store_that_is_away_is_a_503() -> None:
    class Away(FakeControls):
        async def timeline(self, incident_id: str) -> Any:
            raise StoreError("Reading the store: the disk is full.")

    answer = await client(Away()).get("/v1/incidents/inc-41")

    assert (answer.status_code, answer.json()["code"]) == (503, "store")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:8642", True),
        ("127.0.0.1", True),
        ("[::1]:8642", True),
        ("10.0.0.7:8642", True),
        ("Controller.Cluster.:8642", True),
        ("attacker.example", False),
        ("127.0.0.1.attacker.example:8642", False),
        ("localhost.attacker.example", False),
        ("", False),
        ("[::1", True),
    ],
)
def test_only_our_own_names_are_answered(host: str, ours: bool) -> None:
    assert host_is_ours(host, ("controller.cluster",)) is ours


async def test_a_rebound_name_reads_nothing() -> None:
    answer = await client().get("/v1/status", headers={"host": "attacker.example:8642"})

    assert (answer.status_code, answer.json()["code"]) == (421, "host")


def test_the_token_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    token = ensure_token(tmp_path / "state")

    assert ensure_token(tmp_path / "state") == token
    assert len(token) >= 43
    assert stat.S_IMODE((tmp_path / "state" / "token").stat().st_mode) == 0o600


def test_an_empty_token_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")

    with pytest.raises(StoreError, match="it is empty"):
        ensure_token(tmp_path)


async def test_a_server_without_token_takes_no_command() -> None:
    app = build_app(
        FakeControls(),
        metrics_page=lambda accept: (b"", "text/plain"),
        ready=tuple,
        settings=ServerSettings(token=""),
        clock=ManualClock(),
    )
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")

    assert (await http.post("/v1/resume", headers={"authorization": "Bearer "})).status_code == 401


def test_a_port_in_use_is_said_with_what_helps() -> None:
    with listen_at("127.0.0.1:0") as held:
        held.listen()
        port = held.getsockname()[1]

        with pytest.raises(ConfigError, match=f"sport = :{port}"):
            listen_at(f"127.0.0.1:{port}")


@pytest.mark.parametrize("listen", ["8642", "localhost", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_without_a_port_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"like 127\.0\.0\.1:8642"):
        listen_at(listen)


async def test_the_server_ends_when_told_and_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with running(app_for(FakeControls())) as port, httpx2.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/healthz")
        during = signal.getsignal(signal.SIGTERM)

    assert answer.text == "ok\n"
    assert "server" not in answer.headers
    assert before == during == signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_fifty_megabytes_are_turned_away_and_never_held(tmp_path: Path) -> None:
    database = Database.open(tmp_path, owner="test")
    controls = FakeControls()
    inbound = Inbound(database, controls.take_alerts, clock=RealClock(), settings=InboundSettings())

    async def fifty_megabytes() -> AsyncIterator[bytes]:
        for _ in range(800):
            yield b"x" * 65536

    async with running(app_for(controls, inbound=inbound)) as port:
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        statuses = [await _post_all(port, fifty_megabytes()) for _ in range(3)]
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        healthy = await httpx2.AsyncClient().get(f"http://127.0.0.1:{port}/healthz")
    database.close()

    assert statuses == [b"413"] * 3
    assert grown_kib < 30 * 1024
    assert healthy.status_code == 200


async def _post_all(port: int, pieces: AsyncIterator[bytes]) -> bytes:
    """Send chunked, as fast as it goes, until the server has had enough; return its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/alerts HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    with contextlib.suppress(ConnectionError):
        async for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
    line = await reader.readline()
    writer.close()
    return line.split()[1]


async def test_a_sender_that_dribbles_is_cut_off(tmp_path: Path) -> None:
    database = Database.open(tmp_path, owner="test")
    controls = FakeControls()
    inbound = Inbound(
        database,
        controls.take_alerts,
        clock=RealClock(),
        settings=InboundSettings(body_deadline_s=0.2),
    )
    async with running(app_for(controls, inbound=inbound)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/alerts HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        line = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    database.close()

    assert b"408" in line


async def test_failed_messages_are_listed_and_sent_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    database = Database.open(tmp_path, owner="test")
    receiver = Scripted(script=[GIVE_UP])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("told"))
    http = client(outbox=outbox)
    await outbox.pump()

    (failed,) = (await http.get("/v1/messages/failed")).json()["messages"]
    wrong = await http.post("/v1/messages/redeliver", json={"message": 999}, headers=AUTHORIZED)
    refused = await http.post("/v1/messages/redeliver", json={"message": failed["id"]})
    queued = await http.post(
        "/v1/messages/redeliver", json={"message": failed["id"]}, headers=AUTHORIZED
    )
    waiting = (await http.get("/v1/messages")).json()
    await outbox.pump()
    database.close()

    assert (failed["receiver"], failed["attempts"], failed["last_text"]) == ("ops", 1, "400")
    assert (wrong.status_code, refused.status_code) == (404, 401)
    assert queued.json() == {"queued": 1}
    assert (waiting["count"], waiting["disabled"]) == (1, [])
    assert receiver.texts() == ["told"]


async def test_text_from_outside_leaves_the_api_as_json() -> None:
    odd = "\u2028<script>\x00"
    view = busy_view()
    incident = replace(view.incidents[0], title=odd)
    http = client(FakeControls(replace(view, incidents=(incident,))))

    answer = await http.get("/v1/incidents")

    assert json.loads(answer.content)["incidents"][0]["title"] == odd
    assert answer.headers["content-type"] == "application/json"


def test_the_token_cannot_be_made_in_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="state_dir"):
        ensure_token(tmp_path / "file" / "state")
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
