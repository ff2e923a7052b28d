"""What a node's kernel says reaches the controller by way of Prometheus, each thing once."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from agent.collect.node_events import LOOK_BACK_S, NodeEvents
from agent.collect.prometheus_settings import PrometheusAccess
from agent.kernel.following import Following
from agent.kernel.kmsg import Kmsg
from agent.kernel.log import KernelLog
from agent.kernel.tally import TIMESTAMP
from core.clock import ManualClock, RealClock
from core.errors import SourceUnavailable
from core.target import Target
from core.types import Event, Severity
from tests.bad_prometheus import answering, bad_prometheus, hang, send, vector
from tests.kmsg import GPU, PCI, UUID, XID, Buffer
from tests.prometheus import Scrape, prometheus
from tests.real import free_port

NOW_S = 1_700_000_000.0


def said(kind: str, last_s: float, **labels: str) -> tuple[dict[str, str], list[Any]]:
    labels = {"__name__": TIMESTAMP, "kind": kind, "instance": "n1:9642", **labels}
    return labels, [NOW_S, str(last_s)]


async def asked(*documents: Any, clock: ManualClock) -> list[list[Event]]:
    """Ask once for each document."""
    with bad_prometheus(behave=hang) as server:
        source = NodeEvents(PrometheusAccess(url=server.url, timeout_s=5.0), clock=clock)
        told = []
        for document in documents:
            server.on_instant = answering(document)
            told.append(list(await source.events()))
        await source.close()
    return told


async def test_an_event_is_told_once_and_again_when_it_comes_again(clock: ManualClock) -> None:
    first = said("xid", NOW_S - 30, code="31", node="n1", gpu="GPU-1", severity="warning", hits="J")
    again = (first[0], [NOW_S, str(NOW_S - 5)])

    told = await asked(
        vector(first), vector(first), vector(), vector(first), vector(again), clock=clock
    )

    assert [[event.time_s for event in each] for each in told] == [
        [NOW_S - 30],
        [],
        [],
        [],
        [NOW_S - 5],
    ]
    (event,) = told[0]
    assert event.target == Target(node="n1", gpu="GPU-1")
    assert (event.kind, event.code, event.severity) == ("xid", "31", Severity.WARNING)
    assert event.text == "xid (31) on n1/GPU-1, by its kernel or driver; it hits J"


async def test_a_series_says_who_and_how_bad_or_is_taken_with_care(clock: ManualClock) -> None:
    (told,) = await asked(
        vector(
            said("link_down", NOW_S - 9, node="n1", port="mlx5_0:1"),
            said("hung_task", NOW_S - 8, severity="sky is falling"),
            said("volume_readonly", NOW_S + 900, node="n1", volume="/data"),
        ),
        clock=clock,
    )

    assert [event.target for event in told] == [
        Target(node="n1", port="mlx5_0:1"),
        Target(node="n1"),
        Target(node="n1", volume="/data"),
    ]
    assert {event.severity for event in told} == {Severity.WARNING}
    assert told[-1].time_s == clock.now_s()  # a node's clock may run ahead, its events may not


@pytest.mark.parametrize(
    "result",
    [
        None,
        {"a": 1},
        [None, 3, "x", {}],
        [{"metric": {"kind": "xid"}, "value": []}],
        [{"metric": {"kind": "xid"}, "value": [1, "soon"]}],
        [{"metric": {"kind": "xid"}, "value": [1, "NaN"]}],
        [{"metric": ["kind"], "value": [1, "2"]}],
        [{"metric": {"code": "79"}, "value": [1, "2"]}],
    ],
)
async def test_nonsense_is_no_event(clock: ManualClock, result: Any) -> None:
    document = {"status": "success", "data": {"resultType": "vector", "result": result}}

    assert await asked(document, clock=clock) == [[]]


async def test_a_prometheus_that_does_not_answer_is_said(clock: ManualClock) -> None:
    with bad_prometheus(behave=hang) as server:
        server.on_instant = hang
        source = NodeEvents(PrometheusAccess(url=server.url, timeout_s=1.0), clock=clock)
        with pytest.raises(SourceUnavailable, match="events of nodes: no whole answer"):
            await source.events()
        server.on_instant = lambda handler, _: send(handler, b"no", status=503)
        with pytest.raises(SourceUnavailable, match="503"):
            await source.events()
        await source.close()


class Page:
    """A node's page: the text of its kernel's log."""

    def __init__(self, log: KernelLog) -> None:
        self.log = log

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.log.poll()
        body = self.log.text().encode()
        head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def test_a_line_of_a_nodes_kernel_comes_through_a_real_prometheus(tmp_path: Path) -> None:
    buffer, clock = Buffer(tmp_path), RealClock()
    following = Following(clock, None, (Kmsg(buffer.path),), look_back_s=math.inf)
    page = Page(KernelLog("n1", following, gpus=lambda: {PCI: UUID}))
    port = free_port()
    server = await asyncio.start_server(page.answer, "127.0.0.1", port)
    async with server, prometheus(tmp_path, [Scrape("node", (f"127.0.0.1:{port}",))]) as db:
        source = NodeEvents(PrometheusAccess(url=db.url), clock=clock)
        assert await source.events() == ()
        buffer.write(XID.format(79), "EXT4-fs (sda1): Remounting", boot_s=clock.monotonic_s())
        await db.until(TIMESTAMP)

        (event,) = await source.events()

        assert await source.events() == ()
        await source.close()
    buffer.close()
    assert (event.target, event.kind, event.code) == (GPU, "xid", "79")
    assert abs(event.time_s - clock.now_s()) < LOOK_BACK_S
