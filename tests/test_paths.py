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
