"""A node's part of a launch, without its workers: its folder, its socket, what it says of both."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.launch.node import Command, NodeAgent, _folder
from agent.launch.plan import Message, Start
from agent.launch.processes import Worker
from agent.launch.store import Stores


def node(heard: list[Message]) -> NodeAgent:
    return NodeAgent("n1", Command(["true"], python=False), heard.append, Stores().ask)


def test_folders_of_launches_that_begin_at_once_are_left_alone() -> None:
    """Each start removes what dead launches left; a folder is nobody's until it is locked."""

    def begin(_: int) -> str:
        folder, lock = _folder()
        found = "there" if (folder / "lock").exists() else "removed"
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    often, usually_s = 1e-6, sys.getswitchinterval()
    sys.setswitchinterval(often)
    try:
        with ThreadPoolExecutor(6) as pool:
            assert Counter(pool.map(begin, range(400))) == {"there": 400}
    finally:
        sys.setswitchinterval(usually_s)


async def test_a_worker_killed_in_the_middle_of_a_word_is_let_go() -> None:
    heard: list[Message] = []
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: problems.append(said))
    agent = node(heard)
    await agent.open()
    try:
        reader, writer = await asyncio.open_unix_connection(agent.folder / "socket")
        writer.write(b'{"kind": "hello", "uid": "n1-1"}\n{"kind": "par')
        writer.write_eof()
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        writer.close()
    finally:
        await agent.stop()

    assert (heard, problems) == ([{"kind": "hello", "uid": "n1-1"}], [])


async def test_a_file_that_goes_while_it_is_counted_is_not_counted() -> None:
    agent = node([])
    (agent.folder / "kept").write_bytes(bytes(1 << 16))
    (agent.folder / "gone").symlink_to("nowhere")
    try:
        assert agent.kept_bytes() >= 1 << 16
    finally:
        await agent.stop()


def test_a_rank_may_have_any_name(tmp_path: Path) -> None:
    """Trainers name their processes, and the kernel cuts a name in the middle of a letter."""
    named = os.fsencode(tmp_path) + b"/train\xc3"
    Path(os.fsdecode(named)).symlink_to(shutil.which("sleep") or "")
    rank = Worker(lambda code: None)
    with subprocess.Popen([named, "600"], start_new_session=True) as process:
        rank.pid = process.pid
        try:
            assert not rank.is_stopped()
        finally:
            rank.kill()


async def test_a_worker_that_takes_the_processors_time_is_not_still() -> None:
    """One sleeps and one is stopped; one computes, and answers as little."""
    heard: asyncio.Queue[Message] = asyncio.Queue()
    command = Command(["sh", "-c", 'eval "$DOES"'], python=False)
    agent = NodeAgent("n1", command, heard.put_nowait, Stores().ask)
    does = {"n1-1": "sleep 60", "n1-2": "kill -STOP $$", "n1-3": "while :; do :; done"}
    try:
        for uid, what in does.items():
            agent.start(Start("n1", uid, "rank", {"DOES": what}))
        async with asyncio.timeout(10.0):
            stopped, how = agent.processes["n1-2"].pid, os.WSTOPPED | os.WNOWAIT
            await asyncio.to_thread(os.waitid, os.P_PID, stopped, how)
            for uid in does:
                agent.tell(uid, {"kind": "ping"})
            said = [await heard.get() for _ in range(2)]
    finally:
        await agent.stop(signal.SIGKILL)

    still = {each["uid"]: each["why"] for each in said}
    assert still == {"n1-1": "frozen", "n1-2": "stopped by a signal"}
