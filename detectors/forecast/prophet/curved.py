"""Fits series whose model is curved: scaling as upstream does it, and the special cases."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from core.types import Floats, Ints
from detectors.forecast.prophet.curve import Curve, curve_at
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.gauss_newton import fit_curved
from detectors.forecast.prophet.inputs import as_limits
from detectors.forecast.prophet.moments import LARGEST
from detectors.forecast.prophet.settings import Growth, ProphetSettings

_PART = 512  # series held in double precision at once
_CONSTANT_SIGMA = 1e-9  # prophet's own
# A logistic curve cannot be level; one that rises by 1e-6 of a logit over the window is.
_LEVEL_RATE, _LEVEL_SHARE = 1e-6, 1e-6


class Bounds(NamedTuple):
    """Capacity and floor of logistic growth, (S,) each, in the readings' unit.

    None where growth is another, or no floor was given.
    """

    cap: Floats | None
    floor: Floats | None

    def rows(self, rows: slice) -> "Bounds":
        """Return those of some series."""
        return Bounds(*(None if bound is None else bound[rows] for bound in self))


class Curved(NamedTuple):
    """What a fit of the curved model finds; all but floor and scale of the scaled series."""

    coefficients: Floats  # (S, P + K)
    sigma: Floats  # (S,) and so on
    loss: Floats
    floor: Floats
    scale: Floats
    cap: Floats
    persistence: Floats
    residual: Floats


def bounds_of(
    growth: Growth, series: int, cap: ArrayLike | None, floor: ArrayLike | None
) -> Bounds:
    """Return the bounds of each series.

    ValueError where logistic growth has no capacity, or none above its floor, or where another
    growth is given one.
    """
    if growth != "logistic":
        if cap is not None or floor is not None:
            raise ValueError(f"{growth} growth has no bounds: leave cap and floor out")
        return Bounds(None, None)
    if cap is None:
        raise ValueError("logistic growth has no capacity: give cap, in the values' unit")
    caps = as_limits(cap, series, name="cap")
    floors = as_limits(0.0 if floor is None else floor, series, name="floor")
    usable = (caps > floors) & np.isfinite(caps) & np.isfinite(floors)
    if not usable.all():
        row = int(np.argmin(usable))
        raise ValueError(
            f"series {row} has the capacity {caps[row]:g} and the floor {floors[row]:g}: "
            "give a finite capacity above the floor"
        )
    return Bounds(caps, None if floor is None else floors)


def fit_series(
    settings: ProphetSettings,
    design: Design,
    data: np.ndarray[tuple[int, int], np.dtype[np.floating]],
    bounds: Bounds,
) -> Curved:
    """Return the fit of data (S, T), NaN where missing; NaN for fewer than two readings."""
    curve = curve_at(design, design.time_s, settings.growth)
    parts = [
        _fit_part(
            (settings, design, curve),
            data[start : start + _PART].astype(np.float64),
            bounds.rows(slice(start, start + _PART)),
        )
        for start in range(0, max(len(data), 1), _PART)
    ]
    return Curved(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _fit_part(
    model: tuple[ProphetSettings, Design, Curve], value: Floats, bounds: Bounds
) -> Curved:
    settings, design, curve = model
    value = np.where(np.abs(value) < LARGEST, value, np.nan)
    known = np.isfinite(value)
    enough = known.sum(axis=1) >= 2
    low = np.where(known, value, np.inf).min(axis=1)
    high = np.where(known, value, -np.inf).max(axis=1)
    low, high = np.where(enough, low, 0.0), np.where(enough, high, 0.0)
    floor, scale = _scaling(settings, low, high, bounds)
    series = len(value)
    cap = np.full(series, np.nan) if bounds.cap is None else (bounds.cap - floor) / scale
    out = Curved(
        coefficients=np.full((series, design.width), np.nan),
        sigma=np.full(series, np.nan),
        loss=np.full(series, np.nan),
        floor=floor,
        scale=scale,
        cap=cap,
        persistence=np.zeros(series),
        residual=np.zeros(series),
    )
    rows = np.flatnonzero(enough & (low < high))
    scaled = (value[rows] - floor[rows, None]) / scale[rows, None]
    found = fit_curved(design, curve, scaled, cap[rows])
    out.coefficients[rows], out.sigma[rows], out.loss[rows] = found
    if settings.ar:
        off = scaled - curve.value(found.theta, cap[rows])
        out.persistence[rows], out.residual[rows] = _persistence(off)
    _set_constant(out, np.flatnonzero(enough & (low == high)), low, design.offset_column)
    return out


def _scaling(
    settings: ProphetSettings, low: Floats, high: Floats, bounds: Bounds
) -> tuple[Floats, Floats]:
    """Return (floor, scale) of each series, as Prophet.initialize_scales has them."""
    by_range = settings.scaling == "minmax"
    if bounds.cap is not None and bounds.floor is not None:
        floor = bounds.floor
        largest = np.maximum(np.abs(low - floor), np.abs(high - floor))
        scale = bounds.cap - floor if by_range else largest
    elif by_range:
        floor, scale = low, high - low
    else:
        floor, scale = np.zeros_like(low), np.maximum(np.abs(low), np.abs(high))
    return floor, np.where(scale > 0, scale, 1.0)


def _persistence(off: Floats) -> tuple[Floats, Floats]:
    """Return (N,) lag-one autocorrelation, 0 to 1, and newest residual of residuals (N, T)."""
    newest = np.where(np.isfinite(off[:, -1]), off[:, -1], 0.0)
    off = np.where(np.isfinite(off), off, 0.0)
    square = np.einsum("nt,nt->n", off, off)
    lagged = np.einsum("nt,nt->n", off[:, 1:], off[:, :-1])
    lasting = np.divide(lagged, square, out=np.zeros(len(off)), where=square > 0)
    return np.clip(lasting, 0.0, 1.0), newest


def _set_constant(out: Curved, rows: Ints, level: Floats, offset_column: int) -> None:
    """Give series without any change their level and next to no noise."""
    scaled = (level[rows] - out.floor[rows]) / out.scale[rows]
    out.coefficients[rows] = 0.0
    out.sigma[rows] = _CONSTANT_SIGMA
    if np.isnan(out.cap[rows]).all():
        out.coefficients[rows, offset_column] = scaled
        return
    share = np.clip(scaled / out.cap[rows], _LEVEL_SHARE, 1 - _LEVEL_SHARE)
    out.coefficients[rows, 0] = _LEVEL_RATE
    out.coefficients[rows, 1] = -np.log(share / (1 - share)) / _LEVEL_RATE
