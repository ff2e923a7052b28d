"""A root helper for tests: its desk on a folder, and a client of its socket."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.roothelper.desk import Desk
from agent.roothelper.gpus import NVML_DEADLINE_S, Driver
from agent.roothelper.journal import Journal
from agent.roothelper.processes import started
from agent.roothelper.server import PATIENCE_S, Server, listening_socket
from agent.roothelper.settings import HelperSettings
from agent.roothelper.verbs import verbs_of
from core.clock import ManualClock, RealClock

WHO = {"pid": os.getpid(), "uid": os.getuid()}
# Tests may run as root, and in any cgroup.
ANYWHERE: dict[str, Any] = {"least_uid": 0, "job_cgroups": ("*",)}


def desk_at(folder: Path, *, deadline_s: float = NVML_DEADLINE_S, **settings: Any) -> Desk:
    """Return a desk whose journal is in the folder; what an earlier one wrote there is known."""
    clock = ManualClock()
    wanted = HelperSettings(hints=str(folder / "hints"), **(ANYWHERE | settings))
    driver = Driver.with_deadline(deadline_s)
    return Desk(verbs_of(wanted, driver), Journal(folder / "journal.jsonl", clock), clock)


def ask(desk: Desk, verb: str, key: str, **values: object) -> dict[str, Any]:
    """Give an order and return the answer."""
    return desk.answer(json.dumps({"verb": verb, "key": key, **values}).encode(), WHO)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of a job."""

    process: "subprocess.Popen[bytes]"
    named: dict[str, Any]

    @property
    def runs(self) -> bool:
        """Say whether it has not ended."""
        return self.process.poll() is None


@contextmanager
def worker(program: str | bytes = "sleep") -> Iterator[Worker]:
    """Start a process of job 7 that does nothing, and end it; program: sleep, by any name."""
    with subprocess.Popen([program, "600"]) as process:
        try:
            since = started(process.pid)
            yield Worker(process, {"job": "7", "pid": process.pid, "started": since})
        finally:
            process.kill()


@asynccontextmanager
async def helper_at(
    folder: Path, *, uid: int | None = None, patience_s: float = PATIENCE_S
) -> AsyncIterator[Path]:
    """Serve a helper at a socket of the folder for this user, or another; gives the socket."""
    path, stop = folder / "socket", asyncio.Event()
    listening = listening_socket({}, path, os.getuid())
    asked_by = os.getuid() if uid is None else uid
    server = Server(desk_at(folder), asked_by, RealClock(), patience_s=patience_s)
    running = asyncio.create_task(server.run(listening, stop))
    try:
        yield path
    finally:
        stop.set()
        await running


class Client:
    """A client of the socket that sends what it likes; every call blocks."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(str(path))

    def send(self, data: bytes) -> None:
        """Send bytes as they are, as far as the other side takes them."""
        self.socket.sendall(data)

    def answer(self) -> dict[str, Any] | None:
        """Read one line; None where the other side has closed."""
        with self.socket.makefile("rb") as lines:
            line = lines.readline()
        return dict(json.loads(line)) if line else None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
