"""What one metric says of another's limit: where the cause stood when the effect crossed.

A service answers in time until requests come faster than its replicas answer, and then its queue
grows within minutes: the effect alone gives no time. The cause, requests a second and replica, has
been rising for hours. So the effect's limit is read off as one of the cause, from crossings that
were seen, and the cause is watched against that. A series that crossed seldom borrows from the
others of the fleet (shrinkage, as of James and Stein 1961).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats

# Metrics whose limit is read off from another, with what it is a rate of and what it is divided by.
LEADERS = {
    "job_latency_p99_s": ("job_requests_total", "job_replicas"),
    "job_queue_depth": ("job_requests_total", "job_replicas"),
}
# The cause is averaged from so long before a crossing on: single minutes swing.
BEFORE_S = 600.0
# A crossing lasts, and is the first after so long within the limit.
LASTS_S, QUIET_S = 300.0, 3600.0
# The fleet's mean counts as much as so many crossings of the series' own.
FLEET = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Led:
    """A cause beside the series that it leads: value (S, T) on the same grid, limit (S,), or NaN.

    More of the cause is worse.
    """

    value: NDArray[np.floating[Any]]
    limit: Floats


def load(total: Floats, servers: Floats, step_s: float) -> Floats:
    """Return (S, T) what was done a second and server, from a counter that may begin anew."""
    done = np.diff(total, axis=1, prepend=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where((done >= 0) & (servers > 0), done / (step_s * servers), np.nan))


def led(effect: Floats, cause: Floats, limit: float | Floats, *, step_s: float) -> Led:
    """Return the cause with the limit that crossings of the effect's limit so far give it.

    effect, cause: (S, T) on one even grid, NaN for gaps; limit: of the effect, one or (S,)
    The limit is NaN where no series of the fleet has crossed yet.
    """
    row, at = _crossings(effect, np.broadcast_to(limit, (len(effect),)), step_s)
    level = _mean_before(cause, row, at, max(1, round(BEFORE_S / step_s)))
    row, level = row[np.isfinite(level)], level[np.isfinite(level)]
    if not len(row):
        return Led(cause, np.full(len(effect), np.nan))
    count = np.bincount(row, minlength=len(effect))
    total = np.bincount(row, level, minlength=len(effect))
    return Led(cause, (total + FLEET * level.mean()) / (count + FLEET))


def _crossings(effect: Floats, limits: Floats, step_s: float) -> tuple[Any, Any]:
    """Return rows and columns where a series first is beyond its limit for long."""
    with np.errstate(invalid="ignore"):
        beyond = effect >= limits[:, None]
    lasts, quiet = max(1, round(LASTS_S / step_s)), max(1, round(QUIET_S / step_s))
    counted = np.cumsum(np.pad(beyond, ((0, 0), (1, 0))), axis=1)
    last = effect.shape[1] - lasts
    row, at = np.nonzero(beyond[:, : max(0, last + 1)])
    row, at = row[at >= quiet], at[at >= quiet]
    kept = (counted[row, at + lasts] - counted[row, at] == lasts) & ~beyond[row, at - 1]
    kept &= counted[row, at] - counted[row, at - quiet] <= 0.1 * quiet
    return row[kept], at[kept]


def _mean_before(value: Floats, row: Any, at: Any, readings: int) -> Floats:
    known = np.isfinite(value)
    total = np.cumsum(np.pad(np.where(known, value, 0.0), ((0, 0), (1, 0))), axis=1)
    count = np.cumsum(np.pad(known, ((0, 0), (1, 0))), axis=1)
    first = np.maximum(at - readings, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            (total[row, at] - total[row, first]) / (count[row, at] - count[row, first])
        )
