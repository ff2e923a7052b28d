"""The job traces that are known by their header, and how a row of each becomes a submission.

philly   Microsoft Philly, ``cluster_job_log`` (Jeon et al., ATC'19): JSON with attempts
helios   SenseTime Helios, ``cluster_log.csv`` (Hu et al., SC'21)
acme     Shanghai AI Lab, ``trace_seren.csv``, ``trace_kalos.csv`` (Hu et al., NSDI'24)
pai      Alibaba gpu-v2020, ``pai_task_table`` beside ``pai_job_table`` (Weng et al., NSDI'22)
openb    Alibaba gpu-v2023, ``openb_pod_list_*.csv`` (Weng et al., ATC'23)
generic  submit_s, gpus, duration_s, and what else there is of status, kind and priority
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from sim.engine.words import Ending, JobKind
from sim.traces.row import BadCell, Row
from sim.traces.submission import NEVER_RAN, NO_GPUS, UNFINISHED, Submission, ending_of

Parsed = Submission | str  # a submission, or why there is none
Parse = Callable[[Row], Parsed]

_NOT_STARTED = frozenset({"pending", "waiting", "never_started", "queued"})
# Kubernetes' classes of service as priorities: latency-sensitive pods go before best-effort ones.
_QOS = {"LS": 1, "BE": -1}
_MILLI = 1000.0


@dataclass(frozen=True, slots=True)
class JobFormat:
    """A trace whose rows are jobs: the columns it is known by and what a row says."""

    name: str
    needs: tuple[str, ...]
    parse: Parse


def _generic(row: Row) -> Parsed:
    """Read our own form: seconds, GPUs, and words where there are some."""
    status = row.text("status") or row.text("state")
    if status.lower() in _NOT_STARTED:
        return NEVER_RAN
    gpus = row.number("gpus")
    if gpus == 0:
        return NO_GPUS
    return Submission(
        row.time_s("submit_s"),
        gpus,
        row.number("duration_s"),
        ending_of("status", status),
        _kind(row),
        int(row.number("priority", least=-math.inf, missing=0.0)),
    )


def _kind(row: Row) -> JobKind:
    word = row.text("kind")
    if not word:
        return JobKind.TRAINING
    known = {kind.name.lower(): kind for kind in JobKind if kind != JobKind.SERVICE}
    if word.lower() not in known:
        # A service's requests are in no job trace, so none can be replayed.
        raise BadCell("kind", word, f"one of {', '.join(known)}")
    return known[word.lower()]


def _slurm(row: Row) -> Parsed:
    """Read a row of Helios or Acme: what Slurm accounts, one line a job."""
    gpus = row.number("gpu_num")
    if gpus == 0:
        return NO_GPUS
    state = row.text("state")
    if state.lower() in _NOT_STARTED:
        return NEVER_RAN
    kind = JobKind.INTERACTIVE if row.text("type").lower() == "debug" else JobKind.TRAINING
    return Submission(
        row.time_s("submit_time"),
        gpus,
        row.number("duration"),
        ending_of("state", state),
        kind,
    )


def _openb(row: Row) -> Parsed:
    """Read a pod: it runs from when it is scheduled until it is deleted."""
    gpus = row.number("num_gpu") * row.number("gpu_milli") / _MILLI
    if gpus == 0:
        return NO_GPUS
    scheduled_s = row.time_s("scheduled_time", optional=True)
    if math.isnan(scheduled_s) or row.text("pod_phase").lower() in _NOT_STARTED:
        return NEVER_RAN
    ended_s = row.time_s("deletion_time", optional=True)
    if math.isnan(ended_s):
        return UNFINISHED
    if ended_s < scheduled_s:
        raise BadCell("deletion_time", f"{ended_s:g}", f"{scheduled_s:g} or later")
    phase = row.text("pod_phase")
    ending = Ending.CANCELLED if phase == "Running" else ending_of("pod_phase", phase)
    priority = _QOS.get(row.text("qos"), 0)
    created_s = row.time_s("creation_time")
    return Submission(created_s, gpus, ended_s - scheduled_s, ending, priority=priority)


def _philly(row: Row) -> Parsed:
    """Read a job with its attempts: it wants its largest size for as long as all of them ran.

    An attempt without a beginning or end (a logging error, its authors say) is no part of it; a
    last one without an end still ran when the log was taken.
    """
    attempts = row.cell("attempts")
    if not isinstance(attempts, list) or not all(isinstance(one, dict) for one in attempts):
        raise BadCell("attempts", attempts, "a list of attempts with start_time, end_time, detail")
    if not attempts:
        return NEVER_RAN
    gpus, duration_s = 0, 0.0
    for attempt in attempts:
        gpus = max(gpus, _gpus_of(attempt))
        duration_s += _ran_s(attempt)
    if Row({"end_time": 0}, (attempts[-1].get("end_time"),)).cell("end_time") is None:
        return UNFINISHED
    if gpus == 0:
        return NO_GPUS
    ending = ending_of("status", row.text("status"))
    return Submission(row.time_s("submitted_time"), gpus, duration_s, ending)


def _gpus_of(attempt: dict[str, Any]) -> int:
    try:
        return sum(len(server["gpus"]) for server in attempt.get("detail") or ())
    except (TypeError, KeyError) as error:
        raise BadCell(
            "attempts", attempt.get("detail"), "servers with a list of gpus as detail"
        ) from error


def _ran_s(attempt: dict[str, Any]) -> float:
    row = Row(
        {"start_time": 0, "end_time": 1}, (attempt.get("start_time"), attempt.get("end_time"))
    )
    start_s = row.time_s("start_time", optional=True)
    end_s = row.time_s("end_time", optional=True)
    if math.isnan(start_s) or math.isnan(end_s):
        return 0.0
    if end_s < start_s:
        raise BadCell("attempts", attempt.get("end_time"), f"{attempt.get('start_time')} or later")
    return end_s - start_s


FORMATS: tuple[JobFormat, ...] = (
    JobFormat("philly", ("status", "jobid", "attempts", "submitted_time"), _philly),
    JobFormat(
        "acme",
        ("job_id", "gpu_num", "node_num", "type", "state", "submit_time", "duration", "gpu_time"),
        _slurm,
    ),
    JobFormat(
        "helios",
        ("job_id", "user", "gpu_num", "node_num", "state", "submit_time", "duration"),
        _slurm,
    ),
    JobFormat(
        "openb",
        (
            *("name", "num_gpu", "gpu_milli", "pod_phase"),
            *("creation_time", "deletion_time", "scheduled_time"),
        ),
        _openb,
    ),
    JobFormat("generic", ("submit_s", "gpus", "duration_s"), _generic),
)


def told_by(columns: Iterable[str]) -> JobFormat | None:
    """Return the format whose columns are all there; the most particular where several fit."""
    found = set(columns)
    return next((form for form in FORMATS if found.issuperset(form.needs)), None)


def nearest_format(columns: Iterable[str]) -> JobFormat:
    """Return the format whose columns these resemble most, for a sentence that says what lacks."""
    found = tuple(columns)
    return max(
        FORMATS,
        key=lambda form: sum(_likeness(name, found) for name in form.needs) / len(form.needs),
    )


def _likeness(name: str, columns: Iterable[str]) -> float:
    return max((SequenceMatcher(None, name, other).ratio() for other in columns), default=0.0)
