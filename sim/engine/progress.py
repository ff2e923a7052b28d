"""How far a job is at any time, in closed form: steps, checkpoints, best step so far.

A checkpoint cycle is ``interval_s`` of work, then ``stall_s`` in which all ranks wait and the state
is captured; the copy is valid ``save_s`` later. Between two changes of a job nothing needs an
event. Rows are those of ``jobs`` (true from ``row_s``) or of ``job_log`` (from ``start_s``). A job
without checkpoints has an infinite interval.
"""

import math
from typing import Any

from sim.engine.jit import compiled

Row = Any  # one row of a table; compiled code reads its fields


@compiled
def work_at(row: Row, time_s: float) -> float:
    """Return seconds worked since the checkpoint cycle's start, stalls left out."""
    elapsed = time_s - row["cycle_s"]
    interval_s = row["interval_s"]
    if math.isinf(interval_s):
        return float(elapsed)
    length_s = interval_s + row["stall_s"]
    turns = math.floor(elapsed / length_s)
    return float(turns * interval_s + min(elapsed - turns * length_s, interval_s))


@compiled
def step_at(row: Row, start_s: float, time_s: float) -> float:
    """Return optimiser steps done, fractions included."""
    if time_s <= start_s or math.isinf(row["step_s"]):
        return float(row["step"])
    return float(row["step"] + (work_at(row, time_s) - work_at(row, start_s)) / row["step_s"])


@compiled
def best_at(row: Row, start_s: float, time_s: float) -> float:
    """Return the furthest step the job has ever reached: what lies below is done again."""
    return float(max(row["best_step"], step_at(row, start_s, time_s)))


@compiled
def stalled_at(row: Row, time_s: float) -> bool:
    """Say whether the ranks wait for a checkpoint to be captured."""
    if math.isinf(row["step_s"]) or math.isinf(row["interval_s"]):
        return False
    length_s = row["interval_s"] + row["stall_s"]
    elapsed = time_s - row["cycle_s"]
    return bool(elapsed - math.floor(elapsed / length_s) * length_s >= row["interval_s"])


@compiled
def captured_at(row: Row, start_s: float, time_s: float) -> tuple[float, float]:
    """Return when the newest state was captured, valid or not, and its step; -inf: never."""
    boundary_s = _boundary(row, start_s, time_s)
    if math.isnan(boundary_s):
        return float(row["captured_s"]), float(row["captured_step"])
    return boundary_s, step_at(row, start_s, boundary_s)


@compiled
def checkpoint_at(row: Row, start_s: float, time_s: float) -> tuple[float, float]:
    """Return when the newest valid checkpoint was captured and its step; -inf: there is none.

    It became valid ``save_s`` after it was captured.
    """
    boundary_s = _boundary(row, start_s, time_s - row["save_s"])
    if boundary_s > row["captured_s"]:
        return boundary_s, step_at(row, start_s, boundary_s)
    if row["captured_s"] + row["save_s"] > time_s:
        return float(row["saved_s"]), float(row["saved_step"])
    return float(row["captured_s"]), float(row["captured_step"])


@compiled
def when_step(row: Row, start_s: float, step: float) -> float:
    """Return the time at which a step is done, stalls included; inf: never at this pace."""
    if step <= row["step"]:
        return start_s
    if math.isinf(row["step_s"]) or math.isinf(step):
        return math.inf
    worked = work_at(row, start_s) + (step - row["step"]) * row["step_s"]
    interval_s = row["interval_s"]
    if math.isinf(interval_s):
        return float(row["cycle_s"] + worked)
    turns = max(math.ceil(worked / interval_s) - 1.0, 0.0)  # done before the stall, not after
    return float(row["cycle_s"] + worked + turns * row["stall_s"])


@compiled
def _boundary(row: Row, start_s: float, time_s: float) -> float:
    """Return the end of the newest whole cycle that ended after the row's start; nan: none."""
    if math.isinf(row["step_s"]) or math.isinf(row["interval_s"]):
        return math.nan
    length_s = row["interval_s"] + row["stall_s"]
    turns = math.floor((time_s - row["cycle_s"]) / length_s)
    boundary_s = row["cycle_s"] + turns * length_s
    return float(boundary_s) if turns >= 1 and boundary_s > start_s else math.nan
