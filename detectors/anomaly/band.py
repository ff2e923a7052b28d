"""How far a reading is outside of what was forecast for it.

    score = |x - middle| / half of the band's width:   1 at the edge of the forecast's interval

The interval is calibrated by its forecaster; the rank does the rest. A band has a least width, as
in ``baseline``, or a series that has never moved would have none.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Forecast

Array = NDArray[Any]


def score(value: Array, lower: Array, upper: Array) -> Array:
    """Return (S,) half widths between a reading and its band's middle; NaN without either."""
    middle = 0.5 * (lower + upper)
    half = np.maximum(0.5 * (upper - lower), np.maximum(1e-3 * np.abs(middle), 1e-9))
    return np.asarray(np.abs(value - middle) / half, np.float32)


class Bands:
    """The newest forecast of a metric, by the rows of a detector's memory."""

    def __init__(self, forecast: Forecast, row: Mapping[Target, int], series: int) -> None:
        """Take the bands of those of the forecast's targets that have a row."""
        known = [(row[t], k) for k, t in enumerate(forecast.targets) if t in row]
        to, of = np.array(known, np.int64).reshape(-1, 2).T
        self._time_s = forecast.time_s
        self._lower = np.full((series, len(forecast.time_s)), np.nan, np.float32)
        self._upper = self._lower.copy()
        self._lower[to], self._upper[to] = forecast.lower[of], forecast.upper[of]

    def at(self, time_s: float) -> tuple[Array, Array] | None:
        """Return lower and upper (S,) at the horizon step nearest to a time; None outside of it."""
        steps = self._time_s
        if not len(steps) or not len(self._lower):
            return None
        reach_s = float(steps[1] - steps[0]) if len(steps) > 1 else 60.0
        at = int(np.argmin(np.abs(steps - time_s)))
        if abs(float(steps[at]) - time_s) > reach_s:
            return None
        return self._lower[:, at], self._upper[:, at]
