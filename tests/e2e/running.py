"""gpumedic as a real process for end-to-end tests: started, asked over HTTP, waited for."""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real import free_port

ROOT = Path(__file__).parent.parent.parent
# What the kernel of the machine under the tests says is no part of them.
OWN_KERNEL_UNHEARD = {"GPUMEDIC__HOST__KERNEL_LOG": "false"}
# Generous: two cores may run another test, and a first import of everything, at the same time.
DEADLINE_S = 60.0
POLL_S = 0.1


@dataclass(slots=True)
class Running:
    """A gpumedic process and where it answers; its log lines are JSON, one a line."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    async def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return json.loads(await asyncio.to_thread(_fetch, self.url + path))

    async def metric(self, name: str, **labels: str) -> float:
        """Return one of its own metrics; 0 where it is not shown."""
        page = (await asyncio.to_thread(_fetch, f"{self.url}/metrics")).decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for line in page.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(pair in series for pair in wanted):
                return float(value)
        return 0.0

    def said(self) -> str:
        """Return all it has written."""
        return self.log.read_text(errors="replace")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of one event."""
        found = []
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [line for line in found if isinstance(line, dict) and line.get("event") == event]

    async def ready(self) -> None:
        """Wait until ``/readyz`` says yes."""

        async def holds() -> bool:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(OSError):
                return bool((await self.get("/readyz"))["ready"])
            return False

        await until(holds, what=f"{self.url}/readyz")

    async def ended(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end and return the exit code."""
        await asyncio.to_thread(self.process.wait, deadline_s)
        return int(self.process.returncode)


@contextlib.asynccontextmanager
async def gpumedic(
    *words: str, folder: Path, listen: int | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run ``gpumedic WORDS --listen ...`` while the context lasts; its log goes to ``folder``."""
    port = listen or free_port()
    log = folder / f"{words[0]}-{port}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes a millisecond
            [sys.executable, "-m", "agent.cli", *words, "--listen", f"127.0.0.1:{port}"],
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, **OWN_KERNEL_UNHEARD, **(environ or {})},
        )
    running = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 15)
        if process.poll() is None:
            process.kill()
            await asyncio.to_thread(process.wait, 15)


async def until(
    condition: Callable[[], object], *, what: str, deadline_s: float = DEADLINE_S
) -> None:
    """Ask until the answer, awaited where need be, is truthy; the error names what never came."""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                answer = condition()
                if await answer if inspect.isawaitable(answer) else answer:
                    return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {deadline_s:g} s: {what}") from None


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - loopback
            return bytes(reply.read())
    except urllib.error.HTTPError as refused:
        return bytes(refused.read())
