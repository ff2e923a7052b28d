"""A forecast, and what a fit offers to those who compute one elsewhere: on a GPU, in upstream."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from core.types import Floats, Ints
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.intervals import TrendLaw
from detectors.forecast.prophet.moments import Values
from detectors.forecast.prophet.settings import ProphetSettings


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Forecasts of S series at H times, in the readings' unit; (S, H) each, NaN without a fit."""

    time_s: Floats
    mean: Values
    lower: Values
    upper: Values
    coverage: float


class Fit(Protocol):
    """S fitted series, as ``FleetFit`` describes them."""

    @property
    def settings(self) -> ProphetSettings:
        """What was asked for."""

    @property
    def design(self) -> Design:
        """How a time becomes a row."""

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of the readings."""

    @property
    def device(self) -> str:
        """Where it was fitted."""

    @property
    def coefficients(self) -> Floats:
        """(S, P + K), scaled."""

    @property
    def k(self) -> Floats:
        """(S,) rates."""

    @property
    def m(self) -> Floats:
        """(S,) levels."""

    @property
    def beta(self) -> Floats:
        """(S, B) effects."""

    @property
    def delta(self) -> Floats:
        """(S, K) changes of rate."""

    @property
    def sigma(self) -> Floats:
        """(S,) noise, scaled."""

    @property
    def floor(self) -> Floats:
        """(S,) in the readings' unit."""

    @property
    def scale(self) -> Floats:
        """(S,) in the readings' unit."""

    @property
    def cap(self) -> Floats:
        """(S,) capacity, scaled."""

    @property
    def rate(self) -> Floats:
        """(S,) scale of a turn, in the readings' unit."""

    @property
    def persistence(self) -> Floats:
        """(S,) of the residual."""

    @property
    def residual(self) -> Floats:
        """(S,) the newest one, scaled."""

    def __len__(self) -> int: ...

    def rows(self, rows: Ints | slice) -> "Fit":
        """Return the fit of some series."""

    def mean_at(self, time_s: ArrayLike) -> Floats:
        """Return (S, H) the model's value at times."""

    def trend_law(self, time_s: Floats) -> TrendLaw:
        """Return how the trend may turn."""
