"""What the fleet's Prophet is told: the same knobs, with the same defaults, as facebook's package.

Defaults and their meaning are those of prophet 1.5 (``prophet/forecaster.py``), so a configured
``prophet.Prophet`` translates one to one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from core.types import Floats

DAY_S = 86_400.0

Growth = Literal["linear", "flat", "logistic"]
Mode = Literal["additive", "multiplicative"]
Scaling = Literal["absmax", "minmax"]
Switch = Literal["auto"] | bool | int
BUILT_IN_NAMES = ("yearly", "weekly", "daily")


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
        whole = _is_count(self.order) and self.order >= 1
        if not (0 < self.period_s < np.inf and whole):
            raise ValueError(
                f"seasonality {self.name!r}: period {self.period_s} s, order {self.order}; the "
                f"period must be above 0, the order a whole number of at least 1"
            )
        _check_effect(f"seasonality {self.name!r}", self.prior_scale, self.mode)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is known ahead: a column that is 1 within the windows and 0 outside.

    windows: (start_s, end_s) pairs, the start within, the end not; past and future ones alike
    """

    name: str
    windows: tuple[tuple[float, float], ...]
    prior_scale: float = 10.0
    mode: Mode = "additive"

    def __post_init__(self) -> None:
        windows = np.asarray(self.windows, dtype=np.float64)
        if windows.size and (windows.ndim != 2 or windows.shape[1] != 2):
            raise ValueError(
                f"event {self.name!r} has windows of shape {windows.shape}: give (start_s, end_s) "
                f"pairs, such as ((1.7e9, 1.7e9 + 3600),)"
            )
        if windows.size and not np.all(windows[:, 0] < windows[:, 1]):
            raise ValueError(f"event {self.name!r} has a window that ends before it starts")
        _check_effect(f"event {self.name!r}", self.prior_scale, self.mode)

    def column(self, time_s: Floats) -> Floats:
        """Return (T,) ones and zeros."""
        inside = np.zeros(len(time_s), dtype=bool)
        for start_s, end_s in self.windows:
            inside |= (time_s >= start_s) & (time_s < end_s)
        return inside.astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Regressor:
    """A known quantity shared by all series: planned load, ambient temperature.

    time_s, value: (N,) sorted, past and future; between two times the earlier one's value holds,
                   and the last one's after all of them
    """

    name: str
    time_s: Floats
    value: Floats
    prior_scale: float = 10.0
    mode: Mode = "additive"

    def __post_init__(self) -> None:
        times = np.asarray(self.time_s, dtype=np.float64)
        value = np.asarray(self.value, dtype=np.float64)
        if times.ndim != 1 or not times.size or times.shape != value.shape:
            raise ValueError(
                f"regressor {self.name!r} has times of shape {times.shape} and values of shape "
                f"{value.shape}: give a value for each time, in one row"
            )
        if not (np.all(np.diff(times) > 0) and np.isfinite(value).all()):
            raise ValueError(
                f"regressor {self.name!r}: its times must rise and its values be known; leave "
                f"those out that are not"
            )
        _check_effect(f"regressor {self.name!r}", self.prior_scale, self.mode)

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
        if not _is_count(self.n_changepoints):
            raise ValueError(f"n_changepoints is {self.n_changepoints}: give 0 or more, whole")
        if not np.isfinite(np.asarray(self.changepoints_s or (), dtype=np.float64)).all():
            raise ValueError("changepoints_s holds NaN or infinity: give seconds since the epoch")
        for name in BUILT_IN_NAMES:
            switch = getattr(self, name)
            if switch != "auto" and not _is_count(switch):
                raise ValueError(f"{name} is {switch!r}: give 'auto', True, False or an order")
        _check_effect("changepoints", self.changepoint_prior_scale, "additive")
        _check_effect("the seasonality", self.seasonality_prior_scale, self.seasonality_mode)
        names = [each.name for each in self.seasonalities]
        names += [each.name for each in self.events] + [each.name for each in self.regressors]
        names += [name for name in BUILT_IN_NAMES if getattr(self, name) not in ("auto", False)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several effects are called {', '.join(twice)}: give each its name")


def _is_count(number: object) -> bool:
    return isinstance(number, (int, np.integer)) and int(number) >= 0


def _check_effect(name: str, prior_scale: float, mode: str) -> None:
    """Raise ValueError unless the effect has a prior to be fitted under and a way to act."""
    if not 0 < prior_scale < np.inf:
        raise ValueError(f"{name}: prior scale {prior_scale}; give one above 0")
    if mode not in ("additive", "multiplicative"):
        raise ValueError(f"{name}: mode {mode!r}; give additive or multiplicative")
