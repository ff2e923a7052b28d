"""What forecasts that came due teach about the width of each series' interval.

A series that fell outside of its interval more often than stated gets a wider one, and the other
way round: adaptive conformal inference (Gibbs and Candes 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Floats, Forecast

# How fast missing widens: log half width for a share of misses that is wrong by one. Chosen on
# development series from 0, 0.3, 0.5, 0.8.
RATE = 0.5
NARROWEST, WIDEST = np.log(0.2), np.log(5.0)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What forecasts that came due have taught about each series' interval.

    targets: S entries; width: (S,) logarithm of the factor on the half widths
    """

    targets: tuple[Target, ...] = ()
    width: Floats = field(default_factory=lambda: np.zeros(0))

    def width_of(self, targets: Sequence[Target]) -> Floats:
        """Return (S,) for these targets; 0 for one not seen before."""
        if not self.targets:
            return np.zeros(len(targets))
        if tuple(targets) == self.targets:
            return self.width
        known = dict(zip(self.targets, self.width.tolist(), strict=True))
        return np.array([known.get(target, 0.0) for target in targets], dtype=np.float64)


def matured(
    learned: Learned, made: Forecast, time_s: Floats, value: NDArray[np.floating[Any]]
) -> Learned:
    """Score an earlier forecast against what came, and widen or narrow each series' interval.

    time_s: (T,); value: (S, T) of the forecast's targets in their order; what has come of the
    forecast so far counts. A series without a reading that came due keeps its width.
    """
    at = np.searchsorted(time_s, made.time_s - 1e-6)
    due = at < len(time_s)
    come = value[:, at[due]]
    known = np.isfinite(come) & np.isfinite(made.lower[:, due])
    missed = known & ((come < made.lower[:, due]) | (come > made.upper[:, due]))
    count = known.sum(axis=1)
    share = missed.sum(axis=1) / np.maximum(count, 1)
    excess = np.where(count > 0, share - (1 - made.coverage), 0.0)
    width = widened(learned.width_of(made.targets), excess)
    if learned.targets in ((), made.targets) or set(learned.targets) <= set(made.targets):
        return Learned(made.targets, width)
    every = dict(zip(learned.targets, learned.width.tolist(), strict=True))
    every |= dict(zip(made.targets, width.tolist(), strict=True))
    return Learned(tuple(every), np.array(list(every.values())))


def widened(width: Floats, excess: Floats) -> Floats:
    """Return (S,) log factors on half widths after misses, a share above what was stated."""
    return np.clip(width + RATE * excess, NARROWEST, WIDEST)
