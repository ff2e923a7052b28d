"""Is a series spread differently than it used to be: lately against the long run.

Two decayed histograms of the readings by the series' own level and spread; the statistic is the
Cramer-von Mises distance between their distribution functions (half of Szekely's energy
distance). It sees what neither level nor prediction does: more spread, two modes instead of one, a
stuck value.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

Array = NDArray[Any]
BINS = 12
# z-scores at which bins end: about equal shares of a normal law, and its far ends.
WIDTH = 0.5
SCALE = 64.0  # brings the statistic to the range that ``rank`` resolves


def empty(series: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet: S rows each."""
    return {
        "lately": np.zeros((series, BINS), np.float32),
        "long": np.zeros((series, BINS), np.float32),
    }


def score(z: Array, state: dict[str, Array], *, short: float, memory: float) -> Array:
    """Return (S,) how far the last ``short`` readings are spread from the last ``memory``."""
    out = np.empty(len(z), np.float32)
    _score(z, state["lately"], state["long"], (1.0 / short, 1.0 / memory), out)
    return out


@compiled
def _score(z: Array, lately: Array, long: Array, settings: tuple[float, float], out: Array) -> None:
    quick, slow = np.float32(settings[0]), np.float32(settings[1])
    for i in range(len(z)):
        if not np.isfinite(z[i]):
            out[i] = np.nan
            continue
        below = np.float32(0.0)
        total = np.float32(0.0)
        for b in range(BINS):
            below += lately[i, b] - long[i, b]
            total += below * below
        out[i] = SCALE * total / BINS
        held = min(max(z[i] / WIDTH + 0.5 * BINS, 0.0), BINS - 1.0)
        at = int(held)
        for b in range(BINS):
            lately[i, b] -= quick * lately[i, b]
            long[i, b] -= slow * long[i, b]
        lately[i, at] += quick
        long[i, at] += slow
