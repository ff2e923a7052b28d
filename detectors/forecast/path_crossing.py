"""When possible futures cross a limit for good, as a distribution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from core.units import Bad
from detectors.forecast.forecaster import Crossing, Series

# Of the crossing time, given that it comes: an 80 % interval.
QUANTILES = (0.1, 0.5, 0.9)
NEVER = Crossing(0.0, np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class Edge:
    """Where paths begin and what they must not cross: limit in the bad direction, for sustain_s."""

    now_s: float
    value: float
    limit: float
    bad: Bad
    sustain_s: float


def crossing(paths: Floats, time_s: Floats, edge: Edge) -> Crossing:
    """Return the probability of a crossing that lasts, and the spread of its time.

    paths: (K, H) possible futures at time_s (H,), seconds since the epoch
    A crossing counts when it lasts ``sustain_s`` or to the end of the horizon. Between two steps
    its time is interpolated.
    """
    first = first_crossings(
        _beyond(paths, edge.limit, edge.bad),
        float(_beyond(np.float64(edge.value), edge.limit, edge.bad)),
        time_s=time_s,
        now_s=edge.now_s,
        sustain_s=edge.sustain_s,
    )
    crossed = first[np.isfinite(first)]
    if not crossed.size:
        return NEVER
    earliest, expected, latest = np.quantile(crossed, QUANTILES)
    return Crossing(crossed.size / len(first), float(expected), float(earliest), float(latest))


def first_crossings(
    excess: Floats, excess_now: float, *, time_s: Floats, now_s: float, sustain_s: float
) -> Floats:
    """Return (K,) when ``excess`` (K, H) first rises to 0 for ``sustain_s``; NaN where never."""
    over = excess >= 0
    end_s = _end_of_run(over, time_s)
    begin_s = _begin(excess, excess_now, time_s, now_s)
    lasting = over & ((end_s - begin_s >= sustain_s) | np.isposinf(end_s))
    # Only a run's first step has a begin of its own.
    lasting &= ~np.concatenate([np.zeros((len(over), 1), bool), over[:, :-1]], axis=1)
    first = np.argmax(lasting, axis=1)
    row = np.arange(len(over))
    return np.where(lasting[row, first], begin_s[row, first], np.nan)


def already_crossed(series: Series, *, limit: float, bad: Bad, sustain_s: float) -> float | None:
    """Return when the series went beyond the limit, if it has been there for ``sustain_s`` by now.

    A gap does not end a run.
    """
    known = np.isfinite(series.value)
    time_s = series.time_s[known]
    excess = _beyond(series.value[known], limit, bad)
    below = np.flatnonzero(excess < 0)
    start = int(below[-1]) + 1 if below.size else 0
    if start >= len(time_s) or series.time_s[-1] - time_s[start] < sustain_s:
        return None
    return float(time_s[start])


def _beyond(value: Floats | np.float64, limit: float, bad: Bad) -> Floats:
    """Turn values so that 0 and above is beyond the limit."""
    return np.asarray(limit - value if bad is Bad.LOW else value - limit)


def _end_of_run(over: NDArray[np.bool_], time_s: Floats) -> Floats:
    """Return (K, H) the time of the next step that is not over; infinite where there is none."""
    ends = np.where(over, np.inf, time_s)
    return np.asarray(np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1])


def _begin(excess: Floats, excess_now: float, time_s: Floats, now_s: float) -> Floats:
    """Return (K, H) when the line from the step before reaches 0; that step, if it is over."""
    before = np.concatenate([np.full((len(excess), 1), excess_now), excess[:, :-1]], axis=1)
    from_s = np.concatenate([[now_s], time_s[:-1]])
    rise = excess - before
    share = np.divide(-before, rise, out=np.zeros_like(rise), where=rise > 0)
    return np.asarray(from_s + np.clip(share, 0, 1) * (time_s - from_s))
