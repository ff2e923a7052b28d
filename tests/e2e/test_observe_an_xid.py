"""With nothing but a Prometheus, gpumedic names a GPU off the bus and says what it would do."""

import asyncio
from pathlib import Path
from typing import Any

from tests.e2e.running import Running, gpumedic, until
from tests.prometheus import Scrape, prometheus

BROKEN = "GPU-0a-3"
CONFIG = """
state_dir = "{folder}/state"
cycle = {{interval = "1s", refit = "1m"}}
history = {{step = "1s", span = "4h"}}
prometheus = {{url = "{url}"}}
"""


class DcgmExporter:
    """What dcgm-exporter of two nodes with four GPUs says; ``xid`` is the broken GPU's last one."""

    def __init__(self) -> None:
        self.xid = 0

    def page(self) -> bytes:
        lines = []
        for node in ("node-0a", "node-0b"):
            for gpu in range(4):
                uuid = f"GPU-{node[-2:]}-{gpu}"
                labels = f'gpu="{gpu}",UUID="{uuid}",device="nvidia{gpu}",Hostname="{node}"'
                code = self.xid if uuid == BROKEN else 0
                lines += [
                    f"DCGM_FI_DEV_XID_ERRORS{{{labels}}} {code}",
                    f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} {60 + gpu}",
                    f"DCGM_FI_DEV_GPU_UTIL{{{labels}}} 97",
                ]
        return ("\n".join(lines) + "\n").encode()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = self.page()
        head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def test_a_gpu_off_the_bus_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    exporter = DcgmExporter()
    server = await asyncio.start_server(exporter.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, prometheus(tmp_path, [Scrape("dcgm", (f"127.0.0.1:{port}",))]) as source:
        await source.until("count(DCGM_FI_DEV_XID_ERRORS) == 8")
        config = tmp_path / "gpumedic.toml"
        config.write_text(CONFIG.format(folder=tmp_path, url=source.url))
        async with gpumedic("controller", "--config", str(config), folder=tmp_path) as app:
            await app.ready()
            await until(lambda: seen(app), what="all GPUs are seen")
            exporter.xid = 79
            await until(lambda: plans(app), what="a plan")
            (record,) = await plans(app)
            (incident,) = (await app.get("/v1/incidents"))["incidents"]

    said = f"Xid 79 on node-0a/{BROKEN}: GPU has fallen off the bus; restart the node"
    assert incident["title"] == said
    assert record["plan"]["cause"]["fault"] == "gpu_fallen_off_bus"
    assert record["plan"]["cause"]["target"]["gpu"] == BROKEN
    assert (record["state"], record["mode"]) == ("proposed", "observe")
    assert [(o["action"]["kind"], o["status"]) for o in record["outcomes"]] == [
        ("cordon", "would_do"),
        ("reboot_node", "would_do"),
        ("uncordon", "would_do"),
    ]


async def seen(app: Running) -> bool:
    """Say whether the controller has readings of every GPU."""
    return await app.metric("gpumedic_series") >= 3 * 8


async def plans(app: Running) -> list[Any]:
    return list((await app.get("/v1/plans"))["plans"])
