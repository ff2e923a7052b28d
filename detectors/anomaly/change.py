"""Has the level of a series shifted for good: two-sided CUSUM (Page 1954) with a least effect.

    up   = max(0, up + z - allowance),   down likewise with -z

z is held to ``HELD_Z`` so that one wild reading is no shift. The allowance is half a sigma, or half
of the least effect where that is more: a shift by less than 10 % of the level is of no consequence,
however sure it is (FALCON, Megatron-LM's sniff test: 10 %).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

Array = NDArray[Any]
LEAST_EFFECT = 0.1
HELD_Z = 4.0
# Beyond this a shift is as sure as it gets; it bounds how long a past one is still told.
HIGHEST = 64.0


def empty(series: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet, (S,) each."""
    return {"up": np.zeros(series, np.float32), "down": np.zeros(series, np.float32)}


def score(z: Array, sigma: Array, level: Array, state: dict[str, Array]) -> Array:
    """Return (S,) the larger sum, in sigmas, with this reading in it; NaN where z is."""
    out = np.empty(len(z), np.float32)
    _score(z, sigma, level, (state["up"], state["down"]), out)
    return out


@compiled
def _score(z: Array, sigma: Array, level: Array, sums: tuple[Array, Array], out: Array) -> None:
    up, down = sums
    for i in range(len(z)):
        if not np.isfinite(z[i]):
            out[i] = np.nan
            continue
        held = min(max(z[i], -HELD_Z), HELD_Z)
        least = LEAST_EFFECT * abs(level[i]) / sigma[i]
        allowance = max(0.5, 0.5 * least)
        # A shift below the least effect must not add up: what the clip hides counts as beyond it.
        if abs(z[i]) >= HELD_Z and allowance > 0.5 * HELD_Z:
            allowance = 0.5 * HELD_Z if abs(z[i]) > least else HELD_Z
        up[i] = min(max(up[i] + held - allowance, 0.0), HIGHEST)
        down[i] = min(max(down[i] - held - allowance, 0.0), HIGHEST)
        out[i] = max(up[i], down[i])
