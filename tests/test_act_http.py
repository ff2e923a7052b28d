"""A cluster behind HTTP that is away, slow, lies or has another token: said so, nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from agent.act.http import ClusterAccess, HttpCluster
from agent.config import Settings
from agent.start import scheduler_of
from core.clock import ManualClock
from core.errors import ActionFailed, ConfigError, SourceUnavailable
from core.ports import Cluster, EventSource
from core.target import Target
from core.types import Action
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec
from sim.world import World
from tests.lab import INSIDE, behind_http, transport_to
from tests.real import free_port

CORDON = Action("k1", "cordon", Target(node="node-02"), (), 900.0, "uncordon")
Handler = Callable[[httpx2.Request], httpx2.Response]


class Answering(httpx2.AsyncBaseTransport):
    """Answers each call with the next of what it was given; an exception is raised."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx2.Request] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Dripping(httpx2.AsyncByteStream):
    """A body that begins and never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"observed_s": '
        await asyncio.Event().wait()


def simulated(clock: ManualClock) -> SimulatedCluster:
    fault = FaultSpec("gpu_fallen_off_bus", Target(node="node-03", gpu="5"), onset_s=60)
    script = replace(scenario("quiet"), faults=(fault,), history_s=1800.0)
    return SimulatedCluster(World.build(script.starting_at(clock.now_s()), seed=1), clock=clock)


def over(transport: httpx2.AsyncBaseTransport, **changes: object) -> HttpCluster:
    access = replace(ClusterAccess(INSIDE), **changes)  # type: ignore[arg-type]
    return HttpCluster(access, clock=ManualClock(), transport=transport)


async def test_it_fits_both_ports_and_shows_the_cluster_as_it_is(clock: ManualClock) -> None:
    direct = simulated(clock)
    as_cluster: Cluster = behind_http(direct, clock=clock)
    as_events: EventSource = behind_http(direct, clock=clock)
    await clock.advance(300)

    state, own = await as_cluster.state(), await direct.state()
    events = await as_events.events()

    assert (state.nodes, state.jobs, state.observed_s) == (own.nodes, own.jobs, own.observed_s)
    assert state.topology.gpus == own.topology.gpus
    assert events == await direct.events()
    assert events[0].kind == "xid"
    assert await as_events.events() == ()


async def test_a_server_that_starts_anew_is_read_from_a_quarter_of_an_hour_ago(
    clock: ManualClock,
) -> None:
    direct = simulated(clock)
    await clock.advance(300)
    first = transport_to(direct)
    cluster = HttpCluster(ClusterAccess(INSIDE), clock=clock, transport=first)
    told = await cluster.events()
    again = HttpCluster(ClusterAccess(INSIDE), clock=clock, transport=transport_to(direct))
    assert await again.events() == told

    await clock.advance(3600)
    late = HttpCluster(ClusterAccess(INSIDE), clock=clock, transport=transport_to(direct))
    assert await late.events() == ()


async def test_a_connection_that_was_closed_is_tried_once_more(clock: ManualClock) -> None:
    inside = transport_to(simulated(clock))

    class Closing(httpx2.AsyncBaseTransport):
        calls = 0

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.calls += 1
            if self.calls == 1:
                raise httpx2.RemoteProtocolError("Server disconnected")
            return await inside.handle_async_request(request)

    assert len((await over(Closing()).state()).nodes) == 16


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (httpx2.Response(200, text="<html>log in</html>"), "with no JSON: '<html>"),
        (httpx2.Response(200, json={"nodes": []}), "lacks the field"),
        (httpx2.Response(200, json={"nodes": [], "colour": 1}), "no field 'colour'"),
        (httpx2.Response(503, json={"error": "restarting"}), "answered 503: 'restarting'"),
        (httpx2.Response(302, headers={"location": "http://x"}, text="{}"), "answered 302"),
        (httpx2.Response(200, text="[" * 100_000), "with no JSON"),
        (httpx2.Response(200, content=b" " * 2000), "longer than"),
        (httpx2.ConnectError("Connection refused"), "Connection refused. See whether it runs"),
    ],
    ids=str,
)
async def test_what_is_no_state_is_said_so(answer: httpx2.Response | Exception, found: str) -> None:
    limit = 1000 if "longer" in found else 1 << 20
    with pytest.raises(SourceUnavailable, match=found.replace("[", r"\[")) as error:
        await over(Answering(answer), max_body_bytes=limit).state()

    assert f"{INSIDE}/scheduler/v1/state" in str(error.value)


async def test_an_answer_that_never_ends_is_waited_for_briefly() -> None:
    endless = httpx2.Response(200, stream=Dripping())

    with pytest.raises(SourceUnavailable, match=r"no full answer in 0\.05 s"):
        await over(Answering(endless), timeout_s=0.05).state()


async def test_events_whose_answer_broke_off_are_asked_for_again(clock: ManualClock) -> None:
    inside = transport_to(simulated(clock))
    await clock.advance(300)

    class Breaking(httpx2.AsyncBaseTransport):
        broken = True

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = await inside.handle_async_request(request)
            return httpx2.Response(200, text='{"cursor": "x') if self.broken else answer

    transport = Breaking()
    cluster = HttpCluster(ClusterAccess(INSIDE), clock=clock, transport=transport)
    with pytest.raises(SourceUnavailable):
        await cluster.events()
    transport.broken = False

    assert [event.kind for event in await cluster.events()][:1] == ["xid"]


@pytest.mark.parametrize("given", [{}, {"cursor": "a-1"}, {"cursor": "a-1", "events": [1]}, []])
async def test_what_are_no_events_is_said_so(given: object) -> None:
    with pytest.raises(SourceUnavailable):
        await over(Answering(httpx2.Response(200, json=given))).events()


async def test_another_token_is_refused_and_the_order_not_lost(clock: ManualClock) -> None:
    direct = simulated(clock)

    with pytest.raises(SourceUnavailable, match=r"401.*scheduler\.token_file"):
        await behind_http(direct, clock=clock, token="another").perform(CORDON)
    assert (await direct.state()).out_by("gpumedic") == ()
    await behind_http(direct, clock=clock).perform(CORDON)

    assert len((await direct.state()).out_by("gpumedic")) == 1


@pytest.mark.parametrize(
    ("content", "found"), [(None, "cannot be read"), ("", "no single-line"), ("a\nb", "no single")]
)
async def test_a_token_file_that_holds_none_is_named(
    tmp_path: Path, content: str | None, found: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceUnavailable, match=found) as error:
        await over(Answering(), token_file=path).perform(CORDON)
    assert str(path) in str(error.value)


async def test_a_conflict_that_is_not_the_clusters_word_is_no_refusal() -> None:
    """A proxy's 409 says nothing of the order: it is given again."""
    with pytest.raises(SourceUnavailable, match="409"):
        await over(Answering(httpx2.Response(409, json={"error": "busy"}))).perform(CORDON)
    refused = httpx2.Response(409, json={"code": "action_failed", "error": "cordon: no"})
    with pytest.raises(ActionFailed, match="cordon: no"):
        await over(Answering(refused)).perform(CORDON)


async def test_the_settings_name_the_scheduler(tmp_path: Path, clock: ManualClock) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    nobody = scheduler_of(Settings(), clock=clock)
    made = scheduler_of(Settings(scheduler={"url": url, "timeout": "3s"}), clock=clock)  # type: ignore[arg-type]

    assert nobody is None
    assert isinstance(made, HttpCluster)
    assert (made.access.url, made.access.timeout_s) == (url, 3.0)
    with pytest.raises(SourceUnavailable, match="See whether it runs"):
        await made.state()
    await made.close()
    no_authority = {"url": url, "ca_file": str(tmp_path / "none.pem")}
    with pytest.raises(ConfigError, match="PEM"):
        scheduler_of(Settings(scheduler=no_authority), clock=clock)  # type: ignore[arg-type]
