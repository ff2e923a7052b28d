"""What the fleet's Prophet is told: the same knobs, with the same defaults, as facebook's package.

Defaults and their meaning are those of prophet 1.5 (``prophet/forecaster.py``), so a configured
``prophet.Prophet`` translates one to one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from core.types import Floats

DAY_S = 86_400.0

Growth = Literal["linear", "flat", "logistic"]
Mode = Literal["additive", "multiplicative"]
Scaling = Literal["absmax", "minmax"]
Switch = Literal["auto"] | bool | int


@dataclass(frozen=True, slots=True)
class Seasonality:
    """A periodic effect: ``order`` sine-cosine pairs of ``period_s``, counted from the epoch.

    prior_scale: standard deviation of each coefficient, in units of the scaled series
    """

    name: str
    period_s: float
    order: int
    prior_scale: float = 10.0
    mode: Mode = "additive"

    def __post_init__(self) -> None:
        if self.period_s <= 0 or self.order < 1 or self.prior_scale <= 0:
            raise ValueError(
                f"seasonality {self.name!r}: period {self.period_s} s, order {self.order}, prior "
                f"scale {self.prior_scale}; the period and the scale must be above 0, the order at "
                f"least 1"
            )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is known ahead: a column that is 1 within the windows and 0 outside.

    windows: (start_s, end_s) pairs, the start within, the end not; past and future ones alike
    """

    name: str
    windows: tuple[tuple[float, float], ...]
    prior_scale: float = 10.0
    mode: Mode = "additive"

    def column(self, time_s: Floats) -> Floats:
        """Return (T,) ones and zeros."""
        inside = np.zeros(len(time_s), dtype=bool)
        for start_s, end_s in self.windows:
            inside |= (time_s >= start_s) & (time_s < end_s)
        return inside.astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Regressor:
    """A known quantity shared by all series: planned load, ambient temperature.

    time_s, value: (N,) sorted, past and future; between two times the earlier one's value holds
    """

    name: str
    time_s: Floats
    value: Floats
    prior_scale: float = 10.0
    mode: Mode = "additive"

    def column(self, time_s: Floats) -> Floats:
        """Return (T,) values; ValueError where a time lies before the first that is known."""
        at = np.searchsorted(self.time_s, time_s, side="right") - 1
        if np.any(at < 0):
            raise ValueError(
                f"regressor {self.name!r} is known from {self.time_s[0]:.0f} s on; the series "
                f"begin at {time_s[0]:.0f} s: give its earlier values too"
            )
        return np.asarray(self.value, dtype=np.float64)[at]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProphetSettings:
    """The model of every series of a fleet.

    growth:       the trend: piecewise linear, constant, or saturating at a capacity
    n_changepoints, changepoint_range: candidates for a change of rate, spread evenly over the first
                  part of the window; ``changepoints_s`` names them instead
    changepoint_prior_scale: tau of the Laplace prior on each change of rate: smaller is stiffer
    yearly, weekly, daily: "auto" switches one on with two periods of data and readings closer than
                  a period; True, False, or the number of sine-cosine pairs
    seasonalities, events, regressors: effects beside those
    scaling:      what a series is divided by: its largest absolute value, or its range
    robust:       weigh readings far from the fit down (Huber)
    ar:           let the newest residual fade out over the forecast (first-order autoregression)
    """

    growth: Growth = "linear"
    n_changepoints: int = 25
    changepoint_range: float = 0.8
    changepoint_prior_scale: float = 0.05
    changepoints_s: tuple[float, ...] | None = None
    yearly: Switch = "auto"
    weekly: Switch = "auto"
    daily: Switch = "auto"
    seasonality_mode: Mode = "additive"
    seasonality_prior_scale: float = 10.0
    seasonalities: tuple[Seasonality, ...] = ()
    events: tuple[Event, ...] = ()
    regressors: tuple[Regressor, ...] = ()
    scaling: Scaling = "absmax"
    robust: bool = False
    ar: bool = True

    def __post_init__(self) -> None:
        if self.growth not in ("linear", "flat", "logistic"):
            raise ValueError(f"growth is {self.growth!r}: give linear, flat or logistic")
        if self.scaling not in ("absmax", "minmax"):
            raise ValueError(f"scaling is {self.scaling!r}: give absmax or minmax")
        if not 0 <= self.changepoint_range <= 1:
            raise ValueError(f"changepoint_range is {self.changepoint_range}: give 0 to 1")
        if self.n_changepoints < 0:
            raise ValueError(f"n_changepoints is {self.n_changepoints}: give 0 or more")
        if self.changepoint_prior_scale <= 0 or self.seasonality_prior_scale <= 0:
            raise ValueError("a prior scale of 0 or less leaves nothing to fit: give one above 0")

    @property
    def is_additive(self) -> bool:
        """Whether the model is linear in its parameters: no product of trend and season."""
        modes = {self.seasonality_mode}
        modes |= {each.mode for each in self.seasonalities}
        modes |= {each.mode for each in self.events}
        modes |= {each.mode for each in self.regressors}
        return modes == {"additive"}


def as_times(time_s: ArrayLike) -> Floats:
    """Return (T,) seconds; ValueError unless there are two at least, evenly spaced and rising."""
    times = np.asarray(time_s, dtype=np.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"time_s has shape {times.shape}: give at least two times in one row")
    steps = np.diff(times)
    step_s = (times[-1] - times[0]) / (len(times) - 1)
    if not step_s > 0 or not np.allclose(steps, step_s, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"time_s is not an even, rising grid: steps run from {steps.min():g} to "
            f"{steps.max():g} s; put the series on one grid, with NaN where a reading is missing"
        )
    return times
