"""How hard the job that a GPU has makes it work at each time: checkpoints, waits for slow ranks."""

import math
from typing import Any

from core.types import Floats
from sim.engine.jit import compiled
from sim.engine.progress import stalled_at
from sim.engine.read_look import Real, row_at
from sim.engine.words import Load

_STALL_SHARE = 0.2  # of the dynamic power while ranks wait for a checkpoint
_WAIT_SHARE = 0.85  # while they wait for the slowest, for data or in collectives


@compiled
def stepping_job(shown: Any, gpu: int) -> int:
    """Return the scenario's job that steps on a row's GPU; NONE: none does."""
    if shown["load"] != Load.COMPUTING or not shown["own"][gpu]:
        return -1
    return int(shown["job"][gpu])


@compiled
def pace_at(log: Any, newest: int, span: tuple[int, int], real: Floats) -> None:
    """Fill in what of a job holds from the first to the last of the span's readings.

    newest: its newest row in ``log``; below 0: no job, nothing stalls and nothing waits
    """
    first, last = span
    if newest < 0:
        for at in range(first, last):
            real[Real.STALLED, at] = 0.0
            real[Real.WORKING, at] = 1.0
        return
    row, after_s = newest, math.inf
    for back in range(first, last):
        at = first + last - 1 - back
        true_s = real[Real.TRUE, at]
        row = row_at(log, row if true_s <= after_s else newest, true_s)
        after_s = true_s
        of = log[row]
        share = 1.0
        if not math.isinf(of["step_s"]):
            share = _WAIT_SHARE + (1.0 - _WAIT_SHARE) * of["pace_s"] / of["step_s"]
        stalled = stalled_at(of, true_s)
        real[Real.STALLED, at] = 1.0 if stalled else 0.0
        real[Real.WORKING, at] = share * _STALL_SHARE if stalled else share
