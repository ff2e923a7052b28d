"""Readings at any time onto the regular grid, all series at once, and none that cannot be true."""

import math
from dataclasses import dataclass

import numpy as np

from core.ports import Query
from core.types import Floats, Ints
from core.units import CATALOG

NEARLY = 1e-4  # of a step: what float division and millisecond time stamps may be off by


@dataclass(frozen=True, slots=True)
class Grid:
    """``count`` points ``k * step_s``, from ``first`` on."""

    first: int
    count: int
    step_s: float

    @classmethod
    def of(cls, query: Query) -> "Grid":
        """Return the grid a query asks for; no points where it ends before it starts."""
        first = math.ceil(query.start_s / query.step_s - NEARLY)
        last = math.floor(query.end_s / query.step_s + NEARLY)
        return cls(first, max(0, last - first + 1), query.step_s)

    @property
    def time_s(self) -> Floats:
        """Return the (count,) points."""
        return np.arange(self.first, self.first + self.count, dtype=np.float64) * self.step_s

    @property
    def start_s(self) -> float:
        """Return the first point."""
        return self.first * self.step_s

    @property
    def end_s(self) -> float:
        """Return the last point."""
        return (self.first + self.count - 1) * self.step_s

    def parts(self, count: int) -> list["Grid"]:
        """Return the grid cut into pieces of at most ``count`` points, in order."""
        end = self.first + self.count
        return [
            Grid(first, min(count, end - first), self.step_s)
            for first in range(self.first, end, max(1, count))
        ]


def align(grid: Grid, series: Ints, time_s: Floats, value: Floats, *, rows: int) -> Floats:
    """Return (rows, grid.count) with each reading at the grid point at or after it.

    series, time_s, value: (N,) in any order; ``series`` is the row a reading belongs to

    "At or after", so that no column ever knows something from later than its own time. Where
    several readings fall on one point the newest stands, and of equal times the last given. NaN is
    no reading and hides none. A point without a reading is NaN: nothing is carried forward.
    """
    out = np.full((rows, grid.count), np.nan)
    with np.errstate(invalid="ignore"):
        position = np.ceil(time_s / grid.step_s - NEARLY) - grid.first
    kept = (position >= 0) & (position < grid.count) & ~np.isnan(value)
    series, time_s, value = series[kept], time_s[kept], value[kept]
    cell = series * grid.count + position[kept].astype(np.int64)
    if not _in_order(series, time_s):
        order = np.lexsort((time_s, series))
        cell, value = cell[order], value[order]
    last = np.append(cell[1:] != cell[:-1], True)[: len(cell)]
    out.reshape(-1)[cell[last]] = value[last]
    return out


def _in_order(series: Ints, time_s: Floats) -> bool:
    """Say whether readings come series by series and oldest first, as an honest server's do."""
    further = np.diff(series)
    return bool(((further > 0) | ((further == 0) & (np.diff(time_s) >= 0))).all())


@dataclass(frozen=True, slots=True, eq=False)
class Sifted:
    """Readings with NaN for those that cannot be, and how many there were of each kind."""

    value: Floats
    not_finite: int
    implausible: int
    example: float


def sift(metric: str, value: Floats) -> Sifted:
    """Return a copy without NaN's cousins: infinities and what lies outside the metric's range.

    The range is the catalogue's (``low``, ``high``); a metric it does not have may be any number.
    """
    finite = np.isfinite(value)
    known = CATALOG.get(metric)
    low, high = (known.low, known.high) if known else (-math.inf, math.inf)
    with np.errstate(invalid="ignore"):
        outside = finite & ~((value >= low) & (value <= high))
    example = float(value[outside][0]) if outside.any() else math.nan
    clean = np.where(finite & ~outside, value, np.nan)
    return Sifted(clean, int((~finite).sum()), int(outside.sum()), example)
