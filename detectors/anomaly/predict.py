"""How badly a series' own recent past foretells a reading: autoregression, learned as it runs.

Recursive least squares with forgetting (Haykin, Adaptive Filter Theory, ch. 10) of order 8 on
readings by the series' own level and spread. The forgetting stops where a series gives nothing to
learn from (all lags nought), or the gain would grow without bound.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly.baseline import TO_SIGMA
from detectors.compiled import compiled

Array = NDArray[Any]
ORDER = 8
FORGET = 0.999  # a memory of a thousand readings, as the level's
HIGHEST_GAIN = 10.0
HELD_Z = 8.0  # readings further out teach as this


def empty(series: int) -> dict[str, Array]:
    """Return the memory of series that have not been seen yet: S rows each."""
    gain = np.zeros((series, ORDER, ORDER), np.float32)
    gain[:, range(ORDER), range(ORDER)] = 1.0
    weight = np.zeros((series, ORDER), np.float32)
    weight[:, 0] = 1.0  # until more is known, the next reading is the last one
    return {
        "gain": gain,
        "weight": weight,
        "lags": np.zeros((series, ORDER), np.float32),
        "spread": np.ones(series, np.float32),
    }


def score(z: Array, state: dict[str, Array], *, memory: float, clip: float) -> Array:
    """Return (S,) sigmas between z and what was foretold, from before it is learned."""
    out = np.empty(len(z), np.float32)
    arrays = (state["gain"], state["weight"], state["lags"], state["spread"])
    _score(z, arrays, (1.0 / memory, clip), out)
    return out


@compiled
def _score(z: Array, arrays: tuple[Array, ...], settings: tuple[float, float], out: Array) -> None:
    gain, weight, lags, spread = arrays
    share, clip = settings
    towards = np.empty(ORDER, np.float32)
    for i in range(len(z)):
        if not np.isfinite(z[i]):
            out[i] = np.nan
            continue
        x = min(max(z[i], np.float32(-HELD_Z)), np.float32(HELD_Z))
        lag, p = lags[i], gain[i]
        foretold = np.float32(0.0)
        for a in range(ORDER):
            foretold += weight[i, a] * lag[a]
        foretold = min(max(foretold, np.float32(-HELD_Z)), np.float32(HELD_Z))
        sigma = max(np.float32(TO_SIGMA) * spread[i], np.float32(0.05))
        out[i] = abs(z[i] - foretold) / sigma
        error = min(max(x - foretold, -np.float32(clip) * sigma), np.float32(clip) * sigma)
        spread[i] += np.float32(share) * (abs(error) - spread[i])
        _learn(p, weight[i], lag, error, towards)
        for a in range(ORDER - 1, 0, -1):
            lag[a] = lag[a - 1]
        lag[0] = x


@compiled
def _learn(p: Array, weight: Array, lag: Array, error: float, towards: Array) -> None:
    """Move the weights along the gain p and shrink p where the lags have taught it something."""
    divisor = np.float32(FORGET)
    trace = np.float32(0.0)
    for a in range(ORDER):
        total = np.float32(0.0)
        for b in range(ORDER):
            total += p[a, b] * lag[b]
        towards[a] = total
        divisor += total * lag[a]
        trace += p[a, a]
    grow = np.float32(1.0 / FORGET) if trace < HIGHEST_GAIN * ORDER else np.float32(1.0)
    for a in range(ORDER):
        step = towards[a] / divisor
        weight[a] += step * error
        for b in range(a, ORDER):
            moved = (p[a, b] - step * towards[b]) * grow
            p[a, b] = moved
            p[b, a] = moved
