"""What a user hands in, checked at the edge and said plainly where it cannot be used."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from core.types import Floats
from detectors.forecast.prophet.moments import Values

# The year 5138: no telemetry in seconds reaches it, and any of these decades in ms, us or ns does.
_LATEST_S = 1e11
_MOST_STEPS = 1_000_000  # ahead; two years of minutes


def as_times(time_s: ArrayLike) -> Floats:
    """Return (T,) seconds since the epoch; datetime64 is taken as UTC.

    ValueError unless there are two at least, evenly spaced and rising.
    """
    times = as_seconds(time_s)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"time_s has shape {times.shape}: give at least two times in one row")
    steps = np.diff(times)
    step_s = (times[-1] - times[0]) / (len(times) - 1)
    if not step_s > 0 or not np.allclose(steps, step_s, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"time_s is not an even, rising grid: steps run from {steps.min():g} to "
            f"{steps.max():g} s; put the series on one grid, with NaN where a reading is missing"
        )
    return times


def as_seconds(time_s: ArrayLike) -> Floats:
    """Return times as seconds since the epoch; ValueError where they are neither that nor dates."""
    given = np.asarray(time_s)
    if given.dtype.kind == "M":
        return np.asarray((given - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    if given.dtype.kind not in "iuf":
        raise ValueError(
            f"time_s holds {_what(given)}: give seconds since the epoch, or datetime64 in UTC "
            f"(of pandas: times.tz_convert(None))"
        )
    times = np.asarray(given, dtype=np.float64)
    if times.size and np.abs(times).max() > _LATEST_S:
        raise ValueError(
            f"time_s reaches {np.abs(times).max():.3g} s, thousands of years from now: give "
            f"seconds since the epoch, not milliseconds or nanoseconds"
        )
    return times


def as_values(values: ArrayLike) -> Values:
    """Return readings as they are where they are floats of 4 or 8 bytes, else as floats of 8."""
    if isinstance(values, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(values), np.nan, values.data)
    data = np.asarray(values)
    if data.dtype in (np.float32, np.float64):
        return data
    try:
        return data.astype(np.float64, casting="unsafe" if data.dtype.kind in "OUS" else "safe")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"values hold {_what(data)}: give numbers, NaN where a reading is missing ({error})"
        ) from None


def as_limits(limit: ArrayLike | None, series: int, *, name: str = "limit") -> Floats:
    """Return (S,) limits from one for all or one for each; NaN: none."""
    limits = np.asarray(limit, dtype=np.float64)
    if limits.shape not in ((), (series,)):
        raise ValueError(
            f"{name} has shape {limits.shape}: give one for all series, or ({series},)"
        )
    return np.broadcast_to(limits, (series,))


def steps_ahead(horizon_s: float, step_s: float) -> int:
    """Return how many whole steps a horizon holds; ValueError unless that is one at least."""
    if not (step_s > 0 and horizon_s > 0 and np.isfinite(horizon_s) and np.isfinite(step_s)):
        raise ValueError(
            f"a horizon of {horizon_s} s in steps of {step_s} s: give seconds above 0 for both"
        )
    steps = round(horizon_s / step_s)
    if not 1 <= steps <= _MOST_STEPS:
        raise ValueError(
            f"a horizon of {horizon_s} s holds {steps} steps of {step_s} s: choose both so that "
            f"there are 1 to {_MOST_STEPS:,}"
        )
    return steps


def check_coverage(coverage: float) -> None:
    """Raise ValueError unless it is a share of readings that an interval can hold."""
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}: give a share above 0 and below 1, such as 0.8")


def _what(given: "np.ndarray[Any, Any]") -> str:
    """Say what an array holds."""
    first = given.reshape(-1)[:1].tolist()
    return f"{type(first[0]).__name__}, such as {first[0]!r}" if first else f"{given.dtype}"
