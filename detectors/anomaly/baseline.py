"""What is ordinary for each series: a slow level and spread that outliers move by a bounded amount.

    x -> z = (x - level) / sigma,   then level += a r,  spread += a (|r| - spread)

with r the residual, held to ``clip`` sigmas, and a = max(1 / readings so far, 1 / memory). A series
that stays beyond the clip on one side for ``adopt`` readings running has changed its regime: the
level moves there and both are learned afresh. So one wild reading changes little, and a new regime
is anomalous for a bounded time only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled

Array = NDArray[Any]
# Mean absolute deviation of a normal law times this is its standard deviation: sqrt(pi / 2).
TO_SIGMA = 1.2533141
# Readings from which a level and a spread are taken as they are, before residuals are held back.
YOUNG = 16


def empty(series: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet, (S,) each."""
    return {
        "count": np.zeros(series, np.int32),
        "level": np.zeros(series, np.float32),
        "spread": np.zeros(series, np.float32),
        "beyond": np.zeros(series, np.int16),
    }


def standardise(
    value: Array, state: dict[str, Array], *, memory: float, clip: float, adopt: int, least: float
) -> tuple[Array, Array]:
    """Return z (S,) and sigma (S,) from before the readings are learned; NaN where value is.

    value:  (S,) readings, NaN: none
    memory: readings; clip: sigmas, infinity learns from everything; adopt: readings running
    least:  of a sigma, in the readings' unit
    """
    z, sigma = np.empty((2, len(value)), np.float32)
    arrays = (state["count"], state["level"], state["spread"], state["beyond"])
    _standardise(value, arrays, (1.0 / memory, clip, adopt, least), z, sigma)
    return z, sigma


@compiled
def _standardise(
    value: Array,
    arrays: tuple[Array, ...],
    settings: tuple[float, float, int, float],
    z: Array,
    sigma: Array,
) -> None:
    count, level, spread, beyond = arrays
    slow, clip, adopt, least = settings
    for i in range(len(value)):
        x = np.float64(value[i])
        if not np.isfinite(x):
            z[i] = np.nan
            sigma[i] = np.nan
            continue
        if count[i] == 0:
            level[i] = x
        residual = x - level[i]
        # A series that hardly ever moves: a thousandth of its level is no news, nor is rounding.
        now = max(TO_SIGMA * spread[i], 1e-3 * abs(level[i]), least)
        sigma[i] = now
        z[i] = min(max(residual / now, -1e6), 1e6)
        beyond[i] = _run(beyond[i], z[i], clip)
        count[i] = min(count[i] + 1, 1 << 30)
        if abs(beyond[i]) >= adopt:
            level[i], count[i], beyond[i] = x, YOUNG // 2, 0
            continue
        if count[i] > YOUNG:
            residual = min(max(residual, -clip * now), clip * now)
        share = max(1.0 / count[i], slow)
        level[i] += share * residual
        spread[i] += share * (abs(residual) - spread[i])


@compiled
def _run(run: int, z: float, clip: float) -> int:
    """Count readings running beyond the clip: above as positive, below as negative."""
    if z > clip:
        return max(run, 0) + 1
    if z < -clip:
        return min(run, 0) - 1
    return 0
