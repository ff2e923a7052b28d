"""What a forecaster is asked and what it answers, for all series of a metric at once.

ForecastTask -> forecast -> FleetForecast
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from core.target import Target
from core.types import Floats, Forecast, Ints
from core.units import Bad


class Model(StrEnum):
    """Which forecaster answers."""

    POOL = "pool"  # the combination that is shipped: cheap members and fleet Prophet, weighted
    FLEET_PROPHET = "fleet-prophet"  # our batched Prophet alone
    PROPHET = "prophet"  # facebook's own package, series by series: the reference


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTask:
    """Series of one metric that are to be forecast.

    time_s:    (T,) even spacing; value: (S, T) float32 or float64 in the metric's base unit, NaN
               where not scraped
    limit:     crossing it in the ``bad`` direction for ``sustain_s`` is a breach; one for all or
               (S,) one each; NaN: none
    low, high: plausible range; readings outside are passed over, forecasts are clipped to it
    widening:  (S,), or one for all: logarithm of the factor on the pool's intervals, as forecasts
               that came due have taught (``detectors.forecast.matured``); 0: nothing is known
    """

    metric: str
    targets: tuple[Target, ...]
    time_s: Floats
    value: np.ndarray[tuple[int, int], np.dtype[np.floating]]
    horizon_s: float
    coverage: float = 0.8
    limit: float | Floats = np.nan
    bad: Bad = Bad.HIGH
    low: float = -np.inf
    high: float = np.inf
    sustain_s: float = 60.0
    model: Model = Model.POOL
    widening: float | Floats = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """When each of S series crosses its limit for good.

    probability: (S,) that a crossing that lasts begins within the horizon, 1 where it has begun;
                 NaN: no limit, or too little data
    expected_s, earliest_s, latest_s: (S,) median and 80 % interval of its time, given that it
                 comes; NaN where it is not expected at all
    """

    probability: Floats
    expected_s: Floats
    earliest_s: Floats
    latest_s: Floats


@dataclass(frozen=True, slots=True, eq=False)
class FleetForecast:
    """The answer for all S series of a task, in its order.

    forecast:  mean/lower/upper (S, H); a row with too little data is NaN, its model ""
    value:     (S,) the newest reading; NaN where there is none
    readings:  (S,) usable readings; ``needed`` is the least that is forecast
    limit:     (S,) NaN: none
    crossings: (S,) each
    notes:     row -> what a reader should know: models compared, readings passed over
    """

    forecast: Forecast
    value: Floats
    readings: Ints
    needed: int
    limit: Floats
    bad: Bad
    crossings: Crossings
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
