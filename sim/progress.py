"""How far a training job is at any time, in closed form: steps, checkpoints, best step so far.

A checkpoint cycle is ``interval`` seconds of work, then ``stall`` seconds in which all ranks wait
and the state is captured; the copy becomes valid ``save`` seconds later. Between two changes of a
job nothing needs an event, so a job that runs for a month costs nothing.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from sim.scenario import JobSpec
from sim.trail import Rows

# What is true of a job from ``start_s`` on. ``step_s`` is infinite while nothing progresses.
# ``saved``/``captured``: the newest checkpoint that is valid at the start, and the newest taken;
# each with when it was captured and the step it holds.
JOB_ROW = np.dtype(
    [
        ("entity", np.int32),
        ("start_s", np.float64),
        ("phase", np.int8),
        ("stage", np.int8),
        ("step", np.float64),
        ("best_step", np.float64),
        ("step_s", np.float64),
        ("compute_s", np.float64),
        ("cycle_s", np.float64),
        ("saved_s", np.float64),
        ("saved_step", np.float64),
        ("captured_s", np.float64),
        ("captured_step", np.float64),
        ("restarts", np.int32),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Cycle:
    """The checkpoint settings of jobs: (J,) or (J, 1) seconds each."""

    interval_s: Floats
    stall_s: Floats
    save_s: Floats

    @property
    def length_s(self) -> Floats:
        """Return work and stall together."""
        return self.interval_s + self.stall_s

    def of(self, index: int) -> "Cycle":
        """Return one job's."""
        part = slice(index, index + 1)
        return Cycle(self.interval_s[part], self.stall_s[part], self.save_s[part])

    def column(self) -> "Cycle":
        """Return the same as (J, 1), to go with (J, T) rows."""
        return Cycle(self.interval_s[:, None], self.stall_s[:, None], self.save_s[:, None])


def cycles(jobs: tuple[JobSpec, ...]) -> Cycle:
    """Return the checkpoint settings of jobs as arrays."""
    return Cycle(
        np.array([job.checkpoint_interval_s for job in jobs], dtype=np.float64),
        np.array([job.checkpoint_stall_s for job in jobs], dtype=np.float64),
        np.array([job.checkpoint_save_s for job in jobs], dtype=np.float64),
    )


def step_at(rows: Rows, cycle: Cycle, time_s: Floats) -> Floats:
    """Return optimiser steps done, fractions included."""
    end = np.maximum(time_s, rows["start_s"])
    worked = _work(rows, cycle, end) - _work(rows, cycle, rows["start_s"])
    steps: Floats = rows["step"] + worked / rows["step_s"]
    return steps


def best_at(rows: Rows, cycle: Cycle, time_s: Floats) -> Floats:
    """Return the furthest step the job has ever reached: what lies below is done again."""
    best: Floats = np.maximum(rows["best_step"], step_at(rows, cycle, time_s))
    return best


def stalled_at(rows: Rows, cycle: Cycle, time_s: Floats) -> Floats:
    """Return 1 where the ranks wait for a checkpoint to be captured, else 0."""
    into = np.mod(time_s - rows["cycle_s"], cycle.length_s)
    return np.where(np.isfinite(rows["step_s"]) & (into >= cycle.interval_s), 1.0, 0.0)


def captured_at(rows: Rows, cycle: Cycle, time_s: Floats) -> tuple[Floats, Floats]:
    """Return when the newest state was captured, valid or not, and its step."""
    return _newest(rows, cycle, time_s, ("captured_s", "captured_step"))


def checkpoint_at(rows: Rows, cycle: Cycle, time_s: Floats) -> tuple[Floats, Floats]:
    """Return when the newest valid checkpoint was captured and its step; -inf: there is none.

    It became valid ``save`` seconds after it was captured.
    """
    older = rows["captured_s"] + cycle.save_s > time_s
    at_s = np.where(older, rows["saved_s"], rows["captured_s"])
    step = np.where(older, rows["saved_step"], rows["captured_step"])
    new_s, new_step = _newest(rows, cycle, time_s - cycle.save_s, ("captured_s", "captured_step"))
    is_new = new_s > rows["captured_s"]
    return np.where(is_new, new_s, at_s), np.where(is_new, new_step, step)


def _newest(
    rows: Rows, cycle: Cycle, time_s: Floats, known: tuple[str, str]
) -> tuple[Floats, Floats]:
    turns = np.floor((time_s - rows["cycle_s"]) / cycle.length_s)
    boundary = rows["cycle_s"] + turns * cycle.length_s
    taken = np.isfinite(rows["step_s"]) & (turns >= 1) & (boundary > rows["start_s"])
    step = step_at(rows, cycle, np.where(taken, boundary, rows["start_s"]))
    return np.where(taken, boundary, rows[known[0]]), np.where(taken, step, rows[known[1]])


def _work(rows: Rows, cycle: Cycle, time_s: Floats) -> Floats:
    """Return seconds worked since the checkpoint cycle's start, stalls left out."""
    elapsed = time_s - rows["cycle_s"]
    turns = np.floor(elapsed / cycle.length_s)
    rest = elapsed - turns * cycle.length_s
    worked: Floats = turns * cycle.interval_s + np.minimum(rest, cycle.interval_s)
    return worked
