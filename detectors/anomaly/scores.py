"""All scorers over one reading of every series: what each knows, and the surprise they agree on.

reading (S,) -> baseline -> far, foretold, shift, drift, band  -> rank -> surprise (S,)

Each score is taken before the reading is learned. Times are in readings: at 15 s, 2,000 are 8 h.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import alarm, band, baseline, change, drift, predict, rank

Array = NDArray[Any]
Memory = dict[str, dict[str, Array]]
# In the order of the rank's counts: the names of the detectors that anomalies carry.
SCORERS = ("anomaly", "anomaly", "shift", "drift", "band")
# Measured on generated series and MSCM, not on NAB (docs/anomalies.md): memories of 1,000 to 4,000
# readings and clips of 3 to 10 sigmas differ by less than 3 points of the benchmark's score.
LONG, MEDIUM, SHORT = 2000.0, 1000.0, 60.0
CLIP, ERROR_CLIP = 5.0, 3.0
LARGEST = 1e30  # of a reading: levels are kept in 4 bytes, where 3e38 ends
ADOPT = 240  # readings running on one side, after which that is the regime: an hour at 15 s


def empty(series: int) -> Memory:
    """Return the memory of series that have not been seen yet: plain arrays of S rows."""
    return {
        "baseline": baseline.empty(series),
        "predict": predict.empty(series),
        "change": change.empty(series),
        "drift": drift.empty(series),
        "rank": rank.empty(series, len(SCORERS)),
        "alarm": alarm.empty(series),
    }


def take(memory: Memory, rows: Array) -> Memory:
    """Return the memory of these rows, in this order; -1 is a series that is new."""
    fresh = empty(len(rows))
    old = rows >= 0
    for part, arrays in fresh.items():
        for name, array in arrays.items():
            array[old] = memory[part][name][rows[old]]
    return fresh


def surprise(
    value: Array,
    memory: Memory,
    *,
    bands: tuple[Array, Array] | None = None,
    held: Array | None = None,
    learn_anomalies: bool = False,
    least_sigma: float = 1e-9,
) -> tuple[Array, Array]:
    """Return (S,) surprise in decades of rarity and the scorer that said most; then learn.

    value: (S,) readings, NaN or beyond ``LARGEST``: none
    bands: the forecast's lower and upper (S,) for this time
    held:  (S,) series whose scores are not ranked among the ordinary ones: they are anomalous
    least_sigma: a series that never moves is taken to move by so much, in its own unit
    learn_anomalies: level, spread and prediction learn from every reading in full; else what is
                     beyond their clip teaches as much as the clip, so that no anomaly is learned
                     as ordinary faster than a regime's ``ADOPT`` readings
    """
    value = np.where(np.abs(value) < LARGEST, np.asarray(value, np.float64), np.nan)
    clip = np.inf if learn_anomalies else CLIP
    error_clip = np.inf if learn_anomalies else ERROR_CLIP
    level = memory["baseline"]["level"]
    z, sigma = baseline.standardise(
        value, memory["baseline"], memory=LONG, clip=clip, adopt=ADOPT, least=least_sigma
    )
    scores = np.full((len(SCORERS), len(value)), np.nan, np.float32)
    scores[0] = np.abs(z)
    scores[1] = predict.score(z, memory["predict"], memory=MEDIUM, clip=error_clip)
    scores[2] = change.score(z, sigma, level, memory["change"])
    scores[3] = drift.score(z, memory["drift"], short=SHORT, memory=LONG)
    if bands is not None:
        scores[4] = band.score(value, *bands)
    nobody = np.zeros(len(value), np.bool_)
    return rank.surprise(scores, memory["rank"], nobody if held is None else held)


def flat(memory: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
    """Return the memory as one mapping, part.name -> array."""
    return {f"{part}.{name}": a for part, arrays in memory.items() for name, a in arrays.items()}
