"""Where nodes meet: only who knows the token is talked with, and nobody else does harm."""

import asyncio

import pytest

from agent.launch.arguments import Endpoint
from agent.launch.cluster import Host, Line, Meeting, reach
from agent.launch.launcher import Journal, Launcher
from agent.launch.plan import Message, Plan
from agent.launch.quorum import Council
from agent.launch.rally import Rally

TOKEN = "Schlüssel"


async def greet(line: Line, first: Message) -> None:
    line.send("wait", to=first["name"])


async def answer_to(first: bytes, problems: list[object]) -> Message | None:
    """Return what a meeting says to the first line of somebody."""
    asyncio.get_running_loop().set_exception_handler(lambda _, said: problems.append(said))
    meeting = Meeting(TOKEN, greet)
    assert await meeting.open(Endpoint("127.0.0.1", 0))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", meeting.port)
        writer.write(first)
        answer = await Line(reader, writer).receive(5.0)
        writer.close()
    finally:
        meeting.close(0)
    return answer


async def test_a_token_may_have_any_letters() -> None:
    meeting = Meeting(TOKEN, greet)
    assert await meeting.open(Endpoint("127.0.0.1", 0))
    try:
        line = await reach(Endpoint("127.0.0.1", meeting.port))
        line.send("join", name="n1", token=TOKEN)
        assert await line.receive(5.0) == {"kind": "wait", "to": "n1"}
        line.close()
    finally:
        meeting.close(0)


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"[]\n", b'{"token": "\\ud800"}\n', b"9" * 5000 + b"\n"]
)
async def test_who_knows_no_token_gets_no_word_and_does_no_harm(first: bytes) -> None:
    problems: list[object] = []

    assert await answer_to(first, problems) is None
    assert problems == []


JOINS = {"name": "b", "word": "b#1", "address": "127.0.0.1", "port": 1, "meeting": 1, "news": None}


async def test_what_is_not_understood_is_said_and_no_node_stays_with_whom_nobody_talks() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, said: None)
    launcher = Launcher(Plan(), Journal(None), Rally(Council("a#1")))
    meeting = Meeting(TOKEN, Host(launcher).take_in)
    assert await meeting.open(Endpoint("127.0.0.1", 0))
    try:
        line = await reach(Endpoint("127.0.0.1", meeting.port))
        line.send("join", **JOINS, workers=[], token=TOKEN)
        line.send("event", event={"kind": "parked", "uid": "b-1"})
        line.send("beats", beats={}, has=[0, 0], promised=0)
        heard = [await line.receive(5.0)]
        while heard[-1] is not None and heard[-1]["kind"] != "still":
            heard.append(await line.receive(5.0))
        assert "b" in launcher.coordinator.nodes
        line.send("beats")
        while await line.receive(5.0) is not None:
            pass
    finally:
        meeting.close(0)

    said = [each["text"] for each in launcher.journal.lines]
    assert heard[-1] == {"kind": "still"}
    assert any("parked of b-1 was not understood" in each for each in said)
    assert said[-1] == "node b is lost"
