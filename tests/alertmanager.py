"""A real Alertmanager on loopback for tests: it shows what it is sent and calls a webhook."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.real import free_port, program

SECRET = "whsec_" + "A" * 43 + "="
DEADLINE_S = 20.0
CONFIG = """
route: {{receiver: gpumedic, group_wait: 0s, group_interval: 1s, group_by: [alertname, incident]}}
receivers:
  - name: gpumedic
    webhook_configs:
      - url: http://127.0.0.1:{port}/v1/alerts
        http_config: {{authorization: {{credentials: "{secret}"}}}}
"""


@dataclass
class RealAlertmanager:
    """A running server; its webhook brings ``SECRET`` as a bearer token."""

    url: str

    async def until(
        self, holds: Callable[[list[Any]], bool], *, deadline_s: float = DEADLINE_S
    ) -> list[Any]:
        """Ask for its alerts until they are as wanted; TimeoutError after the deadline."""
        async with asyncio.timeout(deadline_s), httpx2.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    found = (await http.get(f"{self.url}/api/v2/alerts")).json()
                    if holds(found):
                        return list(found)
                await asyncio.sleep(0.1)

    async def fire(self, **labels: str) -> None:
        """Send it an alert, as a Prometheus with a rule would."""
        async with httpx2.AsyncClient() as http:
            sent = await http.post(f"{self.url}/api/v2/alerts", json=[{"labels": labels}])
            assert sent.status_code == 200, sent.text


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, *, webhook_port: int) -> AsyncIterator[RealAlertmanager]:
    """Run an Alertmanager while the context lasts; skips without one."""
    path = program("prometheus-alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG.format(port=webhook_port, secret=SECRET))
    port = free_port()
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes a millisecond
        [
            path,
            f"--config.file={config}",
            f"--storage.path={folder}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = RealAlertmanager(f"http://127.0.0.1:{port}")
    try:
        await server.until(lambda alerts: alerts == [])
        yield server
    finally:
        process.terminate()
        process.wait(10)
