"""What leads a metric beside it: the load of a service, which its latency and its queue follow."""

import numpy as np

from agent.history import History
from agent.recent import Recent
from core.types import Floats
from detectors.forecast.leading import LEADERS, Led, led, load

# Requests come in bursts: load and what follows it are averaged over so long.
SPAN_S = 900.0


def led_by(history: History, metric: str, seen: Recent, *, limit: float) -> Led | None:
    """Return the cause beside the recent series of ``metric``; None where none is known or read."""
    if metric not in LEADERS or not seen.targets or len(seen.time_s) < 2:
        return None
    total, servers = LEADERS[metric]
    if not {total, servers} <= set(history.metrics()):
        return None
    step_s = float(seen.time_s[1] - seen.time_s[0])
    cause = load(_at(history, total, seen), _at(history, servers, seen), step_s)
    readings = max(1, round(SPAN_S / step_s))
    effect = _mean(seen.value.astype(np.float64), readings)
    return led(effect, _mean(cause, readings), limit, step_s=step_s)


def _at(history: History, metric: str, seen: Recent) -> Floats:
    """Return (S, T) the readings of the same targets at or before these times, whole: counters."""
    first_s, last_s = float(seen.time_s[0]), float(seen.time_s[-1])
    window = history.window(metric, start_s=first_s, end_s=last_s, targets=seen.targets)
    column = np.searchsorted(window.time_s, seen.time_s, side="right") - 1
    value = window.value[:, np.maximum(column, 0)]
    return np.asarray(np.where(column >= 0, value, np.nan))


def _mean(value: Floats, readings: int) -> Floats:
    """Return (S, T) the mean of the newest ``readings`` at each time, gaps passed over."""
    known = np.isfinite(value)
    total = np.cumsum(np.where(known, value, 0.0), axis=1)
    count = np.cumsum(known, axis=1)
    total[:, readings:] -= total[:, :-readings].copy()
    count[:, readings:] -= count[:, :-readings].copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, total / count, np.nan))
