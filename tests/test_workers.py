"""A worker's crash, hang, hunger or litter stays its own, and none outlives the pool."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from agent.workers import WorkerPool
from core.errors import WorkerFailed

MIB = 2**20
ROOT = Path(__file__).parent.parent


@pytest.fixture
async def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorkerPool]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with WorkerPool(1, time_limit_s=20, memory_bytes=512 * MIB) as pool:
        yield pool
    assert left_in(tmp_path, "gpumedic-worker-*") == []


def task(name: str) -> str:
    return f"tests.worker_tasks:{name}"


def alive(pid: int) -> bool:
    """Say whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def gone(*pids: int) -> bool:
    """Wait up to 10 s until none of the processes runs."""
    for _ in range(500):
        if not any(alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.02)
    return False


async def pids_in(note: Path) -> list[int]:
    """Wait up to 20 s until a worker has noted its process ids."""
    for _ in range(1000):
        if found := read(note).split():
            return [int(pid) for pid in found]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{note} was not written")


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def left_in(folder: Path, pattern: str = "*") -> list[Path]:
    return list(folder.glob(pattern))


async def test_arrays_go_there_and_back_unchanged(pool: WorkerPool) -> None:
    sent = np.arange(1_000_000.0)

    value, text = await pool.run(task("echo"), (sent, "°C"))

    assert np.array_equal(value, sent)
    assert text == "°C"


async def test_a_worker_is_a_fresh_interpreter_used_again(pool: WorkerPool) -> None:
    first = await pool.run(task("describe"), None)
    second = await pool.run(task("describe"), None)

    assert first["pid"] == second["pid"] != os.getpid()
    assert first["threads"] == "1"
    assert "pytest" not in first["modules"]


async def test_a_call_over_time_is_killed_and_says_so(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    async with WorkerPool(1, time_limit_s=3, memory_bytes=512 * MIB) as pool:
        with pytest.raises(WorkerFailed, match="not done after 3 s") as failed:
            await pool.run(task("hang_with_child"), str(note))

        assert failed.value.reason == "timeout"
        assert await gone(*await pids_in(note))
        assert await pool.run(task("echo"), "next") == "next"


async def test_too_much_memory_is_refused_not_swapped(pool: WorkerPool) -> None:
    with pytest.raises(WorkerFailed, match="more than the 512 MiB") as failed:
        await pool.run(task("eat_memory"), 1024 * MIB)

    assert failed.value.reason == "memory"
    assert await pool.run(task("eat_memory"), 10 * MIB) == 10 * MIB


async def test_a_crash_gives_its_last_words_and_a_new_worker(pool: WorkerPool) -> None:
    before = await pool.run(task("describe"), None)
    with pytest.raises(WorkerFailed, match=r"SIGABRT after: out of cheese") as failed:
        await pool.run(task("die"), "out of cheese")
    after = await pool.run(task("describe"), None)

    assert failed.value.reason == "crashed"
    assert before["pid"] != after["pid"]


async def test_an_exception_keeps_its_words_and_traceback(pool: WorkerPool) -> None:
    before = await pool.run(task("describe"), None)
    with pytest.raises(WorkerFailed, match="ValueError: seven") as failed:
        await pool.run(task("raise_value_error"), "seven")

    assert failed.value.reason == "raised"
    assert "raise_value_error" in failed.value.__notes__[0]
    assert (await pool.run(task("describe"), None))["pid"] == before["pid"]


async def test_a_name_that_does_not_exist_is_said(pool: WorkerPool) -> None:
    with pytest.raises(WorkerFailed, match="no_such_function"):
        await pool.run(task("no_such_function"), None)


async def test_what_a_call_leaves_in_its_temp_folder_is_gone(pool: WorkerPool) -> None:
    folder = Path(await pool.run(task("litter"), 20))

    assert folder.is_relative_to(tempfile.gettempdir())
    assert left_in(folder) == []


async def test_a_worker_is_replaced_after_its_number_of_calls() -> None:
    async with WorkerPool(1, time_limit_s=20, memory_bytes=512 * MIB, calls_per_worker=2) as pool:
        pids = [(await pool.run(task("describe"), None))["pid"] for _ in range(3)]

    assert pids[0] == pids[1] != pids[2]


async def test_an_idle_worker_that_was_killed_is_replaced(pool: WorkerPool) -> None:
    pid = (await pool.run(task("describe"), None))["pid"]
    os.kill(pid, signal.SIGKILL)
    assert await gone(pid)
    await asyncio.sleep(0.05)

    assert (await pool.run(task("describe"), None))["pid"] != pid


async def test_cancelling_a_call_kills_what_it_started(pool: WorkerPool, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    call = asyncio.create_task(pool.run(task("hang_with_child"), str(note)))
    pids = await pids_in(note)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await gone(*pids)
    assert await pool.run(task("echo"), 1) == 1


async def test_closing_ends_running_and_waiting_calls(tmp_path: Path) -> None:
    pool = WorkerPool(1, time_limit_s=60, memory_bytes=512 * MIB)
    note = tmp_path / "pids"
    running = asyncio.create_task(pool.run(task("hang_with_child"), str(note)))
    waiting = asyncio.create_task(pool.run(task("echo"), 1))
    pids = await pids_in(note)

    await pool.close()

    for call in (running, waiting):
        with pytest.raises(WorkerFailed) as failed:
            await call
        assert failed.value.reason == "closed"
    assert await gone(*pids)
    with pytest.raises(WorkerFailed, match="shutting down"):
        await pool.run(task("echo"), 1)


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async with WorkerPool(1, time_limit_s=60, memory_bytes=512 * MIB, max_pending=1) as pool:
        taken = [asyncio.create_task(pool.run(task("hang"), None)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(WorkerFailed) as failed:
            await pool.run(task("echo"), 1)
        for call in taken:
            call.cancel()
        await asyncio.gather(*taken, return_exceptions=True)

    assert failed.value.reason == "busy"


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    script = (
        "import asyncio; from agent.workers import WorkerPool\n"
        f"pool = WorkerPool(1, time_limit_s=60, memory_bytes={512 * MIB})\n"
        f"asyncio.run(pool.run('tests.worker_tasks:hang_with_child', {str(note)!r}))\n"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT, env=env)
    pids = await pids_in(note)

    parent.kill()
    await parent.wait()

    assert await gone(*pids)
    assert left_in(tmp_path, "gpumedic-worker-*") == []
