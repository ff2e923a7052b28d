"""The readings along the path of a diagnosis, each with the band that it keeps in normal times."""

from dataclasses import dataclass

import numpy as np

from core.target import Target
from core.types import Floats, Hop, Window
from rca.posterior.standing import MIN_NORMAL, ODD_Z, floor_of, readings
from rca.words import say_metric

_MAD_TO_SIGMA = 1.4826  # of a normal distribution


@dataclass(frozen=True, slots=True, eq=False)
class HopSeries:
    """One step of the path for a plot.

    time_s, value: (T,) in the metric's unit, a counter's a second; NaN where nothing was read
    lower, upper:  the band of normal times; NaN with too few readings to say
    began_s:       when it left the band; None where that is not known
    usual, level:  what it was and became, as the diagnosis has it
    """

    target: Target
    metric: str
    text: str
    time_s: Floats
    value: Floats
    lower: float
    upper: float
    began_s: float | None
    usual: float | None
    level: float | None


def hop_series(
    hop: Hop, window: Window, *, normal_until_s: float, shown_from_s: float
) -> HopSeries:
    """Return a hop with its readings; ``window`` holds its series alone, or none at all.

    The band is the median of the readings before ``normal_until_s`` and ODD_Z robust sigmas to
    both sides; readings before ``shown_from_s`` serve for the band only.
    """
    columns = np.arange(len(window.time_s))
    rows = readings(window, columns)
    time_s = window.time_s[len(columns) - rows.shape[1] :]
    value = rows[0] if len(rows) else np.full(len(time_s), np.nan)
    lower, upper = _band(hop.metric, value[time_s < normal_until_s])
    shown = time_s >= shown_from_s
    return HopSeries(
        target=hop.target,
        metric=hop.metric,
        text=say_metric(hop.metric),
        time_s=time_s[shown],
        value=value[shown],
        lower=lower,
        upper=upper,
        began_s=hop.began_s,
        usual=hop.usual,
        level=hop.level,
    )


def _band(metric: str, value: Floats) -> tuple[float, float]:
    known = value[np.isfinite(value)]
    if len(known) < MIN_NORMAL:
        return np.nan, np.nan
    centre = float(np.median(known))
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(known - centre)))
    away = ODD_Z * max(sigma, floor_of(metric))
    return centre - away, centre + away
