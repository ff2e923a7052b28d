"""Incidents show in a real Alertmanager while they are open, and it can call us back."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route

from agent.database import Database
from agent.inbound import Inbound, InboundSettings
from agent.notify.alertmanager import Alertmanager, AlertmanagerSettings, alerts_url
from agent.notify.envelope import Sender
from agent.notify.post import Address
from agent.serving import serve
from agent.times import from_rfc3339, rfc3339
from core.clock import ManualClock, RealClock
from core.ports import DeliveryStatus
from core.types import Event, Incident, IncidentState
from tests.alertmanager import DEADLINE_S, SECRET, alertmanager
from tests.page_views import gpu_diagnosis, gpu_incident, volume_incident
from tests.real import free_port
from tests.receivers import receiving, response

SENDER = Sender(cluster="a", external_url="http://127.0.0.1:8642")


def live(incident: Incident, now_s: float) -> Incident:
    return replace(incident, opened_s=now_s - 60, updated_s=now_s)


def notifier(url: str, clock: RealClock | ManualClock) -> Alertmanager:
    settings = AlertmanagerSettings(Address(alerts_url(url)), cycle_s=15.0)
    return Alertmanager(settings, sender=SENDER, clock=clock)


async def test_an_incident_lives_in_a_real_alertmanager_and_calls_us_back(tmp_path: Path) -> None:
    clock = RealClock()
    now_s = clock.now_s()
    database = Database.open(tmp_path / "state", owner="test")
    taken: list[Event] = []
    outcomes: list[str] = []
    called_back = asyncio.Event()

    async def take(firing: Mapping[str, Event], resolved: Sequence[str]) -> None:
        taken.extend(firing.values())

    def count(outcome: str) -> None:
        outcomes.append(outcome)
        called_back.set()

    inbound = Inbound(
        database, take, clock=clock, settings=InboundSettings(secrets=(SECRET,)), counted=count
    )
    app = Starlette(routes=[Route("/v1/alerts", inbound.__call__, methods=["POST"])])
    port, stop = free_port(), asyncio.Event()
    serving = asyncio.create_task(serve(app, f"127.0.0.1:{port}", stop))
    open_ones = [live(gpu_incident(), now_s), live(volume_incident(), now_s)]
    async with alertmanager(tmp_path, webhook_port=port) as real:
        push = notifier(real.url, clock).push

        sent = await push(open_ones, {"inc-41": gpu_diagnosis()})
        shown = await real.until(lambda alerts: len(alerts) == 2)
        await asyncio.wait_for(called_back.wait(), DEADLINE_S)
        resolved = [
            replace(each, state=IncidentState.RESOLVED, resolved_s=now_s) for each in open_ones
        ]
        await push(resolved, {})
        await real.until(lambda alerts: alerts == [])
        stop.set()
        await serving
    database.close()

    assert sent.status is DeliveryStatus.DELIVERED
    (first,) = (each for each in shown if each["labels"]["incident"] == "inc-41")
    assert first["labels"]["gpu"] == "GPU-003-5"
    assert first["labels"]["severity"] == "critical"
    assert first["annotations"]["cause"] == "node-003/GPU-003-5: row_remap_failed (p=0.86)"
    assert from_rfc3339(first["endsAt"]) - now_s > 30
    assert set(outcomes) == {"accepted"}
    assert taken == []


async def test_a_controller_that_dies_leaves_no_alert_behind(clock: ManualClock) -> None:
    async with receiving(lambda sent: response("200 OK")) as receiver:
        push = notifier(f"http://127.0.0.1:{receiver.port}", clock).push
        incident = live(gpu_incident(), clock.now_s())
        await push([incident], {})
        await clock.advance(15.0)
        await push([incident], {})

    first, second = (json.loads(sent.body)[0] for sent in receiver.got)
    assert from_rfc3339(first["endsAt"]) == clock.now_s() - 15 + 3 * 15
    assert from_rfc3339(second["endsAt"]) == clock.now_s() + 3 * 15
    assert {**first, "endsAt": ""} == {**second, "endsAt": ""}


async def test_a_resolved_incident_is_repeated_for_a_quarter_of_an_hour(clock: ManualClock) -> None:
    now_s = clock.now_s()
    done = replace(gpu_incident(), state=IncidentState.RESOLVED, resolved_s=now_s)
    async with receiving(lambda sent: response("200 OK")) as receiver:
        push = notifier(f"http://127.0.0.1:{receiver.port}", clock).push
        await push([done], {})
        await clock.advance(901.0)
        await push([done], {})

    (sent,) = receiver.got
    assert json.loads(sent.body)[0]["endsAt"] == rfc3339(now_s)


async def test_an_alertmanager_that_is_away_is_said_and_met_again(clock: ManualClock) -> None:
    incident = live(gpu_incident(), clock.now_s())

    delivery = await notifier(f"http://127.0.0.1:{free_port()}", clock).push([incident], {})

    assert delivery.status is DeliveryStatus.RETRY
