"""A job as every trace gives it, and the table of them that the engine replays."""

import difflib
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from core.errors import InputError
from sim.engine.rows_jobs import TRACE
from sim.engine.tables import Table
from sim.engine.words import Ending, JobKind
from sim.traces.row import BadCell, Counts

TooLarge = Literal["refuse", "cut", "leave_out"]

NO_GPUS = "without GPUs"
NEVER_RAN = "that never ran"
UNFINISHED = "still running when the trace ended"
TOO_LARGE = "larger than the cluster"

_SHORTEST_S = 1.0  # the traces' clocks tick in seconds: a job of 0 s ran for less than one

# How the traces and Slurm say that a job ended. A job that its node took down did the work it
# did: the simulator breaks nodes itself, so it counts as done. Deleted while running: a person.
_ENDINGS = {
    **dict.fromkeys(("completed", "pass", "terminated", "succeeded", "unknown"), Ending.COMPLETED),
    **dict.fromkeys(("node_fail", "preempted", "boot_fail"), Ending.COMPLETED),
    **dict.fromkeys(("cancelled", "killed", "ended_running", "suspended"), Ending.CANCELLED),
    **dict.fromkeys(("failed", "out_of_memory"), Ending.FAILED),
    **dict.fromkeys(("timeout", "deadline"), Ending.TIMEOUT),
}


class Submission(NamedTuple):
    """One job of a trace.

    submit_s: seconds since the epoch, or since the trace's own zero
    gpus:     of the whole job; a share of one is a fraction
    duration_s: how long it ran, waiting and restarts left out
    ending:   how it ended by itself
    """

    submit_s: float
    gpus: float
    duration_s: float
    ending: Ending = Ending.COMPLETED
    kind: JobKind = JobKind.TRAINING
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How a trace is read.

    skip_bad:      bad rows are counted and told, instead of refused
    capacity_gpus: what the cluster has; None: any size is taken
    too_large:     what happens to a job beyond it: ``refuse`` the trace, ``cut`` it to the
                   cluster's size (its duration stays), or ``leave_out`` the job
    """

    skip_bad: bool = False
    capacity_gpus: int | None = None
    too_large: TooLarge = "refuse"

    def __post_init__(self) -> None:
        if self.capacity_gpus is not None and self.capacity_gpus < 1:
            raise InputError(
                f"replaying a trace on {self.capacity_gpus} GPUs; the cluster needs at least 1."
            )


def ending_of(column: str, word: str) -> Ending:
    """Return the ending a trace's word stands for; Slurm's ``CANCELLED by 1000`` is cancelled."""
    plain = word.lower().split(" ")[0] if word else "unknown"
    found = _ENDINGS.get(plain)
    if found is None:
        near = difflib.get_close_matches(plain, _ENDINGS, n=1, cutoff=0.0)[0]
        raise BadCell(column, word, f"a state such as {', '.join(_ENDINGS)}; the nearest is {near}")
    return found


def whole_gpus(gpus: float) -> int:
    """Return the GPUs that the simulator gives: a share of a GPU gets all of it.

    The engine hands out whole GPUs, so 0.46 is 1 and 2.5 is 3: use is overstated, never the
    number of jobs that run at once.
    """
    return math.ceil(gpus - 1e-9)


def to_table(submissions: Iterable[Submission], counts: Counts | None = None) -> Table:
    """Return the jobs as the engine's ``trace`` table: (J,), in order of submission.

    The first submission is at 0 s. Rows may come in any order; those of one second keep theirs.
    Cost: 34 bytes a job.
    """
    submit, gpus, duration = array("d"), array("l"), array("d")
    ending, kind, priority = array("b"), array("b"), array("l")
    for job in submissions:
        submit.append(job.submit_s)
        gpus.append(whole_gpus(job.gpus))
        duration.append(max(job.duration_s, _SHORTEST_S))
        ending.append(job.ending)
        kind.append(job.kind)
        priority.append(job.priority)
    table = np.zeros(len(submit), dtype=TRACE)
    if counts is not None:
        counts.kept = len(submit)
    if not len(table):
        return table
    times = np.asarray(submit)
    order = np.argsort(times, kind="stable")
    table["submit_s"] = times[order] - times.min()
    columns = {
        "gpus": gpus,
        "duration_s": duration,
        "ending": ending,
        "kind": kind,
        "priority": priority,
    }
    for name, column in columns.items():
        table[name] = np.asarray(column)[order]
    return table
