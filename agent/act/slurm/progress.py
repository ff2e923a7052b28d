"""How far each job is, by the file that its owner names: a JSON line a step, the newest last."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.act.paths import Paths
from agent.act.slurm.declared import declared
from agent.act.slurm.records import SlurmJob
from agent.collect.reading import Reading
from core.target import Target

TAIL = 1 << 14  # bytes at the end that are read: some lines


@dataclass(frozen=True, slots=True)
class Line:
    """The newest whole line: steps done, the loss where it has one, and when it was written."""

    steps: float
    loss: float | None
    wrote_s: float


@dataclass(slots=True)
class Progress:
    """Reads the ends of the files that running jobs declare."""

    _files: Paths[Line | None] = field(default_factory=lambda: Paths(newest_line))
    _readings: tuple[Reading, ...] = ()

    async def look(self, jobs: Iterable[SlurmJob]) -> Mapping[str, float]:
        """Return how many steps each running job that tells of them has done, by job id.

        One that has just been started again shows those of before: it has yet to make one.
        """
        declares = [(job, declared(job.comment).steps) for job in jobs if "RUNNING" in job.state]
        lines = await self._files.known(path for _, path in declares if path)
        told = [(job, lines.get(path)) for job, path in declares if path]
        self._readings = tuple(
            reading
            for job, line in told
            if line is not None and line.wrote_s >= job.start_s
            for reading in _readings(Target(job=str(job.id)), line)
        )
        return {str(job.id): line.steps if line else 0.0 for job, line in told}

    def readings(self) -> tuple[Reading, ...]:
        """Return steps and loss of the jobs that have made one since they started."""
        return self._readings


def newest_line(path: str) -> Line | None:
    """Read ``{"step": 41, "loss": 0.5}``: step 41 is done, the first being 0; None where unread."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a thread's own, no Path is needed
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - TAIL))
            whole, _, _ = file.read(TAIL).rpartition(b"\n")
            wrote_s = os.fstat(file.fileno()).st_mtime
        said = json.loads(whole.rpartition(b"\n")[2])
        loss = said.get("loss")
        return Line(int(said["step"]) + 1, None if loss is None else float(loss), wrote_s)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _readings(target: Target, line: Line) -> Iterator[Reading]:
    yield Reading("job_steps_total", target, line.steps)
    if line.loss is not None:
        yield Reading("job_loss", target, line.loss)
