"""Whatever is thrown at the process from outside: a word, a count, no crash, and on it goes."""

import json
import math
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2

from tests.bad_prometheus import Behave, bad_prometheus, matrix, send, send_json
from tests.e2e.running import Running, gpumedic, until

METRIC = "gpumedic_node_memory_used_ratio"
SECRET = "whsec_" + "A" * 43 + "="
CONFIG = """
state_dir = "{folder}/state"
cycle = {{interval = "1s"}}
history = {{step = "1s", span = "4h"}}
prometheus = {{url = "{url}", timeout = "1s", metrics = ["node_memory_used_ratio"]}}
server = {{alerts_secret_file = "{folder}/secret"}}
"""
Handler = BaseHTTPRequestHandler


def readings(*value: str) -> Behave:
    """Answer with these values over and over, on the grid that was asked for."""

    def behave(handler: Handler, asked: dict[str, str]) -> None:
        start_s, end_s, step_s = (float(asked[name]) for name in ("start", "end", "step"))
        count = min(600, math.floor((end_s - start_s) / step_s) + 1)
        times = [end_s - step_s * (count - 1 - i) for i in range(count)]
        values = [[at, value[i % len(value)]] for i, at in enumerate(times)]
        send_json(handler, matrix(({"__name__": METRIC, "node": "node-1"}, values)))

    return behave


def garbage(handler: Handler, _: dict[str, str]) -> None:
    send(handler, b"\xff\x00<html>" * (10 * 2**20 // 8), kind="text/html")


def hang_mid_body(handler: Handler, _: dict[str, str]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"status": "success", "da')
    handler.rfile.read(1)  # until the other side gives up


def disorder(handler: Handler, asked: dict[str, str]) -> None:
    end_s = float(asked["end"])
    values = [[end_s, "0.5"], [end_s - 2, "0.4"], [end_s, "0.6"], [end_s - 1, "1e300"]]
    send_json(handler, matrix(({"__name__": METRIC, "node": "node-1"}, values)))


async def test_a_prometheus_gone_mad_is_outlived(tmp_path: Path) -> None:
    """Garbage, a hang mid-body, disorder, NaN and 1e300: named while it lasts, and then over."""
    (tmp_path / "secret").write_text(SECRET)
    with bad_prometheus(METRIC, behave=readings("0.5")) as server:
        config = tmp_path / "gpumedic.toml"
        config.write_text(CONFIG.format(folder=tmp_path, url=server.url))
        async with gpumedic("controller", "--config", str(config), folder=tmp_path) as here:
            await here.ready()
            for broken in (garbage, hang_mid_body):
                server.behave = broken
                await until_problems(here, 2)
                sentence = (await here.get("/v1/status"))["sentence"]
                assert "no answer from prometheus" in sentence
            for lying in (disorder, readings("NaN", "+Inf", "-Inf", "1e300", "-7")):
                server.behave = lying
                await until_cycles(here, 4)
            server.behave = readings("0.5")
            await until(lambda: answers(here), what="a good answer again")
            status = await here.get("/v1/status")
            incidents = (await here.get("/v1/incidents"))["incidents"]

    assert [node["name"] for node in status["nodes"]] == ["node-1"]
    assert incidents == []
    assert not here.lines("cycle failed")


async def test_a_webhook_gone_mad_is_turned_away(tmp_path: Path) -> None:
    """Malformed, unsigned, 50 MB, sent twice: each has its answer and its count."""
    (tmp_path / "secret").write_text(SECRET)
    config = tmp_path / "gpumedic.toml"
    config.write_text(CONFIG.format(folder=tmp_path, url="http://127.0.0.1:9"))
    good = {"alerts": [{"labels": {"alertname": "X"}, "startsAt": "2026-11-21T00:00:00Z"}]}
    signed = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (b"{" * 1000, signed),
        (json.dumps({"alerts": "none"}).encode(), signed),
        (json.dumps(good).encode(), {"content-type": "application/json"}),
        (b" " * (50 * 2**20), signed),
        (json.dumps(good).encode(), signed),
        (json.dumps(good).encode(), signed),
    ]
    async with gpumedic("run", "--config", str(config), folder=tmp_path) as here:
        await here.ready()
        async with httpx2.AsyncClient() as http:
            answers = [await posted(http, here, body, headers) for body, headers in bodies]
        counts = {
            outcome: await here.metric("gpumedic_webhooks_received_total", outcome=outcome)
            for outcome in ("malformed", "unsigned", "too_large", "accepted", "duplicate")
        }
        alive = here.process.poll() is None

    assert answers == [400, 400, 401, 413, 202, 202]
    assert counts == {
        "malformed": 2,
        "unsigned": 1,
        "too_large": 1,
        "accepted": 1,
        "duplicate": 1,
    }
    assert alive


async def posted(
    http: httpx2.AsyncClient, here: Running, body: bytes, headers: dict[str, str]
) -> int:
    answer: Any = await http.post(f"{here.url}/v1/alerts", content=body, headers=headers)
    return int(answer.status_code)


async def until_problems(here: Running, count: int) -> None:
    """Wait for so many more problems with Prometheus."""

    async def problems() -> float:
        return await here.metric("gpumedic_source_problems_total", source="prometheus")

    async def more() -> bool:
        return await problems() >= before + count

    before = await problems()
    await until(more, what="counted problems with Prometheus")


async def until_cycles(here: Running, count: int) -> None:
    """Wait for so many more cycles."""
    before = len(here.lines("cycle"))
    await until(lambda: len(here.lines("cycle")) >= before + count, what="more cycles")


async def answers(here: Running) -> bool:
    return (await here.get("/v1/status"))["sources"].get("prometheus") is not None
