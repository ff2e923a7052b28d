"""What a forecaster is asked, what it answers, and what a model behind it must do.

ForecastTask -> Forecaster (picks among PathModels by back-test) -> SeriesForecast or TooLittleData
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.target import Target
from core.types import Breach, Floats, Forecast, Severity, Window
from core.units import CATALOG, Bad

# A warning has to come half an hour ahead to be of use; what comes later is urgent.
URGENT_S = 1800.0
SURE = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTask:
    """Series of one metric that are to be forecast.

    time_s:    (T,) even spacing; value: (S, T) in the metric's base unit, NaN where not scraped
    limit:     crossing it in the ``bad`` direction for ``sustain_s`` is a breach; NaN: none
    low, high: plausible range; readings outside are passed over, forecasts are clipped to it
    seed:      same task and seed, same answer
    """

    metric: str
    targets: tuple[Target, ...]
    time_s: Floats
    value: Floats
    horizon_s: float
    coverage: float = 0.8
    limit: float = np.nan
    bad: Bad = Bad.HIGH
    low: float = -np.inf
    high: float = np.inf
    sustain_s: float = 60.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Crossing:
    """When the limit is crossed for good.

    probability: that a crossing that lasts begins within the horizon
    expected_s, earliest_s, latest_s: median and 80 % interval of its time, given that it comes;
    NaN where it never did on any path
    """

    probability: float
    expected_s: float
    earliest_s: float
    latest_s: float


@dataclass(frozen=True, slots=True, eq=False)
class SeriesForecast:
    """The forecast of one series (``forecast`` holds a single row) and when it crosses its limit.

    value: the newest reading; crossing: None where the task has no limit
    notes: what a reader should know: models compared, readings passed over
    """

    forecast: Forecast
    value: float
    limit: float
    crossing: Crossing | None
    notes: tuple[str, ...] = ()

    def breach(self, min_probability: float) -> Breach | None:
        """Return the expected breach, or None when it is less likely than ``min_probability``."""
        seen, made = self.crossing, self.forecast
        if seen is None or not seen.probability >= max(min_probability, np.finfo(float).tiny):
            return None
        urgent = seen.probability >= SURE and seen.expected_s - made.made_at_s <= URGENT_S
        return Breach(
            target=made.targets[0],
            metric=made.metric,
            limit=self.limit,
            made_at_s=made.made_at_s,
            horizon_s=float(made.time_s[-1]) - made.made_at_s,
            probability=seen.probability,
            expected_s=seen.expected_s,
            earliest_s=seen.earliest_s,
            latest_s=seen.latest_s,
            value=self.value,
            model=made.model[0],
            skill=float(made.skill[0]),
            severity=Severity.CRITICAL if urgent else Severity.WARNING,
        )


@dataclass(frozen=True, slots=True)
class TooLittleData:
    """A series is too short to forecast: ``found`` of ``needed`` usable readings."""

    target: Target
    metric: str
    needed: int
    found: int

    @property
    def text(self) -> str:
        """Say what is missing in a sentence."""
        return (
            f"Forecasting {self.metric} of {self.target}: found {self.found} usable readings, "
            f"need at least {self.needed}. Collect {self.needed - self.found} more."
        )


Fitted = SeriesForecast | TooLittleData


class Forecaster(Protocol):
    """Forecasts every series of a task; one answer for each target, in order."""

    def __call__(self, task: ForecastTask) -> tuple[Fitted, ...]:
        """Return a forecast or what is missing for each of the S targets."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series on an even grid: time_s (T,), value (T,) with NaN for gaps; at least 2 finite."""

    time_s: Floats
    value: Floats

    @property
    def step_s(self) -> float:
        """Return the spacing of the grid in seconds."""
        return float(self.time_s[-1] - self.time_s[0]) / (len(self.time_s) - 1)

    def until(self, end: int) -> "Series":
        """Return the first ``end`` readings."""
        return Series(self.time_s[:end], self.value[:end])

    def since(self, start_s: float) -> "Series":
        """Return the readings from a time on."""
        keep = self.time_s >= start_s
        return Series(self.time_s[keep], self.value[keep])


class PathModel(Protocol):
    """A model of one series that can be asked for possible futures."""

    name: str

    def paths(
        self, series: Series, ahead_s: Floats, *, draws: int, rng: np.random.Generator
    ) -> Floats:
        """Draw futures of the series.

        ahead_s: (H,) times after the last reading, increasing, spacing may grow
        returns (draws, H) in the unit of the series; not clipped to what is plausible
        """
        ...


def task_of(
    window: Window,
    rows: tuple[int, ...],
    *,
    horizon_s: float,
    limit: float | None = None,
    coverage: float = 0.8,
    sustain_s: float = 60.0,
) -> ForecastTask:
    """Ask for some rows of a window; limit, bad direction and range are the catalogue's.

    limit: replaces the catalogue's
    """
    metric = CATALOG[window.metric]
    return ForecastTask(
        metric=window.metric,
        targets=tuple(window.targets[row] for row in rows),
        time_s=window.time_s,
        value=window.value[list(rows)].astype(np.float64),
        horizon_s=horizon_s,
        coverage=coverage,
        limit=metric.limit if limit is None else limit,
        bad=metric.bad,
        low=metric.low,
        high=metric.high,
        sustain_s=sustain_s,
    )
