"""What befalls a lab's GPUs, and what ranks tell, reaches a controller by a real Prometheus."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from agent.config import Settings
from agent.config.node import Node
from agent.config.settings import Prometheus
from agent.lab.node_services import NodeServices
from agent.launch.node import JOBSIDE
from agent.start import discover
from core.clock import RealClock
from core.ports import MetricSource, Query
from core.target import Target
from core.types import Event
from tests.real import program

JOB = {"TORCHELASTIC_RUN_ID": "llama", "RANK": "1", "PYTHONPATH": str(JOBSIDE)}
STEPS = "from gpumedic_job import Progress; p = Progress(); p.step(0, comm_wait_s=0.25); input()"
WAITED = "rank_collective_time_s"


def waiting_rank(records: Path) -> "subprocess.Popen[bytes]":
    """Start a process that tells of a step and waits, in what torchrun gives a rank."""
    environ = os.environ | JOB | {"GPUMEDIC_PROGRESS": str(records)}
    words = [sys.executable, "-S", "-c", STEPS]
    return subprocess.Popen(words, env=environ, stdin=subprocess.PIPE)


async def told_by_ranks(source: MetricSource) -> dict[Target, float]:
    """Return what ranks tell of their waiting, once one does."""
    while True:
        now_s = RealClock().now_s()
        given = await source.read(Query((WAITED,), now_s - 10.0, now_s, 1.0))
        for window in given.windows:
            return dict(zip(window.targets, np.nanmax(window.value, axis=1), strict=True))


async def test_a_ranks_waiting_and_its_lost_gpu_are_told_to_a_controller(tmp_path: Path) -> None:
    program("prometheus"), program("gcc")
    services = NodeServices(tmp_path / "nodes", {})
    services.records.mkdir(parents=True)
    settings = Settings(prometheus=Prometheus(url=services.url), host=Node(enabled=False))
    rank = waiting_rank(services.records / "n1")
    try:
        await asyncio.to_thread(services.start, {"n1": rank.pid}, free=["n2"])
        found = await discover(settings, clock=RealClock(), with_host=False)
        waited = await told_by_ranks(found.sources[0])
        lost = services.lose("n1")
        rank.kill()
        (source,), told = found.event_sources, list[Event]()
        while not told:
            told += await source.events()
    finally:
        for end in (rank.kill, rank.wait, services.stop):
            end()

    assert waited == {Target(node="n1", job="llama", rank="1"): 0.25}
    assert [(event.target, event.kind, event.code) for event in told] == [(lost, "xid", "79")]
    assert "; it hits launch llama of " in told[0].text
    assert told[0].text.endswith(", rank 1")
