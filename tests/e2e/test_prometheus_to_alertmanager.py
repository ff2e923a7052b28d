"""Real Prometheus in, real Alertmanager and a signed webhook out: the loop on recorded telemetry.

Recorded memory of GPU pods is back-filled up to now, and an exporter plays its present on; the
recorded breach lies ahead. gpumedic, in observe mode, has to see it come.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from standardwebhooks import Webhook

from agent.collect.replay import GENAI_PODS, ReplayExporter, openmetrics, read_recording
from agent.node import NodeService
from agent.times import from_rfc3339
from core.clock import RealClock
from core.target import Target
from core.types import Floats, Window
from tests.alertmanager import SECRET, RealAlertmanager, alertmanager
from tests.e2e.running import Running, gpumedic, until
from tests.prometheus import Prometheus, Scrape, create_blocks, prometheus
from tests.real import free_port
from tests.receivers import Receiver, receiving, response
from tests.test_node import serving

METRIC = "node_memory_used_ratio"
LIMIT = 0.95
STEP_S = 60.0
AHEAD = 20  # steps from now to the recorded breach
LASTING = 3  # steps over the limit that make a breach
OUR_SECRET = "whsec_" + "B" * 43 + "="
CONFIG = """
cluster = "e2e"
state_dir = "{folder}/state"
cycle = {{interval = "1s", refit = "5s"}}
history = {{step = "15s", span = "8h"}}
forecast = {{false_alarms_per_day = 0.5}}
prometheus = {{url = "{prometheus}"}}
alertmanager = {{url = "{alertmanager}"}}
server = {{alerts_secret_file = "{folder}/inbound-secret"}}

[[webhooks]]
name = "sink"
url = "http://127.0.0.1:{sink}/hook"
secret_file = "{folder}/webhook-secret"
"""


def recorded(shared_data: Path) -> Window:
    """Return the recorded memory of GPU pods."""
    path = shared_data / "telemetry/gentd26_gpu_pods_1min.parquet"
    return next(w for w in read_recording(path, GENAI_PODS) if w.metric == METRIC)


def made() -> Window:
    """Return a leak that follows a calm, among steady pods: what every checkout has."""
    rng = np.random.default_rng(7)
    calm = np.linspace(0.5, 0.8, 6)[:, None] + rng.normal(0, 0.004, (6, 720))
    leak = calm[2] + np.clip(np.arange(720) - 400, 0, None) * 0.002
    value: Floats = np.asarray(np.clip(np.vstack([calm, leak]), 0, 1), dtype=np.float64)
    targets = tuple(Target(node=f"pod-{row}") for row in range(len(value)))
    return Window(METRIC, targets, np.arange(720.0) * STEP_S, value)


def breach_of(row: Floats) -> int | None:
    """Return the first step of a lasting breach after at least five hours below the limit."""
    over = np.nan_to_num(row, nan=0.0) >= LIMIT
    lasting = np.logical_and.reduce([over[i : len(over) - LASTING + i] for i in range(LASTING)])
    first = int(np.argmax(lasting)) if lasting.any() else 0
    return first if first >= 300 and over[:first].sum() < LASTING else None


def steepest(window: Window) -> tuple[int, int]:
    """Return the row that climbs most in the hour before the warning is due, and its breach."""
    climbs = {}
    for row, value in enumerate(window.value):
        if (step := breach_of(value)) is not None:
            before = value[step - AHEAD - 60 : step - AHEAD]
            climbs[float(np.nanmean(before[-10:]) - np.nanmean(before[:10]))] = (row, step)
    return climbs[max(climbs)]


def some_of(window: Window, row: int) -> Window:
    """Return the row and five others."""
    rows = [row, *[other for other in range(6) if other != row][:5]]
    targets = tuple(window.targets[each] for each in rows)
    return Window(window.metric, targets, window.time_s, window.value[rows])


def until_now(window: Window, shift_s: float, now_s: float) -> Window:
    past = window.time_s + shift_s <= now_s
    return Window(window.metric, window.targets, window.time_s[past], window.value[:, past])


@pytest.mark.parametrize("origin", ["recorded", "made"])
async def test_a_breach_ahead_is_told_to_everyone(
    origin: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    everything = (
        recorded(request.getfixturevalue("shared_data")) if origin == "recorded" else made()
    )
    row, step = steepest(everything)
    window, pod = some_of(everything, row), everything.targets[row].node
    clock = RealClock()
    now_s = clock.now_s()
    breach_s = round(now_s) + AHEAD * STEP_S
    shift_s = breach_s - float(window.time_s[step])
    create_blocks(openmetrics((until_now(window, shift_s, now_s),), shift_s=shift_s), tmp_path)
    exporter = NodeService([ReplayExporter((window,), clock, shift_s=shift_s)], clock=clock)

    async with (
        serving(exporter) as replay,
        gpumedic("node", "--node", "this-machine", folder=tmp_path) as node,
        prometheus(tmp_path, scrapes(replay, node)) as server,
        receiving(lambda sent: response("200 OK")) as sink,
    ):
        await server.until(f'gpumedic_{METRIC}{{node="this-machine"}}')
        port = free_port()
        async with alertmanager(tmp_path, webhook_port=port) as alerts:
            config = written(tmp_path, server, alerts, sink)
            async with gpumedic(
                "controller", "--config", str(config), folder=tmp_path, listen=port
            ) as controller:
                await until(lambda: warnings_of(sink, pod), what=f"a warning of {pod}")
                warned_s = clock.now_s()
                await assert_alertmanager_knows(alerts, controller, pod)
                await assert_a_foreign_alert_is_taken_once(alerts, controller)
                await assert_nothing_was_done(controller)
                await until(lambda: knows(controller, "this-machine"), what="this machine")

    warning = warnings_of(sink, pod)[0]
    assert warned_s < breach_s - 10 * STEP_S
    assert from_rfc3339(warning["expected"]) > warned_s
    assert abs(from_rfc3339(warning["expected"]) - breach_s) < 30 * STEP_S
    assert warning["metric"] == METRIC
    assert warning["limit"] == LIMIT
    assert warning["probability"] >= 0.7
    assert_signed(sink)


def scrapes(replay: str, node: Running) -> list[Scrape]:
    pages = {"replay": replay, "node": node.url}
    return [Scrape(name, (url.removeprefix("http://"),)) for name, url in pages.items()]


def written(folder: Path, server: Prometheus, alerts: RealAlertmanager, sink: Receiver) -> Path:
    """Write the settings and the two secrets."""
    for name, secret in {"inbound-secret": SECRET, "webhook-secret": OUR_SECRET}.items():
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o600)
    config = folder / "gpumedic.toml"
    addresses = {"prometheus": server.url, "alertmanager": alerts.url, "sink": sink.port}
    config.write_text(CONFIG.format(folder=folder, **addresses))
    return config


def warnings_of(sink: Receiver, pod: str) -> list[dict[str, Any]]:
    """Return the breaches of a pod that the sink was told of, oldest first."""
    said = [json.loads(sent.body)["gpumedic"] for sent in sink.got]
    breaches = [body["forecast"] for body in said if body["event"] == "forecast.breach_expected"]
    return [each for each in breaches if each["target"]["labels"]["node"] == pod]


async def assert_alertmanager_knows(
    alerts: RealAlertmanager, controller: Running, pod: str
) -> None:
    """Our alert stands there, and its call back is taken in as our own: no symptom of anything."""

    def ours(shown: list[Any]) -> list[Any]:
        return [each["labels"] for each in shown if each["labels"].get("node") == pod]

    labels = ours(await alerts.until(lambda shown: bool(ours(shown))))[0]
    assert labels["source"] == "gpumedic"
    assert labels["cluster"] == "e2e"
    await until(lambda: accepted(controller), what="Alertmanager's call back")
    incidents = (await controller.get("/v1/incidents"))["incidents"]
    assert labels["incident"] in {each["id"] for each in incidents}
    assert not [event for each in incidents for event in each["events"] if event["kind"] == "alert"]


async def assert_a_foreign_alert_is_taken_once(
    alerts: RealAlertmanager, controller: Running
) -> None:
    """An alert of somebody's rule opens one incident; what we say about it comes back and ends."""
    before = await accepted(controller)
    await alerts.fire(alertname="ScratchSlow", node="elsewhere", severity="critical")

    def about(shown: list[Any]) -> list[Any]:
        return [each["labels"] for each in shown if each["labels"].get("node") == "elsewhere"]

    await alerts.until(lambda shown: len(about(shown)) == 2)
    await until(lambda: called_back(controller, before + 2), what="both calls back")
    cycles = len(controller.lines("cycle"))
    await until(lambda: len(controller.lines("cycle")) > cycles + 3, what="three more cycles")

    incidents = (await controller.get("/v1/incidents"))["incidents"]
    events = [event for each in incidents for event in each["events"] if event["kind"] == "alert"]
    assert [event["code"] for event in events] == ["ScratchSlow"]
    assert [event["target"]["node"] for event in events] == ["elsewhere"]
    labels = about(await alerts.until(bool))
    assert sorted(each["alertname"] for each in labels) == ["GpumedicAlertEvent", "ScratchSlow"]


async def knows(controller: Running, node: str) -> bool:
    return node in {each["name"] for each in (await controller.get("/v1/status"))["nodes"]}


async def accepted(controller: Running) -> float:
    return await controller.metric("gpumedic_webhooks_received_total", outcome="accepted")


async def called_back(controller: Running, times: float) -> bool:
    return await accepted(controller) >= times


async def assert_nothing_was_done(controller: Running) -> None:
    """In observe mode a plan says what it would do, and nobody does it."""
    plans = (await controller.get("/v1/plans"))["plans"]
    assert {each["mode"] for each in plans} <= {"observe"}
    outcomes = [outcome for each in plans for outcome in each["outcomes"]]
    assert {outcome["status"] for outcome in outcomes} <= {"would_do"}
    assert await controller.metric("gpumedic_nodes_out") == 0


def assert_signed(sink: Receiver) -> None:
    """Every message bears a signature that Standard Webhooks' own library takes."""
    reference = Webhook(OUR_SECRET)
    for sent in sink.got:
        assert reference.verify(sent.body, sent.headers) == json.loads(sent.body)
    ids = [sent.headers["webhook-id"] for sent in sink.got]
    assert len(ids) == len(set(ids))


async def test_a_sender_that_is_not_known_is_turned_away(tmp_path: Path) -> None:
    """A webhook that brings no secret is counted and changes nothing."""
    (tmp_path / "inbound-secret").write_text(SECRET)
    (tmp_path / "inbound-secret").chmod(0o600)
    config = tmp_path / "gpumedic.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\nserver = {{alerts_secret_file = '
        f'"{tmp_path}/inbound-secret"}}\nprometheus = {{url = "http://127.0.0.1:9"}}\n'
    )
    alert = {"alerts": [{"labels": {"alertname": "X"}, "startsAt": "2026-11-21T00:00:00Z"}]}
    async with (
        gpumedic("run", "--config", str(config), folder=tmp_path) as here,
        httpx2.AsyncClient() as http,
    ):
        await here.ready()
        refused = await http.post(f"{here.url}/v1/alerts", json=alert)
        taken, again = await asyncio.gather(
            *(
                http.post(
                    f"{here.url}/v1/alerts",
                    json=alert,
                    headers={"authorization": f"Bearer {SECRET}"},
                )
                for _ in range(2)
            )
        )
        unsigned = await here.metric("gpumedic_webhooks_received_total", outcome="unsigned")

    assert refused.status_code == 401
    assert sorted(reply.json()["new"] for reply in (taken, again)) == [0, 1]
    assert unsigned == 1
