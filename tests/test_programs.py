"""Programs of the site: their deadline holds for all they start, and they may leave work behind."""

import asyncio
import os
from pathlib import Path

import pytest

from agent.act.programs import Ending, Programs
from core.errors import ActionFailed
from core.target import Target
from core.types import Action

LONG_S = 60.0


def order(deadline_s: float = LONG_S) -> Action:
    return Action("k", "validate_node", Target(node="n1"), (), deadline_s, "")


def shell(script: str) -> Programs:
    return Programs({"validate_node": ("sh", "-c", script)})


async def ended(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(LONG_S / 6):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def test_what_is_late_ends_with_all_that_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    late = shell(f"sleep {LONG_S:g} & echo $! > {note}; wait")

    async with asyncio.timeout(LONG_S / 6):
        with pytest.raises(ActionFailed, match=r"has not ended in 0\.3 s"):
            await late.run(order(deadline_s=0.3))

    await ended(int(note.read_text()))


async def test_what_is_left_running_on_purpose_is_not_waited_for(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    starts = shell(f"sleep {LONG_S:g} & echo $! > {note}; echo started")

    async with asyncio.timeout(LONG_S / 6):
        ending = await starts.run(order())

    assert ending == Ending(0, "started")
    os.kill(int(note.read_text()), 9)  # fails where it was ended with its starter


async def test_of_many_words_the_last_are_kept() -> None:
    ending = await shell("yes no | head -c 99999; echo at last; exit 3").run(order())

    assert ending.code == 3
    assert ending.said.endswith("no no at last")
    assert len(ending.said) == 300
