"""How likely normal times are to show something as odd: counted as far as they go, then a tail."""

from dataclasses import dataclass, field

import numpy as np

from core.types import Floats, Ints
from rca.scm.design import Bools
from rca.scm.scale import spread

LEAST_P = 1e-8  # nothing normal is known well enough to call anything rarer
_LEVELS = 32  # sizes kept of each variable's normal residuals
_TAIL = 0.1  # the largest share of them, whose mean excess sets the tail beyond the largest
_LEAST_EXCESS = 0.25  # sigmas; a normal distribution's own is 0.45 there
_MIN_ROWS = 10  # fewer normal windows say nothing beyond their own number


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """What residuals of normal times look like, over windows of ``window`` rows.

    centre, scale: (V,) of the windows' means, in the variable's unit
    share, size: (K,) and (V, K): that share of normal windows is at least so many scales off
    excess:  (V,) mean excess of the largest, in scales; rows: (V,) normal windows
    """

    window: int
    share: Floats
    scale: Floats
    size: Floats
    excess: Floats
    rows: Ints

    def scaled(self, left: Floats) -> Floats:
        """(V,) return residuals in scales of normal windows."""
        return left / self.scale

    def p_value(self, odd: Floats) -> Floats:
        """(V,) chance of a normal window that is at least as odd; NaN where ``odd`` is.

        odd: (V,) in scales. Interpolated between the kept sizes (a conformal p-value: never below
        1 / (rows + 1) there), beyond the largest an exponential tail, at least LEAST_P.
        """
        away = np.abs(odd)
        rank = np.maximum((self.size <= away[:, None]).sum(axis=1) - 1, 0)
        log_share = np.log(self.share)
        upper = np.minimum(rank + 1, len(self.share) - 1)
        row = np.arange(len(away))
        low, high = self.size[row, rank], self.size[row, upper]
        part = np.clip((away - low) / np.where(high > low, high - low, np.inf), 0.0, 1.0)
        inside = np.exp(log_share[rank] + part * (log_share[upper] - log_share[rank]))
        counted = (inside * self.rows + 1) / (self.rows + 1)
        beyond = np.where(self.rows >= _MIN_ROWS, np.maximum(away - self.size[:, -1], 0.0), 0.0)
        tail = counted * np.exp(-np.minimum(beyond / self.excess, 100.0))
        return np.asarray(np.where(np.isfinite(away), np.clip(tail, LEAST_P, 1.0), np.nan))


@dataclass(slots=True, eq=False)
class TailsMaker:
    """Collects the tails of V variables, some at a time.

    rows: normal rows in all; window: rows averaged, as many as the abnormal span will have
    """

    size: int
    rows: int
    window: int
    made: Tails = field(init=False)

    def __post_init__(self) -> None:
        share = np.geomspace(1.0, 1.0 / max(2, self.rows), _LEVELS)
        self.made = Tails(
            window=self.window,
            share=share,
            scale=np.full(self.size, np.nan),
            size=np.full((self.size, _LEVELS), np.inf),
            excess=np.full(self.size, _LEAST_EXCESS),
            rows=np.zeros(self.size, dtype=np.int64),
        )

    def add(self, variables: Ints, left: Floats, floor: Floats) -> None:
        """Learn from (n, T) normal residuals of n variables; floor: (n,) least scale of each."""
        means = window_means(left, self.window)
        seen = spread(means)
        scale = np.fmax(seen.scale, floor)
        ordered = np.sort(np.abs(means) / scale[:, None], axis=1)
        last = np.maximum(seen.count - 1, 0)[:, None]
        place = np.ceil(last * (1 - self.made.share)).astype(np.int64)
        size = np.take_along_axis(ordered, place, axis=1)
        size[:, 0] = 0.0
        beyond = np.floor(last * (1 - _TAIL)).astype(np.int64)
        start = np.take_along_axis(ordered, beyond, axis=1)
        inside = np.arange(ordered.shape[1]) <= last
        over = np.where(inside, np.maximum(ordered - start, 0.0), 0.0).sum(axis=1)
        excess = over / np.maximum(last - beyond, 1)[:, 0]
        known = seen.count > 0
        at = variables[known]
        self.made.scale[variables] = scale
        self.made.size[at] = size[known]
        self.made.excess[at] = np.maximum(excess[known], _LEAST_EXCESS)
        self.made.rows[at] = seen.count[known]


def window_means(value: Floats, window: int) -> Floats:
    """(V, T - window + 1) mean of every ``window`` rows in a row without their NaN.

    Windows with no reading are NaN; fewer rows than ``window`` are one window.
    """
    if window <= 1 or value.shape[1] <= 1:
        return value
    window = min(window, value.shape[1])
    known: Bools = np.isfinite(value)
    total = _running(np.where(known, value, 0.0), window)
    count = _running(known.astype(np.float64), window)
    return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)


def _running(value: Floats, window: int) -> Floats:
    summed = np.cumsum(np.pad(value, ((0, 0), (1, 0))), axis=1)
    return np.asarray(summed[:, window:] - summed[:, :-window])
