"""Where nodes meet: only who knows the token is talked with, and nobody else does harm."""

import asyncio

import pytest

from agent.launch.arguments import Endpoint
from agent.launch.cluster import Line, Meeting, reach
from agent.launch.plan import Message

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
