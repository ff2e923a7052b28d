"""Progress of trainings that tell nothing: the ends of the logs that their processes write to."""

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.collect.reading import Reading, Snapshot
from agent.local_jobs.holders import Holder
from agent.progress.lines import Said, newest
from core.clock import Clock
from core.target import Target

TAIL_BYTES = 1 << 14
# Standard error first: progress bars go there, and what goes to both says the same.
_STREAMS = ("2", "1")


@dataclass(frozen=True, slots=True)
class _Known:
    said: Said
    at_s: float
    step_s: float


@dataclass(slots=True)
class LogReader:
    """Reads where rank 0 of each job on this machine's GPUs writes, where that is a file.

    It may be looked at by root and by the job's own user alone; for others there is nothing.

    holders: the processes on the GPUs
    told:    jobs that tell their progress themselves, and are left out
    """

    holders: Callable[[], Iterable[Holder]]
    told: Callable[[], Iterable[str]]
    clock: Clock
    proc: Path = Path("/proc")
    name: str = "job_logs"
    _known: dict[str, _Known] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """Read the end of each log once."""
        before, self._known = self._known, {}
        told = set(self.told())
        for holder in self.holders():
            job = holder.owner.job
            if job and job not in {*told, *self._known} and holder.rank in {"", "0"}:
                self._look(job, holder.pid, before.get(job))
        readings = (each for job, known in self._known.items() for each in _readings(job, known))
        return Snapshot(tuple(readings))

    def _look(self, job: str, pid: int, before: _Known | None) -> None:
        ends = (end_of(self.proc / str(pid) / "fd" / stream) for stream in _STREAMS)
        said = next((found for end in ends if (found := newest(end)) is not None), None)
        if said is None:
            return
        now_s, step_s = self.clock.monotonic_s(), said.step_s or math.nan
        if before is not None:
            steps = said.steps - before.said.steps
            if not steps:
                self._known[job] = before
                return
            if math.isnan(step_s) and steps > 0:
                step_s = (now_s - before.at_s) / steps
        self._known[job] = _Known(said, now_s, step_s)


def end_of(path: Path) -> str:
    """Return the last 16 KiB of a file, "" for a pipe, a terminal, and what may not be read."""
    try:
        # What is open there may be a named pipe or a device: opening those could block or act.
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _readings(job: str, known: _Known) -> Iterator[Reading]:
    target = Target(job=job)
    yield Reading("job_steps_total", target, float(known.said.steps))
    if math.isfinite(known.step_s):
        yield Reading("job_step_time_s", target, known.step_s)
    loss = known.said.loss
    if loss is not None and math.isfinite(loss):
        yield Reading("job_loss", target, loss)
