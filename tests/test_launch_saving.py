"""A launch saves as it is asked, survives a full disk, and goes on from its newest checkpoint."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from agent.launch.asking import act, ask
from agent.launch.control import control_folder
from agent.launch.jobside.gpumedic_job.fence import Fenced, claim, newest_world
from agent.launch.plan import Asked, Message
from tests.checkpoint_files import cut, listed
from tests.launching import SCRIPTS, Job, launched
from tests.real import small_volume

pytestmark = pytest.mark.timeout(240)
WORDS = ("--nproc-per-node", "1", "--standbys", "0", "--", str(SCRIPTS / "saved.py"))
DISK = 4 * 2**20
LONG = "1000000"
NO_ROOM = "is full ("


def control(job: Job) -> Path:
    (found,) = control_folder().glob(f"*.{job.process.pid}")
    return found


async def known(job: Job) -> Message:
    """Return what the launch knows of its checkpoints."""
    status = await asyncio.to_thread(ask, control(job), "GET", "/v1/status")
    found: Message = status["checkpoint"]
    return found


async def asked(job: Job, kind: str, target: str = "") -> Message:
    what = Asked(f"{kind} {target}", kind, target)
    return await asyncio.to_thread(act, control(job), what)


def losses(job: Job) -> dict[int, float]:
    return {each["step"]: each["loss"] for each in job.said if "loss" in each}


async def steps(job: Job, more: int) -> None:
    """Wait until so many steps more were done."""
    wanted = job.step() + more
    await job.until(lambda job: job.step() >= wanted)


async def saved_after(job: Job, step: int) -> Message:
    """Wait for a checkpoint of a later step."""
    while (found := await known(job))["step"] is None or found["step"] <= step:
        await steps(job, 10)
    return found


async def test_a_job_goes_on_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    with small_volume(tmp_path / "disk", DISK) as disk:
        folder = disk / "saved"
        async with launched(*WORDS, FOLDER=str(folder), STEPS=LONG) as job:
            await job.until(lambda job: job.step() > 30)
            first = await saved_after(job, 0)
            refused = await asked(job, "checkpoint_interval", "soon")
            assert (await asked(job, "checkpoint_interval", "0.2"))["ok"]
            while (await known(job))["interval_s"] != 0.2:
                await steps(job, 1)
            with suppress(OSError), (disk / "filler").open("wb") as filler:
                filler.write(bytes(DISK))
            await job.until(lambda job: any(NO_ROOM in text for text in job.texts()))
            (disk / "filler").unlink()
            last = await saved_after(job, job.step())
            await steps(job, 10)
            os.kill(job.process.pid, signal.SIGKILL)
            await job.code()
        before = listed(folder)
        newest = before.newest_valid
        assert newest is not None
        assert newest.step is not None
        cut(Path(newest.path) / "__0_0.distcp", 1000)
        (folder / "step_900000.1.0.part").mkdir()
        whole = listed(folder).newest_valid
        reached = str(max(losses(job)) + 1)
        async with launched(*WORDS, FOLDER=str(folder), STEPS=reached) as again:
            assert await again.code() == 0
        after = listed(folder)
        with pytest.raises(Fenced):
            claim(folder, (newest_world(folder)[0] - 1, 99))

    assert refused["text"] == "'soon' is no number of seconds from 0.1 on"
    assert (first["folder"], first["problem"]) == (str(folder), "")
    assert first["step"] % 25 == 0
    assert any(NO_ROOM in text and "saved before stays" in text for text in job.texts())
    assert last["problem"] == ""
    assert whole is not None
    assert whole.step is not None
    assert min(losses(again)) == whole.step < newest.step
    assert any("is passed over" in text for text in again.texts())
    repeated = losses(job).keys() & losses(again).keys()
    assert len(repeated) > 5
    assert all(losses(job)[step] == losses(again)[step] for step in repeated)
    assert after.newest_valid is not None
    assert after.newest_valid.fence is not None
    assert newest.fence is not None
    assert after.newest_valid.fence > newest.fence
    assert not any(each.name.endswith(".part") for each in after.checkpoints)
