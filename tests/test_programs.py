"""Programs of the site: begun once an order, ended at its deadline, and what they leave behind."""

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from agent.act.programs import Ending, Programs
from core.errors import ActionFailed, SourceUnavailable
from core.target import Target
from core.types import Action

LONG_S = 60.0


def order(deadline_s: float = LONG_S) -> Action:
    return Action("k", "validate_node", Target(node="n1"), (), deadline_s, "")


def shell(script: str, *, patience_s: float = LONG_S) -> Programs:
    return Programs({"validate_node": ("sh", "-c", script)}, patience_s=patience_s)


async def heard(programs: Programs, action: Action) -> Ending:
    """Ask after a program as often as it takes."""
    async with asyncio.timeout(LONG_S / 6):
        while True:
            with contextlib.suppress(SourceUnavailable):
                return await programs.run(action)


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


async def test_one_that_takes_long_holds_nobody_up_and_is_begun_once_for_its_key(
    tmp_path: Path,
) -> None:
    note, gate = tmp_path / "begun", tmp_path / "gate"
    os.mkfifo(gate)
    slow = shell(f"echo begun >> {note}; read word < {gate}; echo $word", patience_s=0.05)

    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"sh still runs; .* at most 60 s"):
            await slow.run(order())
    await asyncio.to_thread(gate.write_text, "well\n")

    assert await heard(slow, order()) == Ending(0, "well")
    assert note.read_text() == "begun\n"
    assert not slow.has_begun(order())


async def test_whoever_stops_waiting_does_not_end_it(tmp_path: Path) -> None:
    """As the runner does at the end of its patience, or a wait that is cut off."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = shell(f"read word < {gate}; echo $word")
    asking = asyncio.ensure_future(slow.run(order()))
    await asyncio.wait({asking}, timeout=0.05)

    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.to_thread(gate.write_text, "well\n")

    assert await heard(slow, order()) == Ending(0, "well")


def test_what_runs_ends_with_the_controller(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    os.mkfifo(note)
    runs = shell(f"echo $$ > {note}; sleep {LONG_S:g}", patience_s=0.05)

    async def controller() -> int:
        with contextlib.suppress(SourceUnavailable):
            await runs.run(order())
        return int(await asyncio.to_thread(note.read_text))

    pid = asyncio.run(controller())

    asyncio.run(ended(pid))


async def test_how_one_ended_that_nobody_asked_after_is_forgotten_with_its_deadline() -> None:
    runs = shell(f"sleep {LONG_S:g}", patience_s=0.0)
    short, long = order(deadline_s=0.05), replace(order(), key="k2")
    with pytest.raises(SourceUnavailable):
        await runs.run(short)
    await asyncio.wait({runs._begun[short.key].ending}, timeout=LONG_S / 6)

    with pytest.raises(SourceUnavailable):
        await runs.run(long)

    assert (runs.has_begun(short), runs.has_begun(long)) == (False, True)
