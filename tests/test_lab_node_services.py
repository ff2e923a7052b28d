"""A GPU that the test driver loses is told to a controller, through a real Prometheus."""

import asyncio
import os
import subprocess
from pathlib import Path

from agent.config import Settings
from agent.config.node import Node
from agent.config.settings import Prometheus
from agent.lab.node_services import NodeServices
from agent.start import discover
from core.clock import RealClock
from core.types import Event
from tests.real import program

JOB = {"TORCHELASTIC_RUN_ID": "llama", "RANK": "1"}


def waiting_rank() -> "subprocess.Popen[bytes]":
    """Start a process that waits, with what torchrun gives a rank in its environment."""
    return subprocess.Popen(["cat"], env=os.environ | JOB, stdin=subprocess.PIPE)


async def test_a_lost_gpu_is_told_to_a_controller_with_the_job_that_it_ended(
    tmp_path: Path,
) -> None:
    program("prometheus"), program("gcc")
    services = NodeServices(tmp_path / "nodes", {})
    settings = Settings(prometheus=Prometheus(url=services.url), host=Node(enabled=False))
    rank = waiting_rank()
    try:
        await asyncio.to_thread(services.start, {"n1": rank.pid})
        found = await discover(settings, clock=RealClock(), with_host=False)
        lost = services.lose("n1")
        rank.kill()
        (source,), told = found.event_sources, list[Event]()
        while not told:
            told += await source.events()
    finally:
        for end in (rank.kill, rank.wait, services.stop):
            end()

    assert [(event.target, event.kind, event.code) for event in told] == [(lost, "xid", "79")]
    assert "; it hits launch llama of " in told[0].text
    assert told[0].text.endswith(", rank 1")
