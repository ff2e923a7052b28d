"""One threshold for all series of a metric, for a stated rate of false alarms a series and day.

Surprises follow one another closely, so single readings would overstate how many alarms there are.
What is counted is the highest surprise of each series in each hour. All series of a metric share
one histogram of those, decayed over a day; the threshold is its quantile at ``rate`` x one hour.
Beyond what so many hours can resolve, the tail is taken for exponential above the highest
``ANCHOR`` of them (peaks over threshold, Pickands 1975, with shape 0).
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS, WIDTH = 600, 0.02  # decades of surprise
BLOCK_S = 3600.0
MEMORY_BLOCKS = 24.0  # a day
LEAST = 100.0  # highest-of-an-hour values before the threshold is believed
ANCHOR = 40.0
DAY_S = 86_400.0
# An hour in which so many times more series than stated are beyond counts as one with that many:
# when a whole rack fails, that is no reason to be deaf for days.
MASS = 10.0
# Until enough is known: a surprise that 240 independent readings an hour would reach as rarely.
READINGS_A_BLOCK = 240.0


def empty() -> dict[str, Array]:
    """Return the memory of a metric that has not been seen yet."""
    return {"counts": np.zeros(BINS, np.float64)}


def threshold(state: dict[str, Array], per_day: float) -> float:
    """Return the surprise that is reached ``per_day`` times a series and day."""
    share = min(per_day * BLOCK_S / DAY_S, 1.0)
    counts = state["counts"]
    known = float(counts.sum())
    if known < LEAST:
        return math.log10(READINGS_A_BLOCK / share)
    beyond = np.cumsum(counts[::-1])[::-1] / known  # at least this bin's lower edge
    anchored = max(min(ANCHOR / known, 1.0), share)
    at = max(int(np.searchsorted(-beyond, -anchored, side="right")) - 1, 0)
    edge = WIDTH * at
    if share >= anchored:
        return edge + WIDTH
    edges = WIDTH * np.arange(at, BINS) + 0.5 * WIDTH
    excess = max(float(counts[at:] @ (edges - edge)) / max(float(counts[at:].sum()), 1e-9), WIDTH)
    return edge + excess * math.log(float(beyond[at]) / share)


def learn(state: dict[str, Array], highest: Array, per_day: float) -> None:
    """Count an hour's highest surprise of each series that has learned enough, (n,)."""
    if not len(highest):
        return
    over = highest >= threshold(state, per_day)
    allowed = max(MASS * per_day * BLOCK_S / DAY_S * len(highest), 1.0)
    at = np.clip((highest / WIDTH).astype(np.int64), 0, BINS - 1)
    added = np.bincount(at[~over], minlength=BINS).astype(np.float64)
    if over.any():
        added += np.bincount(at[over], minlength=BINS) * min(1.0, allowed / float(over.sum()))
    state["counts"] *= 1.0 - 1.0 / MEMORY_BLOCKS
    state["counts"] += added
