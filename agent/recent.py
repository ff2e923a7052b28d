"""A day of every series of a metric, averaged to what a forecast needs, without holding all."""

import asyncio
import math
from dataclasses import dataclass

import numpy as np

from agent.even_grid import Values, shorter
from agent.history import History
from core.target import Target
from core.types import Floats

# A day of minutes. More readings than twice this add to the cost of a forecast and not to its
# worth two hours ahead.
MOST = 1440
# Columns of the result that are read in one go: of 16,384 series they are 30 MB of readings, and
# take 15 ms in which the cycle and the page wait.
BLOCKS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """targets S; time_s (T,) even spacing, the last reading's block last; value (S, T) float32."""

    targets: tuple[Target, ...]
    time_s: Floats
    value: Values


async def recent(history: History, metric: str, *, now_s: float, span_s: float) -> Recent:
    """Return the newest ``span_s`` of all series of a metric, fewer than 2 * MOST readings each.

    What is older than any reading is left out. Read piece by piece, and averaged in a thread.
    """
    targets, step_s = history.targets(metric), history.step_s
    # Readings stand on the grid: a span that begins between two of its times holds one fewer.
    now_s = step_s * math.floor(now_s / step_s + 1e-6)
    columns = max(1, math.floor(span_s / step_s))
    block = max(1, columns // MOST)
    count = columns // block
    time_s, value = np.empty(count), np.empty((len(targets), count), np.float32)
    for first in range(0, count, BLOCKS):
        last = min(first + BLOCKS, count)
        newest_s = now_s - (count - last) * block * step_s
        oldest_s = newest_s - ((last - first) * block - 0.5) * step_s
        window = history.window(metric, start_s=oldest_s, end_s=newest_s, targets=targets)
        part = await asyncio.to_thread(_averaged, window.time_s, window.value, block)
        time_s[first:last], value[:, first:last] = part
    seen = np.isfinite(value).any(axis=0)
    begin = int(seen.argmax()) if seen.any() else count
    return Recent(targets, time_s[begin:], value[:, begin:])


def _averaged(time_s: Floats, value: Floats, block: int) -> tuple[Floats, Values]:
    most = max(1, len(time_s) // block)
    return shorter(time_s, value.astype(np.float32), most)
