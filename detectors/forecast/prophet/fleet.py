"""Fleet Prophet: fit all series of a grid, forecast them, ask when they cross a limit."""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.types import Floats, Ints
from core.units import Bad
from detectors.forecast.prophet.breach import Outlook, breach
from detectors.forecast.prophet.design import Design, make_design
from detectors.forecast.prophet.gram import Basis, Spectrum, decompose, whitened
from detectors.forecast.prophet.intervals import RATE_FLOOR, Noise, TrendLaw, half_widths
from detectors.forecast.prophet.masked import distinct_masks, weighted_grams
from detectors.forecast.prophet.moments import Moments, Values, gather
from detectors.forecast.prophet.posterior import maximise
from detectors.forecast.prophet.residual import persistence
from detectors.forecast.prophet.settings import ProphetSettings, as_times
from detectors.forecast.task import Crossings

_CHUNK = 8192  # series whose statistics are held at once
_MASKS = 1024  # Gram matrices held at once: 35 x 35 doubles each
_CONSTANT_SIGMA = 1e-9  # of a series without any change: prophet's own


class Status(IntEnum):
    """What became of a series."""

    FITTED = 0
    CONSTANT = 1  # all readings alike: the forecast is that value
    TOO_SHORT = 2  # fewer than two readings: no forecast


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Forecasts of S series at H times, in the readings' unit; (S, H) each, NaN without a fit."""

    time_s: Floats
    mean: Values
    lower: Values
    upper: Values
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class FleetFit:
    """S fitted series. A scaled reading is (reading - floor) / scale.

    coefficients: (S, P + K) in the order of the design's columns: k, m, beta, delta; scaled
    sigma:    (S,) noise, scaled
    loss:     (S,) negative log posterior, as prophet.stan has it without its constants
    status:   (S,) a Status
    readings: (S,) usable readings
    persistence, residual: (S,) lag-one autocorrelation of the residuals; the newest one, scaled
              (0 where the newest reading is missing)
    """

    settings: ProphetSettings
    design: Design
    dtype: np.dtype[np.floating]
    coefficients: Floats
    sigma: Floats
    loss: Floats
    floor: Floats
    scale: Floats
    status: NDArray[np.int8]
    readings: Ints
    newest: Floats
    persistence: Floats
    residual: Floats
    rounds: Ints

    def __len__(self) -> int:
        return len(self.sigma)

    @property
    def k(self) -> Floats:
        """(S,) rate at the first reading, per length of the window; scaled."""
        if not self.design.has_rate:
            return np.zeros(len(self))
        dummy = self.coefficients[:, -1] if self.design.is_dummy else 0.0
        return np.asarray(self.coefficients[:, 0] + dummy)

    @property
    def m(self) -> Floats:
        """(S,) level at the first reading, scaled."""
        return self.coefficients[:, self.design.offset_column]

    @property
    def beta(self) -> Floats:
        """(S, number of effect columns) coefficients of seasons, events and regressors."""
        return self.coefficients[:, self.design.first_effect : self.design.smooth]

    @property
    def delta(self) -> Floats:
        """(S, K) changes of rate; zeros where prophet folds its dummy into k."""
        delta = self.coefficients[:, self.design.smooth :]
        return np.zeros_like(delta) if self.design.is_dummy else delta

    @property
    def rate(self) -> Floats:
        """(S,) mean |delta| and prophet's floor, in the reading's unit: the scale of a turn."""
        if self.delta.shape[1] == 0:
            return self.scale * RATE_FLOOR
        return np.asarray(self.scale * (np.abs(self.delta).mean(axis=1) + RATE_FLOOR))

    def objective(self) -> Floats:
        """Return (S,) negative log posterior of prophet.stan, constants left out as Stan does."""
        return self.loss

    def rows(self, rows: Ints | slice) -> "FleetFit":
        """Return the fit of some series."""
        per_series = {
            name: getattr(self, name)[rows]
            for name in self.__dataclass_fields__
            if name not in ("settings", "design", "dtype")
        }
        return replace(self, **per_series)

    def mean_at(self, time_s: ArrayLike) -> Floats:
        """Return (S, H) the model's value at any times, without the residual's persistence."""
        times = np.asarray(time_s, dtype=np.float64)
        scaled = self.coefficients @ self.design.rows(times).T
        scaled *= self.scale[:, np.newaxis]
        scaled += self.floor[:, np.newaxis]
        return np.asarray(scaled)

    def fitted(self, columns: slice = slice(None)) -> Floats:
        """Return (S, T) the model's value at the grid's times, or some of them."""
        return self.mean_at(self.design.time_s[columns])

    def future(self, horizon_s: float, step_s: float | None = None) -> Floats:
        """Return (H,) times: steps after the last reading up to the horizon."""
        step_s = self.design.step_s if step_s is None else step_s
        steps = round(horizon_s / step_s)
        if steps < 1:
            raise ValueError(f"a horizon of {horizon_s} s holds no step of {step_s} s")
        return self.design.time_s[-1] + step_s * np.arange(1, steps + 1)

    def forecast(self, time_s: Floats) -> Floats:
        """Return (S, H) expected values at future times, the newest residual fading out."""
        mean = self.mean_at(time_s)
        if self.settings.ar:
            ahead = (time_s - self.design.time_s[-1]) / self.design.step_s
            mean += (self.scale * self.residual)[:, np.newaxis] * (
                self.persistence[:, np.newaxis] ** ahead
            )
        return mean

    def trend_law(self, time_s: Floats) -> TrendLaw:
        """Return how the trend may turn over these (H,) times, evenly spaced."""
        design = self.design
        knots = 0 if design.is_dummy else len(design.changepoints)
        return TrendLaw(knots, (time_s[0] - design.time_s[-1]) / design.span_s, len(time_s))

    def predict(
        self, horizon_s: float, step_s: float | None = None, *, coverage: float = 0.8
    ) -> Prediction:
        """Return the forecast from the last reading to the horizon, with a central interval.

        coverage: share of readings that should fall within, 0 to 1
        Numbers are float32 where the readings were.
        """
        time_s = self.future(horizon_s, step_s)
        law = self.trend_law(time_s)
        shape = (len(self), len(time_s))
        mean, lower, upper = (np.empty(shape, dtype=self.dtype) for _ in range(3))
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            some = self.rows(part)
            expected = some.forecast(time_s)
            half = half_widths(
                law,
                some.scale * some.sigma,
                some.rate,
                coverage=coverage,
                noise=Noise(some.persistence if self.settings.ar else None),
            )
            mean[part], lower[part], upper[part] = expected, expected - half, expected + half
        return Prediction(time_s, mean, lower, upper, coverage)

    def breach(
        self,
        limit: float | Floats,
        *,
        horizon_s: float = 14_400.0,
        step_s: float | None = None,
        bad: Bad = Bad.HIGH,
        sustain_s: float = 60.0,
    ) -> Crossings:
        """Return how likely each series crosses its limit within the horizon, and when.

        limit: one for all, or (S,) one each, in the readings' unit; NaN: none
        A crossing counts when it lasts ``sustain_s``.
        """
        time_s = self.future(horizon_s, step_s)
        outlook = Outlook(
            now_s=float(self.design.time_s[-1]),
            now=self.newest,
            time_s=time_s,
            mean=self.forecast(time_s),
            law=self.trend_law(time_s),
            sigma=self.scale * self.sigma,
            rate=self.rate,
            noise=Noise(self.persistence if self.settings.ar else None),
        )
        return breach(outlook, limit, bad=bad, sustain_s=sustain_s)


class FleetProphet:
    """Facebook Prophet's model for many series that share a grid.

    Takes ProphetSettings, or their fields as keywords, or both.
    """

    def __init__(self, settings: ProphetSettings | None = None, **keywords: Any) -> None:
        self.settings = replace(settings or ProphetSettings(), **keywords)

    def fit(
        self, time_s: ArrayLike, values: ArrayLike, *, warm: FleetFit | None = None
    ) -> FleetFit:
        """Return the fit of values (S, T) at times (T,) of even spacing; NaN where missing."""
        times = as_times(time_s)
        data = np.asarray(values)
        if data.dtype not in (np.float32, np.float64):
            data = data.astype(np.float64)
        if data.ndim != 2 or data.shape[1] != len(times):
            raise ValueError(
                f"values have shape {data.shape}: give (series, {len(times)}), a column a time"
            )
        design = make_design(self.settings, times)
        fit = _empty(self.settings, design, data)
        basis = whitened(design)
        shared = decompose(basis.gram(), design.smooth)
        for start in range(0, len(data), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(data)))
            _fit_chunk(fit, part, data, (basis, shared))
        return fit


def _empty(settings: ProphetSettings, design: Design, data: Values) -> FleetFit:
    series = len(data)
    return FleetFit(
        settings=settings,
        design=design,
        dtype=data.dtype,
        coefficients=np.full((series, design.width), np.nan),
        sigma=np.full(series, np.nan),
        loss=np.full(series, np.nan),
        floor=np.zeros(series),
        scale=np.ones(series),
        status=np.full(series, Status.TOO_SHORT, dtype=np.int8),
        readings=np.zeros(series, dtype=np.int64),
        newest=np.full(series, np.nan),
        persistence=np.zeros(series),
        residual=np.zeros(series),
        rounds=np.zeros(series, dtype=np.int64),
    )


def _fit_chunk(fit: FleetFit, part: slice, data: Values, design: tuple[Basis, Spectrum]) -> None:
    basis, shared = design
    moments = gather(data[part], basis.rows, scaling=fit.settings.scaling)
    fit.floor[part], fit.scale[part] = moments.floor, moments.scale
    fit.readings[part] = moments.count
    fit.newest[part] = data[part, -1]
    fit.status[part] = np.where(
        moments.count < 2,
        Status.TOO_SHORT,
        np.where(moments.low == moments.high, Status.CONSTANT, Status.FITTED),
    )
    fitted = fit.status[part] == Status.FITTED
    whole = np.flatnonzero(fitted & moments.complete)
    _solve_into(fit.rows(part), moments, whole, basis, (shared, np.zeros(len(whole), np.int64)))
    gapped = np.flatnonzero(fitted & ~moments.complete)
    for first in range(0, len(gapped), _MASKS):
        some = gapped[first : first + _MASKS]
        masks, which = distinct_masks(np.isfinite(data[part][some]))
        grams = weighted_grams(basis.rows, basis.gram()[0], masks.astype(np.float64))
        spectrum = decompose(grams, basis.smooth)
        _solve_into(fit.rows(part), moments, some, basis, (spectrum, which))
    if fit.settings.ar:
        fit.persistence[part], fit.residual[part] = persistence(
            data[part], fit.design, fit.coefficients[part], (fit.floor[part], fit.scale[part])
        )
    _set_constant(fit.rows(part), moments.low)


def _set_constant(fit: FleetFit, level: Floats) -> None:
    """Give series without any change prophet's special case: their level and next to no noise."""
    series = np.flatnonzero(fit.status == Status.CONSTANT)
    fit.coefficients[series] = 0.0
    scaled = (level[series] - fit.floor[series]) / fit.scale[series]
    fit.coefficients[series, fit.design.offset_column] = scaled
    fit.sigma[series] = _CONSTANT_SIGMA


def _solve_into(
    fit: FleetFit, moments: Moments, series: Ints, basis: Basis, grams: tuple[Spectrum, Ints]
) -> None:
    """Solve some series of a chunk; write them to the fit, a view of the chunk's rows."""
    if not len(series):
        return
    spectrum, which = grams
    targets = spectrum.targets(
        moments.cross[series],
        moments.square[series],
        moments.count[series],
        (which, np.outer(moments.centre[series], basis.offset)),
    )
    solution = maximise(spectrum, targets, fit.design.tau)
    smooth = solution.whitened @ basis.whiten.T
    smooth[:, fit.design.offset_column] += moments.centre[series]
    fit.coefficients[series, : basis.smooth] = smooth
    fit.coefficients[series, basis.smooth :] = solution.knots
    fit.sigma[series] = np.sqrt(solution.variance)
    fit.loss[series] = solution.loss
    fit.rounds[series] = solution.rounds
