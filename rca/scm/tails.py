"""How likely normal times are to show something as odd: counted, and beyond that by a tail."""

from dataclasses import dataclass, field

import numpy as np

from core.types import Floats, Ints
from rca.scm.scale import spread

LEAST_P = 1e-8  # nothing normal is known well enough to call anything rarer
TAIL = 0.1  # the largest share of normal residuals, to which the tail is fitted
_LEVELS = 24  # sizes kept of each variable's normal residuals, from the smallest to the tail's
_LEAST_EXCESS = 0.25  # scales; a normal distribution's own is 0.42 there
_HEAVIEST = 0.5  # shape of the tail; heavier ones have no variance
_LIGHT = 1e-3  # shape from where on the tail is no different from an exponential one
_MIN_ROWS = 10  # fewer normal windows say nothing beyond their own number


@dataclass(frozen=True, slots=True, eq=False)
class Tails:
    """What residuals of normal times look like, over windows of ``window`` rows.

    scale: (V,) of the windows' means, in the variable's unit
    share, size: (K,) and (V, K): that share of normal windows is at least so many scales off
    excess, shape: (V,) of the generalised Pareto tail beyond the last size; rows: (V,) windows
    """

    window: int
    scale: Floats
    share: Floats
    size: Floats
    excess: Floats
    shape: Floats
    rows: Ints

    def scaled(self, left: Floats) -> Floats:
        """(V,) return residuals in scales of normal windows."""
        return left / self.scale

    def p_value(self, odd: Floats) -> Floats:
        """(V,) chance of a normal window that is at least as odd; NaN where ``odd`` is.

        odd: (V,) in scales. Counted among the normal windows (a conformal p-value) up to their
        largest tenth, beyond that by its tail; never below LEAST_P.
        """
        away = np.abs(odd)
        row, last = np.arange(len(away)), len(self.share) - 1
        rank = np.maximum((self.size <= away[:, None]).sum(axis=1) - 1, 0)
        upper = np.minimum(rank + 1, last)
        low, high = self.size[row, rank], self.size[row, upper]
        part = np.clip((away - low) / np.where(high > low, high - low, np.inf), 0.0, 1.0)
        inside = self.share[rank] + part * (self.share[upper] - self.share[rank])
        chance = (inside * self.rows + 1) / (self.rows + 1)
        beyond = np.where(self.rows >= _MIN_ROWS, np.maximum(away - self.size[:, -1], 0.0), 0.0)
        bent = np.maximum(self.shape, _LIGHT)
        chance = chance * (1 + bent * beyond / self.excess) ** (-1 / bent)
        return np.asarray(np.where(np.isfinite(away), np.clip(chance, LEAST_P, 1.0), np.nan))


@dataclass(slots=True, eq=False)
class TailsMaker:
    """Collects the tails of V variables, some at a time.

    window: rows averaged, as many as the abnormal span will have
    """

    size: int
    window: int
    made: Tails = field(init=False)

    def __post_init__(self) -> None:
        self.made = Tails(
            window=self.window,
            scale=np.full(self.size, np.nan),
            share=np.linspace(1.0, TAIL, _LEVELS),
            size=np.zeros((self.size, _LEVELS)),
            excess=np.full(self.size, _LEAST_EXCESS),
            shape=np.zeros(self.size),
            rows=np.zeros(self.size, dtype=np.int64),
        )

    def add(self, variables: Ints, left: Floats, floor: Floats) -> None:
        """Learn from (n, T) normal residuals of n variables; floor: (n,) least scale of each."""
        made = self.made
        means = window_means(left, self.window)
        seen = spread(means)
        made.scale[variables] = np.fmax(seen.scale, floor)
        known = seen.count > 0
        at = variables[known]
        ordered = np.sort(np.abs(means[known]) / made.scale[at, None], axis=1)
        last = seen.count[known][:, None] - 1
        place = np.ceil(last * (1 - made.share)).astype(np.int64)
        made.size[at] = np.take_along_axis(ordered, place, axis=1)
        made.size[at, 0] = 0.0
        made.rows[at] = seen.count[known]
        column = np.arange(ordered.shape[1])
        largest = (column > place[:, -1:]) & (column <= last)
        over = np.where(largest, ordered - made.size[at, -1:], 0.0)
        made.excess[at], made.shape[at] = _pareto(over, largest.sum(axis=1))


def _pareto(over: Floats, count: Ints) -> tuple[Floats, Floats]:
    """Return (n,) scale and shape of a generalised Pareto tail by the moments of its excesses.

    A tail that ends somewhere (shape below 0) is taken as exponential.
    """
    mean = np.maximum(over.sum(axis=1) / np.maximum(count, 1), _LEAST_EXCESS)
    square = (over**2).sum(axis=1) / np.maximum(count, 1)
    ratio = mean**2 / np.maximum(square - mean**2, 1e-12)
    shape = np.clip(0.5 * (1 - ratio), 0.0, _HEAVIEST)
    return mean * (1 - shape), shape


def window_means(value: Floats, window: int) -> Floats:
    """(V, T - window + 1) mean of every ``window`` rows in a row without their NaN.

    Windows with no reading are NaN; fewer rows than ``window`` are one window.
    """
    if window <= 1 or value.shape[1] <= 1:
        return value
    window = min(window, value.shape[1])
    known = np.isfinite(value)
    total = _running(np.where(known, value, 0.0), window)
    count = _running(known.astype(np.float64), window)
    return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)


def _running(value: Floats, window: int) -> Floats:
    summed = np.cumsum(np.pad(value, ((0, 0), (1, 0))), axis=1)
    return np.asarray(summed[:, window:] - summed[:, :-window])
