"""A demonstration on a real cluster that a signal ends: quietly, and nothing is left behind."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from agent.demo_real import demo_real, scratch
from core.target import Target


class Ended:
    """A cluster at whose start, or when it is broken, somebody ends the demonstration."""

    name, job = "torchrun", ""
    faults: Mapping[str, str] = {"kill-node": "nothing is broken"}

    def __init__(self, folder: Path, at: str) -> None:
        self.folder, self.log = folder / "training", list[str]()
        self._at, self._loop = at, asyncio.get_running_loop()

    def start(self) -> None:
        """Take a moment longer than the signal does."""
        self.folder.mkdir()
        self._came_to("start")
        self.log.append("started")

    def settings(self) -> Mapping[str, Any]:
        """Return those of launches, of which there are none."""
        return {
            "scheduler": {"backend": "torchrun"},
            "torchrun": {"folder": str(self.folder)},
        }

    def inject(self, fault: str) -> Target:
        """Break nothing."""
        self._came_to("inject")
        return Target(node="n1")

    def stop(self) -> None:
        """Note that nothing is left."""
        self.log.append("stopped")

    def _came_to(self, what: str) -> None:
        if what == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
            heard = Event()
            self._loop.call_soon_threadsafe(heard.set)
            heard.wait()


@pytest.mark.parametrize("at", ["start", "inject"])
async def test_a_signal_ends_it_once_all_that_was_started_has_stopped(
    at: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with scratch() as folder:
        cluster = Ended(Path(folder), at)
        told: list[str] = []
        demo = demo_real(cluster, "kill-node", at=Path(folder), limit_s=60.0, tell=told.append)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(demo)

    assert cluster.log == ["started", "stopped"]
    stages = [
        line.split()[0] for line in told if line.startswith(("Starting", "Breaking", "Running"))
    ]
    assert stages[-1] == ("Starting" if at == "start" else "Breaking")
    assert capfd.readouterr() == ("", "")
