"""The process as an operator meets it: signals, reloads, a full disk, a second one, a kill."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.clock import RealClock
from tests.e2e.running import Running, gpumedic, until
from tests.receivers import Receiver, receiving, response

CONFIG = """
state_dir = "{state}"
cycle = {{interval = "1s", refit = "10m"}}
history = {{step = "1s", span = "1h"}}
forecast = {{horizon = "10m"}}
host = {{node = "here", volumes = ["{volume}"]}}
prometheus = {{url = "http://127.0.0.1:9"}}
guards = {{max_nodes_out = {nodes_out}}}
"""
WEBHOOK = """
[[webhooks]]
name = "sink"
url = "http://127.0.0.1:{port}/hook"
"""
ALERT = {
    "alerts": [
        {
            "labels": {"alertname": "ScratchSlow", "node": "elsewhere"},
            "startsAt": "2026-11-21T00:00:00Z",
        }
    ]
}


def written(folder: Path, *, state: Path | None = None, nodes_out: int = 4, more: str = "") -> Path:
    """Write the settings and return their file."""
    values = {"state": state or folder / "state", "volume": state or folder}
    path = folder / "gpumedic.toml"
    path.write_text(CONFIG.format(nodes_out=nodes_out, **values) + more)
    return path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    """Return what systemd was told and has not read yet."""
    words = []
    with contextlib.suppress(BlockingIOError):
        while True:
            words.append(manager.recv(4096).decode())
    return words


async def post(running: Running, document: object) -> int:
    async with httpx2.AsyncClient() as http:
        return (await http.post(f"{running.url}/v1/alerts", json=document)).status_code


async def codes(running: Running) -> dict[str, str]:
    """Return the id of the incident that holds each alert."""
    incidents = (await running.get("/v1/incidents"))["incidents"]
    return {event["code"]: each["id"] for each in incidents for event in each["events"]}


async def test_a_terminated_process_drains_and_tells_systemd(
    tmp_path: Path, manager: socket.socket
) -> None:
    """READY once it serves, a status sentence, STOPPING; exit 0 within ten seconds."""
    clock = RealClock()
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    config = str(written(tmp_path))
    words: list[str] = []
    async with gpumedic("run", "--config", config, folder=tmp_path, environ=environ) as here:
        await here.ready()

        def told(word: str) -> bool:
            words.extend(heard(manager))
            return any(each.startswith(word) for each in words)

        await until(lambda: told("STATUS="), what="a status sentence")
        began_s = clock.monotonic_s()
        here.process.send_signal(signal.SIGTERM)
        code = await here.ended()
        took_s = clock.monotonic_s() - began_s

    words += heard(manager)
    assert code == 0
    assert took_s < 10
    assert words[0] == "READY=1"
    assert words[-1] == "STOPPING=1"
    assert any("quiet" in each or "incident" in each for each in words)


async def test_a_reload_takes_all_of_a_file_or_nothing(tmp_path: Path) -> None:
    """A bad key keeps even the good ones out, is counted and said; the next good file is taken."""
    config = written(tmp_path)
    async with gpumedic("run", "--config", str(config), folder=tmp_path) as here:
        await here.ready()

        async def reloads(outcome: str) -> bool:
            return await here.metric("gpumedic_config_reloads_total", outcome=outcome) == 1

        async def limit() -> float:
            return float((await here.get("/v1/status"))["nodes_out_limit"])

        before = await limit()
        written(tmp_path, nodes_out=0, more='[detect]\ngroup_widow = "5m"\n')
        here.process.send_signal(signal.SIGHUP)
        await until(lambda: reloads("refused"), what="the refusal")
        kept = await limit()
        written(tmp_path, nodes_out=0)
        here.process.send_signal(signal.SIGHUP)
        await until(lambda: reloads("applied"), what="the reload")
        after = await limit()
        (refusal,) = here.lines("reload refused")

    assert (before, kept, after) == (1, 1, 0)
    assert "group_widow" in refusal["problem"]
    assert "group_window" in refusal["problem"]


async def test_a_second_controller_on_one_store_names_the_first(tmp_path: Path) -> None:
    config = str(written(tmp_path))
    async with gpumedic("run", "--config", config, folder=tmp_path) as first:
        await first.ready()
        async with gpumedic("run", "--config", config, folder=tmp_path) as second:
            code = await second.ended()
            said = second.said()
        still_there = first.process.poll() is None

    assert code == 1
    assert f"pid {first.process.pid}" in said
    assert "Traceback" not in said
    assert still_there


async def test_a_port_that_is_taken_ends_the_start_with_a_word(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        config = str(written(tmp_path))
        async with gpumedic("run", "--config", config, folder=tmp_path, listen=port) as here:
            code = await here.ended()
            said = here.said()

    assert code == 1
    assert f"Listening at 127.0.0.1:{port}" in said
    assert "Traceback" not in said


async def test_a_killed_process_is_taken_up_where_it_stood(tmp_path: Path) -> None:
    """No orderly end: the store opens again, the incident is the same, the alert is not new."""
    config = str(written(tmp_path))
    async with gpumedic("run", "--config", config, folder=tmp_path) as first:
        await first.ready()
        assert await post(first, ALERT) == 202
        await until(lambda: codes(first), what="the incident")
        before = await codes(first)
        os.kill(first.process.pid, signal.SIGKILL)
        await first.ended()

    async with gpumedic("run", "--config", config, folder=tmp_path) as second:
        await second.ready()
        after = await codes(second)
        assert await post(second, ALERT) == 202
        duplicates = await second.metric("gpumedic_webhooks_received_total", outcome="duplicate")

    assert after == before
    assert duplicates == 1


async def test_a_full_disk_is_said_survived_and_made_up_for(tmp_path: Path, volume: Path) -> None:
    """The store's own volume is full: counted and said; with room again nothing is missing."""
    (volume / "state").mkdir()
    async with receiving(lambda sent: response("200 OK")) as sink:
        more = WEBHOOK.format(port=sink.port)
        config = written(tmp_path, state=volume / "state", more=more)
        config.write_text(config.read_text().replace(f'["{volume}/state"]', f'["{volume}"]'))
        async with gpumedic("run", "--config", str(config), folder=tmp_path) as here:
            await here.ready()
            ballast = fill(volume)
            await until(lambda: store_errors(here), what="a counted store error")
            refused = await post(here, ALERT)
            ready = await here.get("/readyz")
            sentence = (await here.get("/v1/status"))["sentence"]
            count = await store_errors(here)
            await until(lambda: more_errors(here, count + 3), what="more cycles that fail")
            alive = here.process.poll() is None

            ballast.unlink()
            await here.ready()
            taken = await post(here, ALERT)
            await until(lambda: codes(here), what="the alert's incident")
            await until(lambda: opened(sink, "volume"), what="the message about the full volume")
            shown = (await here.get("/v1/incidents"))["incidents"]

    assert alive
    assert refused == 503
    assert taken == 202
    assert not ready["ready"]
    assert "full" in " ".join(ready["missing"])
    assert "full" in sentence
    full = [each["id"] for each in shown if str(volume) in json.dumps(each["targets"])]
    assert len(full) == 1
    assert opened(sink, "volume") == full


def fill(volume: Path) -> Path:
    """Take all the room there is, to the last byte."""
    path = volume / "ballast"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


async def store_errors(running: Running) -> float:
    return await running.metric("gpumedic_store_errors_total")


async def more_errors(running: Running, count: float) -> bool:
    return await store_errors(running) >= count


def opened(sink: Receiver, kind: str) -> list[str]:
    """Return the incidents on such a target that the sink was told were opened."""
    bodies: list[dict[str, Any]] = [json.loads(sent.body)["gpumedic"] for sent in sink.got]
    return [
        body["incident"]["id"]
        for body in bodies
        if body["event"] == "incident.opened"
        and kind in {target["kind"] for target in body["incident"]["targets"]}
    ]
