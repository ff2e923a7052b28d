"""A real Prometheus on loopback for tests: scrapes every second what it is told to."""

import asyncio
import contextlib
import json
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.real import free_port, program

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
{jobs}"""
JOB = """  - job_name: {name}
    {honor}static_configs: [{{targets: [{targets}]}}]
"""
READY_S = 20.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape job: its name, and ``host:port`` of what it scrapes."""

    name: str
    targets: tuple[str, ...]
    honor_labels: bool = True


@dataclass(slots=True)
class Prometheus:
    """A running server; ``data`` is its block folder."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]

    async def query(self, expression: str) -> list[Any]:
        """Return an instant query's result."""
        url = f"{self.url}/api/v1/query?{urlencode({'query': expression})}"
        return list(json.loads(await asyncio.to_thread(_fetch, url))["data"]["result"])

    async def until(self, expression: str, holds: Callable[[list[Any]], bool] = bool) -> list[Any]:
        """Ask until the result holds; TimeoutError after 20 s."""
        async with asyncio.timeout(READY_S):
            while True:
                result = await self.query(expression)
                if holds(result):
                    return result
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def prometheus(
    folder: Path, scrapes: Sequence[Scrape] = (), *, settings: str = ""
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus with its data in ``folder`` while the context lasts; skips without one.

    settings: the whole of its settings, in place of ``scrapes``
    """
    jobs = "".join(_job(scrape) for scrape in scrapes)
    config, data, port = folder / "prometheus.yml", folder / "data", free_port()
    plain = CONFIG.format(jobs=jobs) if jobs else "global: {scrape_interval: 1s}\n"
    config.write_text(settings or plain)
    process = _started(
        folder / "prometheus.log",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    server = Prometheus(f"http://127.0.0.1:{port}", data, process)
    try:
        await _ready(server, folder / "prometheus.log")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)


def create_blocks(lines: Iterable[str], folder: Path) -> None:
    """Let promtool write OpenMetrics text into ``folder``'s data, before a server runs there."""
    text = folder / "recorded.om"
    with text.open("w") as file:
        file.writelines(lines)
    command = ["tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    done = subprocess.run([program("promtool"), *command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _started(log: Path, *flags: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen([program("prometheus"), *flags], stdout=file, stderr=file)


async def _ready(server: Prometheus, log: Path) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            assert server.process.poll() is None, f"prometheus ended; see {log}"
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_fetch, f"{server.url}/-/ready")
                return
            await asyncio.sleep(0.1)


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - loopback
        return bytes(reply.read())


def _job(scrape: Scrape) -> str:
    targets = ", ".join(f"'{target}'" for target in scrape.targets)
    honor = "honor_labels: true\n    " if scrape.honor_labels else ""
    return JOB.format(name=scrape.name, honor=honor, targets=targets)
