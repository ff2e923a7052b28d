"""Alibaba's PAI trace (gpu-v2020): a job is the sum of its tasks, so two tables make one trace.

The published files have no header line; the names below are those of their ``.header`` files.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from core.errors import InputError
from sim.engine.words import Ending, JobKind
from sim.traces.records import Records, open_records
from sim.traces.row import BadCell, Counts, Row, need, parsed
from sim.traces.submission import NEVER_RAN, NO_GPUS, UNFINISHED, Submission, ending_of

TASKS = "pai_task_table"
JOBS = "pai_job_table"
TASK_COLUMNS = (
    *("job_name", "task_name", "inst_num", "status", "start_time", "end_time"),
    *("plan_cpu", "plan_mem", "plan_gpu", "gpu_type"),
)
JOB_COLUMNS = ("job_name", "inst_id", "user", "status", "start_time", "end_time")

_PERCENT = 100.0
_SERVERS = "ps"  # the role of parameter servers


class _Task(NamedTuple):
    job: str
    role: str
    gpus: float
    start_s: float
    end_s: float
    status: str


@dataclass(slots=True)
class _Tasks:
    """What the tasks of each job come to: one entry a job, the rows themselves are not kept."""

    place: dict[str, int] = field(default_factory=dict)
    line: "array[int]" = field(default_factory=lambda: array("l"))
    gpus: "array[float]" = field(default_factory=lambda: array("d"))
    start_s: "array[float]" = field(default_factory=lambda: array("d"))
    end_s: "array[float]" = field(default_factory=lambda: array("d"))
    ending: "array[int]" = field(default_factory=lambda: array("b"))
    servers: "array[int]" = field(default_factory=lambda: array("b"))

    def add(self, line: int, task: _Task) -> None:
        """Take a task in; a job that one of its tasks failed has failed."""
        at = self.place.setdefault(task.job, len(self.place))
        if at == len(self.gpus):
            self.line.append(line)
            self.gpus.append(0.0)
            self.start_s.append(math.inf)
            self.end_s.append(-math.inf)
            self.ending.append(Ending.COMPLETED)
            self.servers.append(0)
        self.gpus[at] += task.gpus
        self.servers[at] |= task.role == _SERVERS
        if task.gpus > 0 and not math.isnan(task.start_s):
            self.start_s[at] = min(self.start_s[at], task.start_s)
            self.end_s[at] = max(self.end_s[at], task.end_s)
        if task.status == "Running" or self.ending[at] == Ending.NOT_YET:
            self.ending[at] = Ending.NOT_YET
        elif task.status == "Failed":
            self.ending[at] = Ending.FAILED

    def job(self, at: int, submit_s: float) -> Submission | str:
        """Return what a job comes to, or why it gives nothing to replay."""
        if self.gpus[at] == 0:
            return NO_GPUS
        if math.isinf(self.start_s[at]):
            return NEVER_RAN
        if self.ending[at] == Ending.NOT_YET or math.isinf(self.end_s[at]):
            return UNFINISHED
        return Submission(
            self.start_s[at] if math.isnan(submit_s) else submit_s,
            self.gpus[at],
            self.end_s[at] - self.start_s[at],
            Ending(self.ending[at]),
            JobKind.PARAMETER_SERVER if self.servers[at] else JobKind.TRAINING,
        )


def is_pai(path: Path) -> bool:
    """Say whether a file is the table of tasks, by its name."""
    return path.name.startswith(TASKS)


def pai_jobs(
    path: Path, counts: Counts, *, skip_bad: bool
) -> tuple[Records, Iterator[tuple[int, Submission | str]]]:
    """Return the table of tasks and its jobs, in order of their first task.

    path: the table of tasks. The table of jobs is read where it lies beside it and says when each
    was submitted; without, a job is submitted when its first task starts.
    """
    records = open_records(path, names=TASK_COLUMNS)
    need(records, TASK_COLUMNS, what="pai")
    return records, _jobs(records, counts, skip_bad=skip_bad)


def _jobs(
    records: Records, counts: Counts, *, skip_bad: bool
) -> Iterator[tuple[int, Submission | str]]:
    tasks = _Tasks()
    for line, task in parsed(records, _task, counts, skip_bad=skip_bad):
        tasks.add(line, task)
    submits = array("d", [math.nan]) * len(tasks.place)
    beside = sorted(records.path.parent.glob(f"{JOBS}*"))
    tables = [path for path in beside if ".csv" in path.suffixes or ".parquet" in path.suffixes]
    for path in tables[:1]:
        jobs = open_records(path, names=JOB_COLUMNS)
        need(jobs, ("job_name", "start_time"), what="pai's table of jobs")
        for _, (name, submit_s) in parsed(jobs, _submit, counts, skip_bad=skip_bad):
            if (at := tasks.place.get(name)) is not None:
                submits[at] = submit_s
    for at in range(len(tasks.place)):
        yield tasks.line[at], tasks.job(at, submits[at])


def _task(row: Row) -> _Task:
    if not (job := row.text("job_name")):
        raise BadCell("job_name", None, "a job's name")
    status = row.text("status")
    if status not in {"Running", "Waiting", "Failed", "Terminated"}:
        ending_of("status", status)
    share = row.number("plan_gpu", missing=0.0) / _PERCENT
    gpus = share * row.number("inst_num") if share else 0.0
    start_s = row.time_s("start_time", optional=True)
    end_s = row.time_s("end_time", optional=True)
    if end_s < start_s:
        raise BadCell("end_time", f"{end_s:g}", f"{start_s:g} or later")
    ended_s = -math.inf if math.isnan(end_s) else end_s
    return _Task(job, row.text("task_name"), gpus, start_s, ended_s, status)


def _submit(row: Row) -> tuple[str, float]:
    return row.text("job_name"), row.time_s("start_time")


def refuse_jobs_alone(path: Path) -> None:
    """Refuse the table of jobs by itself: it does not say how many GPUs they want."""
    if path.name.startswith(JOBS):
        raise InputError(
            f"reading {path}: the table of jobs says nothing of GPUs. Give {TASKS}.csv beside it; "
            "this one is found there."
        )
