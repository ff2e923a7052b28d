"""When a series' surprise is an anomaly: from its onset to its end, and the quiet behind it.

An anomaly begins at the threshold and stays as long as the surprise comes back to ``RELEASE`` of it
within ``HOLD_S``. Behind its onset the series is quiet for ``REFRACTORY_S``, unless it becomes ten
times as rare: on NAB a refractory period is worth more than a better score.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

Array = NDArray[Any]
RELEASE = 0.7
HOLD_S = 180.0
REFRACTORY_S = 3600.0
NEVER = -1e18


def empty(series: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet, (S,) each.

    onset_s, last_s: when the newest anomaly began and was last seen; live: it has not ended
    peak: its highest surprise; by: the scorer that said most then; highest: surprise this hour
    """
    return {
        "onset_s": np.full(series, NEVER),
        "last_s": np.full(series, NEVER),
        "peak": np.zeros(series, np.float32),
        "highest": np.zeros(series, np.float32),
        "by": np.full(series, -1, np.int8),
        "live": np.zeros(series, np.bool_),
    }


def update(
    surprise: Array, most: Array, state: dict[str, Array], *, time_s: float, least: float
) -> None:
    """Begin, keep up and end anomalies by the surprise (S,) at a time, NaN: no reading.

    least: the threshold, the same for all
    """
    arrays = tuple(state[name] for name in ("onset_s", "last_s", "peak", "highest", "by", "live"))
    _update(surprise, most, arrays, time_s, least)


@compiled
def _update(
    surprise: Array, most: Array, arrays: tuple[Array, ...], time_s: float, least: float
) -> None:
    onset_s, last_s, peak, highest, by, live = arrays
    for i in range(len(surprise)):
        now = surprise[i]
        if live[i] and time_s - last_s[i] > HOLD_S:
            live[i] = False
        if not np.isfinite(now):
            continue
        highest[i] = max(highest[i], now)
        if live[i] and now >= RELEASE * least:
            last_s[i] = time_s
        if now < least:
            continue
        if not live[i]:
            quiet = time_s - onset_s[i] < REFRACTORY_S
            if quiet and now < peak[i] + 1.0:
                continue
            onset_s[i], peak[i], live[i] = time_s, 0.0, True
        last_s[i] = time_s
        if now > peak[i]:
            peak[i], by[i] = now, most[i]
