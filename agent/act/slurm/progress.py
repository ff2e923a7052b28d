"""How far each job is, by the file that its owner names: a JSON line a step, the newest last."""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent.act.paths import Paths
from agent.act.slurm.declared import declared
from agent.act.slurm.records import SlurmJob
from agent.act.usual import UsualStep
from agent.collect.reading import Reading
from core.target import Target

TAIL = 1 << 14  # bytes at the end that are read: some lines


@dataclass(frozen=True, slots=True)
class Line:
    """The newest whole line: steps done, the loss where it has one, and when it was written."""

    steps: float
    loss: float | None
    wrote_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a job is: steps done; seconds a step, now and usually, None where not known."""

    steps: float
    step_s: float | None = None
    usual_step_s: float | None = None


@dataclass(slots=True)
class _Known:
    """What is remembered of a job between looks; start_s: when it was started then.

    Some file systems have whole seconds: steps of one second are measured with those of the next.
    """

    start_s: float = 0.0
    last: Line | None = None
    step_s: float | None = None
    usual: UsualStep = field(default_factory=UsualStep)

    def pace(self, job: SlurmJob, line: Line | None) -> Pace:
        """Take in what a job shows now; return how far it is."""
        if job.start_s != self.start_s:
            self.start_s, self.last, self.step_s = job.start_s, None, None
        if line is None or line.wrote_s < job.start_s:
            return Pace(line.steps if line else 0.0)
        if self.last is None or line.steps < self.last.steps:
            self.last = line
        elif line.steps > self.last.steps and line.wrote_s > self.last.wrote_s:
            self.step_s = (line.wrote_s - self.last.wrote_s) / (line.steps - self.last.steps)
            self.usual.note(self.step_s, nodes=len(job.nodes))
            self.last = line
        return Pace(line.steps, self.step_s, self.usual.step_s(nodes=len(job.nodes)))


@dataclass(slots=True)
class Progress:
    """Reads the ends of the files that running jobs declare."""

    _files: Paths[Line | None] = field(default_factory=lambda: Paths(newest_line))
    _known: dict[str, _Known] = field(default_factory=dict)
    _readings: tuple[Reading, ...] = ()

    async def look(self, jobs: Iterable[SlurmJob]) -> Mapping[str, Pace]:
        """Return how far each running job is that tells of its steps, by job id.

        One that has just been started again shows those of before: it has yet to make one.
        """
        jobs = tuple(jobs)
        declares = [(job, declared(job.comment).steps) for job in jobs if "RUNNING" in job.state]
        lines = await self._files.known(path for _, path in declares if path)
        told = {str(job.id): (job, lines.get(path)) for job, path in declares if path}
        late = {str(job.id) for job, path in declares if path in self._files.late()}
        before, names = self._known, (str(job.id) for job in jobs)
        self._known = {name: before[name] for name in names if name in before}
        paces = {
            name: self._known.setdefault(name, _Known()).pace(*each) for name, each in told.items()
        }
        self._readings = tuple(
            reading
            for name, (job, line) in told.items()
            if line is not None and line.wrote_s >= job.start_s and name not in late
            for reading in _readings(Target(job=name), line, paces[name])
        )
        return paces

    def readings(self) -> tuple[Reading, ...]:
        """Return steps, their time and loss of the jobs that have made one since they started.

        None of a job whose file system hangs: that it makes no step is then not known.
        """
        return self._readings


def newest_line(path: str) -> Line | None:
    """Read ``{"step": 41, "loss": 0.5}``: step 41 is done, the first being 0; None where unread."""
    try:
        with os.fdopen(_opened(path), "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - TAIL))
            whole, _, _ = file.read(TAIL).rpartition(b"\n")
            wrote_s = os.fstat(file.fileno()).st_mtime
        said = json.loads(whole.rpartition(b"\n")[2])
        loss = said.get("loss")
        return Line(int(said["step"]) + 1, None if loss is None else float(loss), wrote_s)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _opened(path: str) -> int:
    """Open a file that is one: a user may name a pipe, or a device that acts when it is opened."""
    named = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing yet
    try:
        if not stat.S_ISREG(os.fstat(named).st_mode):
            raise ValueError(f"{path} is no file")
        return os.open(f"/proc/self/fd/{named}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(named)


def _readings(target: Target, line: Line, pace: Pace) -> Iterator[Reading]:
    yield Reading("job_steps_total", target, line.steps)
    if pace.step_s is not None:
        yield Reading("job_step_time_s", target, pace.step_s)
    if line.loss is not None:
        yield Reading("job_loss", target, line.loss)
