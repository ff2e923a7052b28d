"""A file system that hangs holds up neither a cycle nor whatever else is done in threads."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from agent.act import paths
from agent.act.paths import Paths


@pytest.fixture
def back() -> Iterator[threading.Event]:
    """Whether the file system is there again."""
    event = threading.Event()
    yield event
    event.set()


async def test_paths_that_hang_leave_the_loops_threads_to_others(
    back: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DEADLINE_S", 0.05)
    hanging = Paths(lambda path: back.wait())

    assert await hanging.known(f"/jobs/{number}" for number in range(100)) == {}

    async with asyncio.timeout(10.0):
        assert await asyncio.to_thread(lambda: "done") == "done"


async def test_paths_that_hang_take_no_place_from_those_that_answer(
    back: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DEADLINE_S", 0.05)
    seen = Paths(lambda path: back.wait() if path.startswith("/dead") else True)
    dead = [f"/dead/{number}" for number in range(paths.MOST_AT_ONCE)]
    await seen.known(dead)

    async with asyncio.timeout(10.0):
        while await seen.known([*dead, "/well"]) != {"/well": True}:
            pass
    assert set(seen.late()) == set(dead)


async def test_so_many_threads_hang_and_no_more(
    back: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DEADLINE_S", 0.01)
    monkeypatch.setattr(paths, "MOST_THREADS", 20)
    looks: list[str] = []

    def look(path: str) -> bool:
        looks.append(path)
        return back.wait()

    seen = Paths(look)
    for _ in range(10):
        await seen.known(str(number) for number in range(50))
    assert len(looks) == 20

    back.set()
    async with asyncio.timeout(10.0):
        while len(await seen.known(str(number) for number in range(50))) < 50:
            pass


async def test_what_was_seen_is_shown_while_its_path_hangs(
    back: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DEADLINE_S", 0.05)
    looks: list[str] = []

    def look(path: str) -> int:
        looks.append(path)
        if len(looks) > 1:
            back.wait()
        return len(looks)

    seen = Paths(look)

    assert await seen.known(["/job"]) == {"/job": 1}
    assert await seen.known(["/job"]) == {"/job": 1}
    assert await seen.known(["/job"]) == {"/job": 1}
    assert looks == ["/job", "/job"]
