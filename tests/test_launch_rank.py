"""One rank, whose orders the test gives: it needs no room for copies, and ends where it is told."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from agent.launch.agreeing import Agreement, Taking
from agent.launch.forming import place_of
from agent.launch.node import Command, NodeAgent
from agent.launch.plan import Message, Plan, Start
from agent.launch.seating import Seating
from agent.launch.store import Stores
from tests.launching import HANDED_OVER
from tests.real import small_volume

UID = "n1-1"
STEPS = 5


class Supervised:
    """A rank on a node of its own; ``heard`` waits for the next word of a kind."""

    def __init__(self, folder: Path) -> None:
        self._words: asyncio.Queue[Message] = asyncio.Queue()
        command = Command([HANDED_OVER])
        self.agent = NodeAgent("n1", command, self._words.put_nowait, Stores().ask, folder)
        self._start = Start("n1", UID, "rank", {"STEPS": str(STEPS)})

    async def __aenter__(self) -> "Supervised":
        await self.agent.open()
        self.agent.start(self._start)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.agent.stop()

    async def heard(self, kind: str) -> Message:
        async with asyncio.timeout(60):
            while (word := await self._words.get())["kind"] != kind:
                pass
        return word

    async def parked(self, generation: int) -> Message:
        self.agent.tell(UID, {"kind": "regroup", "generation": generation})
        return await self.heard("parked")

    def form(self, generation: int, step: int, taking: Taking) -> None:
        """Tell the rank to go on in a group of its own."""
        seating = Seating(Plan())
        seating.seat(["n1"])
        place = place_of(seating, seating.seats[0], taking, Agreement(step, None, (), (taking,)))
        more = {"launched": 1, "environment": {}, "connect_s": 10.0}
        order = {"kind": "form", "generation": generation, **more, **place}
        self.agent.tell(UID, order)


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder whose sockets' names are short enough for Unix."""
    with TemporaryDirectory(prefix="gpumedic-") as folder:
        yield Path(folder)


async def test_a_rank_trains_without_room_for_copies_and_ends_where_it_is_to_blame(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_volume(short / "memory", 128 << 10) as volume:
        monkeypatch.setattr("agent.launch.node._SHARED_MEMORY", volume)
        async with Supervised(short) as rank:
            await rank.heard("hello")
            await rank.parked(1)
            rank.form(1, 0, Taking("keep", "keep"))
            noted = await rank.heard("note")
            finished = await rank.heard("finished")
            parked = await rank.parked(2)
            rank.form(2, 999, Taking("copy", "slot"))
            failed = await rank.heard("failed")
            rank.agent.tell(UID, {"kind": "raise"})
            ended = await rank.heard("exited")

    assert "No space left on device" in noted["text"]
    assert (finished["step"], parked["step"], parked["valid"]) == (STEPS, STEPS, True)
    assert failed["error"].startswith("copy.1 holds step ")
    assert ended["code"] == 1
