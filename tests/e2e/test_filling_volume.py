"""A real volume on this machine fills up: gpumedic says when it will be full, before it is."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from agent.times import from_rfc3339
from core.clock import RealClock
from tests.e2e.conftest import VOLUME_BYTES
from tests.e2e.running import gpumedic, until
from tests.receivers import Receiver, receiving, response

LIMIT = 0.95
FILL_S = 80.0  # from empty to the limit
STEPS_A_SECOND = 5
CONFIG = """
state_dir = "{state}"
cycle = {{interval = "1s", refit = "5s"}}
history = {{step = "1s", span = "1h"}}
forecast = {{horizon = "2m", false_alarms_per_day = 0.2, limits = {{volume_used_ratio = {limit}}}}}
host = {{node = "here", volumes = ["{volume}"]}}
prometheus = {{url = "http://127.0.0.1:9"}}

[[webhooks]]
name = "sink"
url = "http://127.0.0.1:{port}/hook"
"""
FILLER = """
import sys, time
path, total, seconds, steps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
began = time.monotonic()
with open(path, "wb") as file:
    for step in range(1, steps + 1):
        file.write(bytes(total * step // steps - total * (step - 1) // steps))
        file.flush()
        time.sleep(max(0.0, began + seconds * step / steps - time.monotonic()))
"""


async def test_a_filling_volume_is_told_before_it_is_full(tmp_path: Path, volume: Path) -> None:
    """The first warning comes before half the time is over, and within 20 % of what remains."""
    clock = RealClock()
    async with receiving(lambda sent: response("200 OK")) as sink:
        config = tmp_path / "gpumedic.toml"
        values = {"state": tmp_path / "state", "volume": volume, "port": sink.port}
        config.write_text(CONFIG.format(limit=LIMIT, **values))
        async with gpumedic("run", "--config", str(config), folder=tmp_path) as here:
            await here.ready()

            began_s = clock.now_s()
            filler = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FILLER, str(volume / "file"), str(int(LIMIT * VOLUME_BYTES)),
                str(FILL_S), str(int(FILL_S * STEPS_A_SECOND)),
            )  # fmt: skip
            await until(lambda: warnings(sink), what="a warning", deadline_s=FILL_S)
            await until(
                lambda: used_ratio(volume) >= LIMIT, what="a full volume", deadline_s=2 * FILL_S
            )
            full_s = clock.now_s()
            await filler.wait()

    half_s = (began_s + full_s) / 2
    in_time = [warning for warning in warnings(sink) if at(warning, "made_at") <= half_s]
    assert in_time, f"no forecast within the first {half_s - began_s:.0f} s"
    last = in_time[-1]
    remaining_s = full_s - at(last, "made_at")
    assert abs(at(last, "expected") - full_s) <= 0.2 * remaining_s
    assert at(last, "earliest") <= at(last, "expected") <= at(last, "latest")
    assert last["metric"] == "volume_used_ratio"
    assert last["target"]["labels"] == {"node": "here", "volume": str(volume)}
    assert last["limit"] == LIMIT
    assert last["probability"] >= 0.7


def warnings(sink: Receiver) -> list[dict[str, Any]]:
    """Return what the messages so far say is expected, oldest first."""
    bodies = [json.loads(sent.body)["gpumedic"] for sent in sink.got]
    return [body["forecast"] for body in bodies if body["event"] == "forecast.breach_expected"]


def at(warning: dict[str, Any], name: str) -> float:
    return from_rfc3339(warning[name])


def used_ratio(volume: Path) -> float:
    usage = shutil.disk_usage(volume)
    return usage.used / usage.total
