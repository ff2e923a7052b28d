"""A rank that dies is replaced by a warm standby, and no step and no bit of the model is lost."""

import asyncio
import json
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.launching import HANDED_OVER, STEPS, Job, Undisturbed, launched

pytestmark = pytest.mark.timeout(240)

Fault = tuple[int, int, str, int]


def runs(
    world: int, folder: Path, *faults: Fault, hang_s: float = 60.0, **environ: str
) -> AbstractAsyncContextManager[Job]:
    """Launch the script with these faults: rank, step, place, signal."""
    environ = {"STEPS": str(STEPS), "FAULTS": json.dumps(faults), "ONCE": str(folder), **environ}
    words = ("--nproc-per-node", str(world), "--hang", str(hang_s), "--", HANDED_OVER)
    return launched(*words, **environ)


def repeated(job: Job) -> int:
    """Return how many steps were done more often than once by the same rank."""
    done = [(each["rank"], each["step"]) for each in job.said if each.get("done")]
    return len(done) - len(set(done))


def went_on(job: Job) -> list[int]:
    """Return from which step each generation went on."""
    return [each["step"] for each in job.journal if "takings" in each]


def standbys(job: Job) -> list[int]:
    """Return the processes that began as standbys, in their order."""
    return [each["pid"] for each in job.said if each.get("standby")]


async def test_a_rank_killed_anywhere_in_a_step_costs_nothing(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """Before it, before its backward pass, in an update, after it, between two; rank 0 too."""
    world, last = 4, 3
    faults = (
        (last, 5, "before", signal.SIGKILL),
        (0, 12, "forward", signal.SIGKILL),
        (last, 19, "inside", signal.SIGKILL),
        (1, 26, "after", signal.SIGKILL),
        (2, 37, "between", signal.SIGKILL),
    )
    async with runs(world, tmp_path, *faults) as job:
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(world)}
    begun, first, *others = dict.fromkeys(went_on(job))  # one that gloo forgets begins again
    # With a rank that dies before a step the end of the one before may not reach all the others.
    assert first in (4, 5)
    assert [begun, *others] == [0, 12, 19, 26, 37]
    # Whoever had finished the step that the dead rank had not does it again, once.
    assert repeated(job) <= 2 * (world - 1)


async def test_when_all_ranks_die_at_once_the_copy_in_memory_is_taken(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    async with runs(2, tmp_path, HOLD=str(hold)) as job:
        await job.until(standbys)
        for rank in (0, 1):
            os.kill(job.pid(rank), signal.SIGKILL)
        await job.until(lambda job: len(went_on(job)) > 1)  # or one that dies would take the word
        hold.write_text("")
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(2)}
    assert min(went_on(job)[1:]) >= 9
    assert repeated(job) <= 2
    # The standby took one rank, the other was forked beside it, and no two draw alike.
    forked = [each["drawn"] for each in job.said if each.get("forked")]
    assert len(forked) >= 2
    assert len({*forked}) == len(forked)


async def test_a_rank_killed_while_another_is_replaced_costs_nothing_even_without_copies(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    async with runs(4, tmp_path, (3, 15, "forward", signal.SIGKILL), SHARE="1e-9") as job:
        await job.until(lambda job: len(went_on(job)) == 2)
        os.kill(job.pid(0), signal.SIGKILL)
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(4)}
    # There was no copy in memory: a survivor sent its state, and each rank had its own still.
    takings = next(each["takings"] for each in reversed(job.journal) if "takings" in each)
    assert takings[0] == "receive/slot"
    assert {each.partition("/")[2] for each in takings} == {"slot"}
    # Who copies a state into itself, however large, is not taken for one that a library holds.
    assert {each["taking"] for each in job.said if "taking" in each} == {"OUTSIDE"}


async def test_a_stopped_rank_is_found_by_its_silence(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    async with runs(2, tmp_path, (1, 20, "before", signal.SIGSTOP), hang_s=1.0) as job:
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(2)}
    assert any("stopped by a signal" in text for text in job.texts())
    assert any("state: T" in each.get("evidence", "") for each in job.journal)


async def test_a_rank_that_its_library_does_not_let_go_leaves_its_state_and_is_replaced(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """Gloo forgets a send whose connection breaks, mostly; nobody else has the state by then.

    Whether it forgets is gloo's affair (tests/test_launch_decisions.py has what follows from it):
    no step is lost either way.
    """
    async with runs(2, tmp_path, hang_s=1.0, LOST="1", SHARE="1e-9") as job:
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(2)}
    assert set(went_on(job)) == {0, 10}


async def test_a_standby_that_dies_with_the_fork_server_is_replaced_and_takes_a_place(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    async with runs(2, tmp_path, HOLD=str(hold)) as job:
        await job.until(lambda job: len(standbys(job)) == 1)
        for pid in {*job.left()} - {job.process.pid, job.pid(0), job.pid(1)}:
            os.kill(pid, signal.SIGKILL)  # it, and what it was forked from
        await job.until(lambda job: len(standbys(job)) == 2)
        os.kill(job.pid(1), signal.SIGKILL)
        await job.until(lambda job: "generation 2: rank 1 ended: SIGKILL" in job.texts())
        hold.write_text("")  # rank 0 goes on, to find that its peer is gone
        assert await job.code() == 0

    assert job.digests() == {await undisturbed.digest(2)}
    assert job.pid(1) == standbys(job)[1]


async def test_a_bug_of_the_script_ends_the_launch(tmp_path: Path) -> None:
    async with runs(2, tmp_path, BUG="3") as job:
        assert await job.code() == 1

    assert "step 3 failed" in job.texts()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_supervisor_that_is_ended_leaves_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with runs(2, tmp_path, STEPS="100000") as job:
        await job.until(standbys)
        assert len(job.left()) == 5  # with what the standby was forked from
        job.process.send_signal(number)
        await asyncio.wait_for(job.code(), 30)
