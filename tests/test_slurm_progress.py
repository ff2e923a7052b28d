"""How far a Slurm job is, by the file that it declares: steps, and what one takes."""

import json
import os
from dataclasses import replace
from pathlib import Path

from agent.act.slurm.progress import Pace, Progress
from agent.act.slurm.records import SlurmJob, jobs_in
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
