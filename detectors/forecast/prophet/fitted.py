"""What a fit of all series of a grid is, and what can be asked of it: forecasts and crossings."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.types import Floats, Ints
from core.units import Bad
from detectors.forecast.prophet.batch import Problem, Status, fit_moments
from detectors.forecast.prophet.breach import Outlook, breach
from detectors.forecast.prophet.curve import curve_at, is_curved
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.gram import Basis
from detectors.forecast.prophet.inputs import (
    as_limits,
    as_seconds,
    as_values,
    check_coverage,
    steps_ahead,
)
from detectors.forecast.prophet.intervals import RATE_FLOOR, Noise, TrendLaw, half_widths
from detectors.forecast.prophet.laplace import parameter_variance
from detectors.forecast.prophet.moments import Moments, Values
from detectors.forecast.prophet.on_torch.device import PROCESSOR
from detectors.forecast.prophet.prediction import Prediction
from detectors.forecast.prophet.problem import Start
from detectors.forecast.prophet.product import expanded
from detectors.forecast.prophet.robust import reweigh
from detectors.forecast.prophet.settings import ProphetSettings
from detectors.forecast.prophet.update import extended_basis, extended_moments
from detectors.forecast.task import Crossings

_CHUNK = 8192  # series forecast at once


@dataclass(frozen=True, slots=True, eq=False)
class FleetFit:
    """S fitted series. A scaled reading is (reading - floor) / scale.

    coefficients: (S, P + K) in the order of the design's columns: k, m, beta, delta; scaled
    sigma:    (S,) noise, scaled
    loss:     (S,) negative log posterior, as prophet.stan has it without its constants
    status:   (S,) a Status
    readings: (S,) usable readings
    rounds:   (S,) of the search
    newest:   (S,) reading at the last time; NaN where it is missing
    persistence, residual: (S,) lag-one autocorrelation of the residuals; the newest one, scaled
              (0 where the newest reading is missing)
    cap:      (S,) capacity of logistic growth, scaled; 0 for other growth
    moments, basis: sufficient statistics and the design's whitened rows, for ``update``; None
              where the model is not linear or robust, which has none
    device:   where it was fitted and forecasts are worked out: cpu, or a device of torch's
    """

    settings: ProphetSettings
    design: Design
    dtype: np.dtype[np.floating]
    coefficients: Floats
    sigma: Floats
    loss: Floats
    floor: Floats
    scale: Floats
    cap: Floats
    status: NDArray[np.int8]
    readings: Ints
    rounds: Ints
    newest: Floats
    persistence: Floats
    residual: Floats
    moments: Moments | None
    basis: Basis | None
    device: str = PROCESSOR

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

    @property
    def is_curved(self) -> bool:
        """Whether the model is not linear in its coefficients."""
        return is_curved(self.design, self.settings.growth)

    def rows(self, rows: Ints | slice) -> "FleetFit":
        """Return the fit of some series."""
        shared = ("settings", "design", "dtype", "basis", "device", "moments")
        names = [name for name in self.__dataclass_fields__ if name not in shared]
        per_series = {name: getattr(self, name)[rows] for name in names}
        some = np.arange(len(self))[rows]
        moments = None if self.moments is None else self.moments.rows(some)
        return replace(self, **per_series, moments=moments)

    def mean_at(self, time_s: ArrayLike) -> Floats:
        """Return (S, H) the model's value at any times, without the residual's persistence."""
        times = np.atleast_1d(as_seconds(time_s))
        if self.is_curved:
            curve = curve_at(self.design, times, self.settings.growth)
            scaled = curve.value(self.coefficients, self.cap)
        else:
            scaled = expanded(self.coefficients, self.design.rows(times))
        scaled *= self.scale[:, np.newaxis]
        scaled += self.floor[:, np.newaxis]
        return np.asarray(scaled)

    def fitted(self, columns: slice = slice(None)) -> Floats:
        """Return (S, T) the model's value at the grid's times, or some of them."""
        return self.mean_at(self.design.time_s[columns])

    def future(self, horizon_s: float, step_s: float | None = None) -> Floats:
        """Return (H,) times: steps after the last reading up to the horizon."""
        step_s = self.design.step_s if step_s is None else step_s
        steps = steps_ahead(horizon_s, step_s)
        return np.asarray(self.design.time_s[-1] + step_s * np.arange(1, steps + 1))

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

    def noise(self, time_s: Floats, *, parameters: bool = False) -> Noise:
        """Return what these (H,) evenly spaced times are unsure of, beside turns and noise.

        parameters: also of the coefficients themselves (Laplace approximation, linear models)
        """
        lasting = gain = extra = None
        if self.settings.ar:
            lasting = self.persistence ** (
                (time_s[0] - self.design.time_s[-1]) / self.design.step_s
            )
        if self.is_curved:
            gain = curve_at(self.design, time_s, self.settings.growth).gain(
                self.coefficients, self.cap
            )
        if parameters:
            extra = self._parameter_variance(time_s)
        return Noise(persistence=lasting, gain=gain, extra=extra)

    def _parameter_variance(self, time_s: Floats) -> Floats:
        if self.is_curved:
            raise ValueError(
                "parameter uncertainty is worked out for linear and flat growth with additive "
                "seasons only: leave parameters out"
            )
        variance = parameter_variance(
            self.design,
            time_s,
            self.coefficients,
            self.sigma,
            readings=self.readings.astype(np.float64),
            persistence=self.persistence if self.settings.ar else None,
        )
        return np.asarray(variance * np.square(self.scale)[:, np.newaxis])

    def predict(
        self,
        horizon_s: float,
        step_s: float | None = None,
        *,
        coverage: float = 0.8,
        parameters: bool = False,
    ) -> Prediction:
        """Return the forecast from the last reading to the horizon, with a central interval.

        coverage: share of readings that should fall within, above 0 and below 1
        parameters: widen it by how unsure the coefficients are; upstream does not
        Numbers are float32 where the readings were.
        """
        check_coverage(coverage)
        time_s = self.future(horizon_s, step_s)
        if self.device != PROCESSOR and not parameters:
            from detectors.forecast.prophet.on_torch import predict  # noqa: PLC0415  # heavy

            return predict.predict_on(self, time_s, coverage)
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
                noise=some.noise(time_s, parameters=parameters),
            )
            mean[part], lower[part], upper[part] = expected, expected - half, expected + half
        return Prediction(time_s, mean, lower, upper, coverage)

    def update(self, time_s: ArrayLike, values: ArrayLike) -> "FleetFit":
        """Return the fit with readings (S, N) at the next N times added; NaN where missing.

        Costs P + K operations a reading and a warm start; old readings are not needed. Scaled time
        and changepoints stay those of the last whole fit, as does the residuals' persistence.
        """
        if self.moments is None or self.basis is None:
            raise ValueError(
                "only a linear, additive fit that is not robust can be updated: call fit with all "
                "readings instead"
            )
        new = as_values(values)
        times = np.atleast_1d(as_seconds(time_s))
        if new.shape != (len(self), len(times)):
            raise ValueError(
                f"new values have shape {new.shape}: give ({len(self)}, {len(times)}), a column "
                f"a time"
            )
        if not len(times):
            return self
        design = extended_basis(self.design, self.basis, times)
        moments = extended_moments(self.moments, design[1], new)
        fit = solved(self.settings, design, moments, warm=self)
        newest = new[:, -1].astype(np.float64)
        residual = (newest - fit.mean_at(times[-1:])[:, 0]) / fit.scale
        usable = np.isfinite(residual) & (fit.status == Status.FITTED)
        return replace(
            fit,
            dtype=self.dtype,
            device=self.device,
            newest=newest,
            persistence=self.persistence,
            residual=np.where(usable, residual, 0.0),
        )

    def breach(
        self,
        limit: ArrayLike,
        *,
        horizon_s: float = 14_400.0,
        step_s: float | None = None,
        bad: Bad = Bad.HIGH,
        sustain_s: float = 60.0,
        parameters: bool = False,
    ) -> Crossings:
        """Return how likely each series crosses its limit within the horizon, and when.

        limit: one for all, or (S,) one each, in the readings' unit; NaN: none
        parameters: count how unsure the coefficients are
        A crossing counts when it lasts ``sustain_s``, or to the end of the horizon.
        """
        if not sustain_s >= 0:
            raise ValueError(f"sustain_s is {sustain_s}: give 0 s or more")
        time_s = self.future(horizon_s, step_s)
        outlook = Outlook(
            now_s=float(self.design.time_s[-1]),
            now=self.newest,
            time_s=time_s,
            mean=self.forecast(time_s),
            law=self.trend_law(time_s),
            sigma=self.scale * self.sigma,
            rate=self.rate,
            noise=self.noise(time_s, parameters=parameters),
        )
        return breach(outlook, as_limits(limit, len(self)), bad=bad, sustain_s=sustain_s)

    def to_prophet(self, row: int, value: Floats | None = None) -> Any:
        """Return one series as a fitted ``prophet.Prophet``, to plot or to cross-check.

        value: (T,) its readings, for the plots; without them the fitted curve stands for them
        """
        from detectors.forecast.prophet.export import to_prophet  # noqa: PLC0415  # heavy

        return to_prophet(self, row, value)


def solved(
    settings: ProphetSettings,
    design: tuple[Design, Basis],
    moments: Moments,
    *,
    warm: FleetFit | None,
    values: Values | None = None,
) -> FleetFit:
    """Return the fit from the statistics; what needs the readings themselves is left 0.

    values: (S, T) the readings, which a robust fit looks at again
    """
    floor, scale = moments.scaling(settings.scaling)
    start = None if warm is None else _start(warm, scale, len(design[0].changepoints))
    problem = Problem(*design, design[1].spectrum(), floor, scale)
    found = fit_moments(problem, moments, start)
    if settings.robust and values is not None:
        reweigh(problem, moments, found, values)
    zero = np.zeros(len(floor))
    return FleetFit(
        settings=settings,
        design=design[0],
        dtype=np.dtype(np.float64),
        **found._asdict(),
        floor=floor,
        scale=scale,
        cap=zero,
        readings=moments.readings.astype(np.int64),
        newest=zero,
        persistence=zero,
        residual=zero,
        moments=None if settings.robust else moments,
        basis=None if settings.robust else design[1],
    )


def _start(warm: FleetFit, scale: Floats, knots: int) -> Start:
    """Return where the search begins after an earlier fit of the same series."""
    before = warm.coefficients[:, warm.design.smooth :]
    if before.shape != (len(scale), knots):
        raise ValueError(
            f"the warm fit has {len(before)} series with {before.shape[1]} changepoints, these are "
            f"{len(scale)} with {knots}: leave it out"
        )
    ratio = warm.scale / scale
    known = warm.status == Status.FITTED
    return Start(
        np.where(known[:, np.newaxis], before * ratio[:, np.newaxis], 0.0),
        np.where(known, (warm.sigma * ratio) ** 2, 1.0),
    )
