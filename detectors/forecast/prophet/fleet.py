"""Fleet Prophet: the model's front, which fits all series of a grid."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from detectors.forecast.prophet.batch import Status
from detectors.forecast.prophet.curve import is_curved
from detectors.forecast.prophet.curved import bounds_of, fit_series
from detectors.forecast.prophet.design import Design, make_design
from detectors.forecast.prophet.fitted import FleetFit, solved
from detectors.forecast.prophet.gram import whitened
from detectors.forecast.prophet.inputs import as_times, as_values
from detectors.forecast.prophet.moments import LARGEST, Values, check_shape, gather
from detectors.forecast.prophet.on_torch.device import AUTO, PROCESSOR, device_of
from detectors.forecast.prophet.residual import persistence
from detectors.forecast.prophet.settings import ProphetSettings
from detectors.forecast.prophet.translate import settings_of

_CHUNK = 8192  # series looked over at once


class FleetProphet:
    """Facebook Prophet's model for many series that share a grid.

    Takes ProphetSettings, or their fields as keywords, or both.

    device: cpu: compiled code on one core;  cuda or cuda:N: torch on a GPU, for linear and flat
            growth with additive seasons, not robust, to the same answers but for rounding;  auto: a
            GPU where there is one and the model allows it, else cpu
    RuntimeError where that device, or torch, is missing.
    """

    def __init__(
        self, settings: ProphetSettings | None = None, *, device: str = PROCESSOR, **keywords: Any
    ) -> None:
        if not isinstance(settings, ProphetSettings | None):
            raise TypeError(
                f"FleetProphet was given {settings!r}: give ProphetSettings or keywords such as "
                f"growth='linear'; FleetProphet.like takes over a prophet.Prophet"
            )
        self.settings = replace(settings or ProphetSettings(), **keywords)
        self.device = device
        device_of(device)

    @classmethod
    def like(cls, model: Any, frame: Any = None, **keywords: Any) -> "FleetProphet":
        """Return one with the settings of a configured ``prophet.Prophet``.

        frame: a table with ``ds`` and the columns of its extra regressors, past and future
        """
        return cls(settings_of(model, frame), **keywords)

    def fit(
        self,
        time_s: ArrayLike,
        values: ArrayLike,
        *,
        cap: ArrayLike | None = None,
        floor: ArrayLike | None = None,
        warm: FleetFit | None = None,
    ) -> FleetFit:
        """Return the fit of values (S, T) at times (T,) of even spacing; NaN where missing.

        cap, floor: what logistic growth saturates at, in the values' unit; one for all or (S,)
        warm: an earlier fit of the same series: the search begins at its changes of rate (a GPU
              finds them anew)
        On a GPU the values may be a torch tensor, wherever it lies.
        time_s: seconds since the epoch, or datetime64 in UTC
        Data are read twice and never copied as a whole. No series raises: see ``status``.
        """
        times = as_times(time_s)
        design = make_design(self.settings, times)
        if self._on_torch(design):
            from detectors.forecast.prophet.on_torch.fit import fit_on  # noqa: PLC0415  # heavy

            return fit_on(self.device, self.settings, design, values)
        data = as_values(values)
        check_shape(data, times)
        bounds = bounds_of(self.settings.growth, len(data), cap, floor)
        if is_curved(design, self.settings.growth):
            found = fit_series(self.settings, design, data, bounds)._asdict()
            return replace(_blank(self.settings, design, data), **found)
        basis = whitened(design)
        moments = gather(data, basis.rows)
        fit = solved(self.settings, (design, basis), moments, warm=warm, values=data)
        return _with_newest(replace(fit, dtype=data.dtype), data)

    def _on_torch(self, design: Design) -> bool:
        """Say whether torch is to fit this; ValueError where it is told to and cannot."""
        refused = self.settings.robust or is_curved(design, self.settings.growth)
        if refused and self.device not in (PROCESSOR, AUTO):
            raise ValueError(
                f"device {self.device!r} fits linear and flat growth with additive seasons, not "
                f"robust; this model is another: give device cpu, or auto to use a GPU where it can"
            )
        return not refused and device_of(self.device) is not None


def _blank(settings: ProphetSettings, design: Design, data: Values) -> FleetFit:
    """Return what is known of the series before any model is fitted to them."""
    series = len(data)
    readings, constant = np.zeros(series, dtype=np.int64), np.zeros(series, dtype=bool)
    for start in range(0, series, _CHUNK):
        part = slice(start, start + _CHUNK)
        known = np.abs(data[part]) < LARGEST
        readings[part] = known.sum(axis=1)
        low = np.where(known, data[part], np.inf).min(axis=1)
        constant[part] = low == np.where(known, data[part], -np.inf).max(axis=1)
    few = readings < 2
    status = np.select([few, constant], [Status.TOO_SHORT, Status.CONSTANT], Status.FITTED)
    zero = np.zeros(series)
    return FleetFit(
        settings=settings,
        design=design,
        dtype=data.dtype,
        coefficients=np.empty((series, 0)),
        sigma=zero,
        loss=zero,
        floor=zero,
        scale=zero,
        cap=zero,
        status=status.astype(np.int8),
        readings=readings,
        rounds=np.zeros(series, dtype=np.int64),
        newest=data[:, -1].astype(np.float64),
        persistence=zero,
        residual=zero,
        moments=None,
        basis=None,
    )


def _with_newest(fit: FleetFit, values: Values) -> FleetFit:
    """Return the fit with the newest reading, and its residual's persistence where wanted."""
    newest = values[:, -1].astype(np.float64)
    if not fit.settings.ar:
        return replace(fit, newest=newest)
    lasting, residual = persistence(values, fit.design, fit.coefficients, (fit.floor, fit.scale))
    fitted = fit.status == Status.FITTED
    return replace(
        fit,
        newest=newest,
        persistence=np.where(fitted, lasting, 0.0),
        residual=np.where(fitted, residual, 0.0),
    )
