"""From a trace's path to the table of its jobs: tell the format, read, count what was left out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from sim.checks import nearest
from sim.engine.tables import Table
from sim.traces.formats import FORMATS, JobFormat, nearest_format, told_by
from sim.traces.pai import is_pai, pai_jobs, refuse_jobs_alone
from sim.traces.records import Records, open_records
from sim.traces.row import Counts, need, parsed
from sim.traces.submission import TOO_LARGE, Reading, Submission, to_table, whole_gpus

PAI = "pai"
NAMES = (*(form.name for form in FORMATS), PAI)
ANY = Reading()

_Placed = tuple[Records, Iterator[tuple[int, Submission | str]]]


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace as the engine replays it, its first submission at 0 s.

    table: (J,) TRACE rows in order of submission
    """

    table: Table
    counts: Counts


def read_trace(path: Path | str, trace_format: str = "", reading: Reading = ANY) -> Trace:
    """Return a job trace; ``trace_format`` is one of NAMES, "" where its header tells.

    InputError for a file that is missing, empty, in no known format or has a bad row.
    """
    counts = Counts()
    table = to_table(submissions(path, trace_format, reading, counts=counts), counts)
    if not len(table):
        raise InputError(
            f"reading {path}: it holds no job to replay ({counts.sentence}). Give a trace with "
            "jobs that used GPUs and ended."
        )
    return Trace(table, counts)


def submissions(
    path: Path | str, trace_format: str = "", reading: Reading = ANY, *, counts: Counts
) -> Iterator[Submission]:
    """Yield a trace's jobs in the file's order, without holding it in memory.

    counts: filled as the rows go by. PAI's trace keeps an entry for each of its jobs.
    """
    records, jobs = _jobs(Path(path), trace_format, reading, counts)
    for place, job in jobs:
        if isinstance(job, str):
            counts.leave_out(job)
        elif (fitting := _fitting(records, place, job, reading)) is None:
            counts.leave_out(TOO_LARGE)
        else:
            yield fitting


def _jobs(path: Path, trace_format: str, reading: Reading, counts: Counts) -> _Placed:
    if trace_format and trace_format not in NAMES:
        raise InputError(
            f"reading {path} as {trace_format!r}: no such format; {nearest(trace_format, NAMES)}"
        )
    if not trace_format:
        refuse_jobs_alone(path)
    if trace_format == PAI or (not trace_format and is_pai(path)):
        return pai_jobs(path, counts, skip_bad=reading.skip_bad)
    records = open_records(path)
    form = _format(records, trace_format)
    need(records, form.needs, what=form.name)
    return records, parsed(records, form.parse, counts, skip_bad=reading.skip_bad)


def _format(records: Records, name: str) -> JobFormat:
    if name:
        return next(form for form in FORMATS if form.name == name)
    return told_by(records.columns) or nearest_format(records.columns)


def _fitting(records: Records, place: int, job: Submission, reading: Reading) -> Submission | None:
    most = math.inf if reading.capacity_gpus is None else reading.capacity_gpus
    if whole_gpus(job.gpus) <= most:
        return job
    if reading.too_large == "cut":
        return job._replace(gpus=most)
    if reading.too_large == "leave_out":
        return None
    raise InputError(
        f"reading {records.path}, {records.unit} {place}: the job wants "
        f"{whole_gpus(job.gpus):,} GPUs and the cluster has {most:,}. Replay it on a larger "
        "cluster, or have larger jobs cut or left out."
    )
