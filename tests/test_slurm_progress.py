"""How far a Slurm job is, by the file that it declares: steps, and what one takes."""

import asyncio
import json
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent.act import paths
from agent.act.paths import Paths
from agent.act.slurm.progress import Line, Pace, Progress, newest_line
from agent.act.slurm.records import SlurmJob, jobs_in
from agent.collect.patience import begun
from core.target import Target

GOLDEN = Path(__file__).parent / "golden/slurm/26.05/jobs.json"
STARTED_S = 1.8e9


def running(steps: Path) -> SlurmJob:
    """Return a job on one node that declares its steps."""
    job = next(each for each in jobs_in(json.loads(GOLDEN.read_text())) if each.nodes)
    return replace(job, comment=f"gpumedic: steps={steps}", start_s=STARTED_S)


def wrote(file: Path, step: int, at_s: float) -> None:
    file.write_text(f'{{"step": {step}, "loss": 0.5}}\n')
    os.utime(file, (at_s, at_s))


async def test_a_steps_time_is_that_of_the_steps_since_the_last_look(tmp_path: Path) -> None:
    file, progress = tmp_path / "steps", Progress()
    job = running(file)
    name, seen = str(job.id), list[Pace]()

    for step, after_s in ((9, 10.0), (13, 12.0), (13, 12.0), (14, 12.0), (15, 15.0)):
        wrote(file, step, STARTED_S + after_s)
        seen.append((await progress.look([job]))[name])
    told = {each.metric: each.value for each in progress.readings()}

    assert seen == [Pace(10), Pace(14, 0.5), Pace(14, 0.5), Pace(15, 0.5), Pace(16, 1.5)]
    assert told == {"job_steps_total": 16.0, "job_step_time_s": 1.5, "job_loss": 0.5}
    assert {each.target for each in progress.readings()} == {Target(job=name)}


async def test_while_its_file_system_hangs_it_is_not_said_that_a_job_makes_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "DEADLINE_S", 0.05)
    back, looks = threading.Event(), list[str]()

    def look(path: str) -> Line | None:
        looks.append(path)
        if len(looks) == 2:
            back.wait()
        return newest_line(path)

    file, progress = tmp_path / "steps", Progress(Paths(look))
    job = running(file)
    wrote(file, 9, STARTED_S + 10.0)
    await progress.look([job])
    assert {each.value for each in progress.readings()} >= {10.0}

    assert await progress.look([job]) == {str(job.id): Pace(10)}
    assert progress.readings() == ()

    back.set()
    async with asyncio.timeout(10.0):
        while not progress.readings():
            await progress.look([job])


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_nothing_but_a_file_is_opened(kind: str, tmp_path: Path) -> None:
    named = tmp_path / "steps"
    match kind:
        case "pipe":
            os.mkfifo(named)  # to open it would wait for somebody who writes
        case "device":
            named.symlink_to("/dev/zero")  # never ends
        case "folder":
            named.mkdir()

    assert begun(partial(newest_line, str(named))).result(timeout=10.0) is None


async def test_what_is_usual_is_known_again_after_a_restart_and_anew_on_other_nodes(
    tmp_path: Path,
) -> None:
    file, progress = tmp_path / "steps", Progress()
    job = running(file)
    name = str(job.id)
    for step in range(20):
        wrote(file, step, STARTED_S + step)
        before = (await progress.look([job]))[name]

    await progress.look([replace(job, state=frozenset({"PENDING"}))])
    again = replace(job, start_s=STARTED_S + 500.0)
    waiting = (await progress.look([again]))[name]
    wrote(file, 15, STARTED_S + 600.0)
    first = (await progress.look([again]))[name]
    wider = replace(again, nodes=("n1", "n2"))
    other = (await progress.look([wider]))[name]

    assert before == Pace(20, 1.0, 1.0)
    assert waiting == Pace(20)
    assert first == Pace(16, None, 1.0)
    assert other == Pace(16)
