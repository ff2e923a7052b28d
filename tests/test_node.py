"""The node service stays small, and its page is one that Prometheus takes."""

import asyncio
import contextlib
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter

from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader, inventory
from agent.collect.reading import Exposition, Reading, Snapshot
from agent.node import NodeService
from agent.serving import serve
from core.clock import ManualClock, RealClock
from core.ports import Problem
from core.target import Target
from tests.real import free_port, program


@dataclass(slots=True)
class Fixed:
    """A reader that always reads the same; it waits for ``gate`` where there is one."""

    readings: tuple[Reading, ...] = ()
    problems: tuple[Problem, ...] = ()
    gate: threading.Event | None = None
    name: str = "fixed"
    runs: list[int] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        self.runs.append(1)
        if self.gate is not None:
            self.gate.wait(10)
        return Snapshot(self.readings, self.problems)


@contextlib.asynccontextmanager
async def serving(service: NodeService) -> AsyncIterator[str]:
    """Serve on loopback; gives the address."""
    stop, port = asyncio.Event(), free_port()
    running = asyncio.create_task(serve(service.app, f"127.0.0.1:{port}", stop))
    try:
        await _answering(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await running


async def _answering(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def fetch(url: str) -> tuple[int, str, str]:
    """Return status, content type and text."""

    def get() -> tuple[int, str, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - loopback
                return reply.status, reply.headers["Content-Type"], reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, "", ""

    return await asyncio.to_thread(get)


async def test_promtool_finds_nothing_wrong_with_the_page() -> None:
    clock = RealClock()
    service = NodeService(
        [HostReader("n1", clock=clock), NvmlReader("n1")], clock=clock, registry=own()
    )

    async with serving(service) as url:
        status, kind, text = await fetch(f"{url}/metrics")
        healthy = await fetch(f"{url}/healthz")

    checked = promtool_check(text)
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "gpumedic_node_memory_used_ratio" in text
    assert 'gpumedic_volume_used_ratio{node="n1",volume="/' in text
    assert "gpumedic_own_total 3.0" in text
    assert "gpumedic_node_up" not in text
    assert healthy[0] == 200
    # "lint" complaints come with exit status 3 and concern names alone; 1 means it cannot be read.
    assert checked.returncode in (0, 3), checked.stderr.decode()
    assert b"error while" not in checked.stderr


def promtool_check(text: str) -> "subprocess.CompletedProcess[bytes]":
    command = [program("promtool"), "check", "metrics"]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=False)


def own() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("gpumedic_own", "Something the process counts.", registry=registry).inc(3)
    return registry


def test_labels_with_quotes_and_line_ends_are_escaped() -> None:
    volume = 'a"b\\c\nd'

    text = Exposition().text([Reading("volume_used_ratio", Target(node="n", volume=volume), 0.5)])

    assert text.splitlines()[-1] == (
        'gpumedic_volume_used_ratio{node="n",volume="a\\"b\\\\c\\nd"} 0.5'
    )


def test_the_lines_that_are_kept_are_those_that_would_be_written() -> None:
    """A page is put together from what was there before and what has changed since."""
    kept = Exposition()
    up, down, full = (
        Reading(metric, Target(node="n", gpu=gpu), value)
        for metric, gpu, value in (("gpu_answers", "a", 1), ("gpu_answers", "b", 0), ("x", "a", 2))
    )
    again = Reading("gpu_answers", Target(node="n", gpu="b"), 1.0)

    for readings in ([up, down, full], [up, again, full], [up, full], [down, up], [up, down, full]):
        assert kept.text(readings) == Exposition().text(readings)


async def test_two_who_ask_at_once_share_a_reading(clock: ManualClock) -> None:
    reader = Fixed()
    service = NodeService([reader], clock=clock)

    await asyncio.gather(service.page(), service.page())

    assert len(reader.runs) == 1


async def test_a_reader_that_hangs_costs_its_own_part_only(clock: ManualClock) -> None:
    """Prometheus gives up after 10 s: the page is there before, and threads do not pile up."""
    gate = threading.Event()
    hung = Fixed(gate=gate, name="hung")
    fine = Fixed(readings=(Reading("node_cpu_used_ratio", Target(node="n"), 0.25),))
    service = NodeService([hung, fine], clock=clock, deadline_s=0.05)

    first, second = await service.page(), await service.page()
    gate.set()

    for page in (first, second):
        assert 'gpumedic_node_cpu_used_ratio{node="n"} 0.25' in page
        assert 'gpumedic_read_problems{source="hung",code="slow"} 1' in page
    assert len(hung.runs) == 1
    assert len(fine.runs) == 2


async def test_a_problem_is_on_the_page(clock: ManualClock) -> None:
    problem = Problem("host", "volume_hung", "/scratch")

    page = await NodeService([Fixed(problems=(problem, problem))], clock=clock).page()

    assert 'gpumedic_read_problems{source="host",code="volume_hung"} 2' in page


@dataclass(slots=True)
class Broken:
    """A reader with a bug."""

    name: str = "broken"

    def snapshot(self) -> Snapshot:
        raise RuntimeError("boom")


async def test_a_reader_with_a_bug_does_not_take_the_page_down(clock: ManualClock) -> None:
    page = await NodeService([Broken(), Fixed()], clock=clock).page()

    assert 'gpumedic_read_problems{source="broken",code="reader"} 1' in page


async def test_what_is_not_there_is_not_found(clock: ManualClock) -> None:
    async with serving(NodeService([], clock=clock)) as url:
        assert (await fetch(f"{url}/etc/passwd"))[0] == 404


def test_without_a_driver_the_inventory_says_why() -> None:
    """On a machine with GPUs it lists them instead; it raises on neither."""
    found = inventory()

    if found.gpus:
        assert all(gpu.uuid.startswith("GPU-") and gpu.memory_bytes > 0 for gpu in found.gpus)
        assert found.driver
    else:
        assert "NVIDIA driver" in found.missing
