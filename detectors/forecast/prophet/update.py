"""New readings between two fits: added to the statistics, never looking at the old ones again.

A reading y at time t adds z(t) y to Z'y and y^2 to y'y: P + K operations. The design stays that of
the last whole fit: t runs a little beyond 1 and there is no new changepoint, so refit when the
window has moved by a few per cent; an hour of a day is 4 %.
"""

from dataclasses import replace

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.gram import Basis
from detectors.forecast.prophet.moments import LARGEST, Bits, Moments, Values
from detectors.forecast.prophet.product import gram


def extended_basis(design: Design, basis: Basis, time_s: Floats) -> tuple[Design, Basis]:
    """Return the design and its whitened rows with further times (N,) of the same grid.

    ValueError unless the first comes one step after the last known, and the rest follow evenly.
    """
    expected = design.time_s[-1] + design.step_s * np.arange(1, len(time_s) + 1)
    if time_s.ndim != 1 or not np.allclose(time_s, expected, rtol=0, atol=1e-3 * design.step_s):
        raise ValueError(
            f"new readings must follow the last one at {design.time_s[-1]:.0f} s in steps of "
            f"{design.step_s:g} s; put NaN where one is missing"
        )
    rows = design.rows(expected)
    rows[:, : basis.smooth] = rows[:, : basis.smooth] @ basis.whiten
    longer = replace(design, time_s=np.concatenate([design.time_s, expected]))
    further = replace(basis, rows=np.vstack([basis.rows, rows]), gram=basis.gram + gram(rows))
    return longer, further


def extended_moments(moments: Moments, basis: Basis, values: Values) -> Moments:
    """Return the statistics with values (S, N) at the last N rows of the basis."""
    length = len(basis.rows) - values.shape[1]
    new = np.asarray(values, dtype=np.float64)
    finite = np.abs(new) < LARGEST
    none = moments.readings == 0
    low = np.where(finite, new, np.inf).min(axis=1)
    high = np.where(finite, new, -np.inf).max(axis=1)
    any_new = finite.any(axis=1)
    low = np.where(any_new, np.where(none, low, np.minimum(low, moments.low)), moments.low)
    high = np.where(any_new, np.where(none, high, np.maximum(high, moments.high)), moments.high)
    moved = np.where(finite, new - moments.middle[:, np.newaxis], 0.0)
    gapped, present = _extended_masks(moments, finite, length)
    return Moments(
        middle=moments.middle,
        cross=moments.cross + np.einsum("sn,np->sp", moved, basis.rows[length:]),
        square=moments.square + np.einsum("ij,ij->i", moved, moved),
        readings=moments.readings + finite.sum(axis=1),
        low=low,
        high=high,
        gapped=gapped,
        present=present,
    )


def _extended_masks(
    moments: Moments, finite: np.ndarray[tuple[int, int], np.dtype[np.bool_]], length: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Bits]:
    """Return which series have gaps now, and their longer masks, packed."""
    gapped = np.union1d(np.flatnonzero(~finite.all(axis=1)), moments.gapped)
    old = np.ones((len(gapped), length), dtype=bool)
    known = np.searchsorted(gapped, moments.gapped)
    old[known] = np.unpackbits(moments.present, axis=1, count=length).astype(bool)
    return gapped, np.packbits(np.hstack([old, finite[gapped]]), axis=1)
