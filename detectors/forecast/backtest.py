"""Replays the recent past: what would each model have said, and how far off was it."""

from collections.abc import Sequence

import numpy as np

from core.types import Floats
from detectors.forecast.forecaster import PathModel, Series

DRAWS = 50
# A forecast is tested on at most a quarter of what it has learnt from.
TEST_SHARE = 0.25
MAX_ORIGINS = 3
MIN_TEST_STEPS = 2


def origins(length: int, horizon: int) -> tuple[int, tuple[int, ...]]:
    """Return how many steps a test spans and after how many readings each begins, newest first.

    length: readings of the present regime; horizon: steps the forecast itself will look ahead
    """
    span = max(MIN_TEST_STEPS, min(horizon, int(length * TEST_SHARE)))
    count = min(MAX_ORIGINS, max(1, length // span - 2))
    return span, tuple(range(1, count + 1))


def errors(models: Sequence[PathModel], series: Series, *, length: int, horizon: int) -> Floats:
    """Return (M,) the mean absolute error of each model's median over all origins.

    NaN where no test has a reading to compare with.
    """
    span, back = origins(length, horizon)
    total, count = np.zeros(len(models)), 0
    for index in back:
        end = len(series.value) - index * span
        past, actual = series.until(end), series.value[end : end + span]
        known = np.isfinite(actual)
        if not known.any() or not np.isfinite(past.value).any():
            continue
        ahead_s = series.time_s[end : end + span]
        for row, model in enumerate(models):
            median = _median(model, past, ahead_s)
            total[row] += np.abs(median - actual)[known].sum()
        count += int(known.sum())
    return total / count if count else np.full(len(models), np.nan)


def skill(error: float, baseline: float) -> float:
    """Return 1 - error / baseline; 0 where both are no more than rounding."""
    if not (np.isfinite(error) and np.isfinite(baseline)):
        return float("nan")
    tiny = np.finfo(np.float64).tiny
    if baseline <= tiny:
        return 0.0 if error <= tiny else -np.inf
    return 1 - error / baseline


def _median(model: PathModel, past: Series, ahead_s: Floats) -> Floats:
    # The same draws for each model and origin: chance must not decide which is better.
    rng = np.random.default_rng(0)
    return np.asarray(np.median(model.paths(past, ahead_s, draws=DRAWS, rng=rng), axis=0))
