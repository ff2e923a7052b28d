"""Forecasts one series from a file: puts any times and values on a grid and says what it did."""

import math
from dataclasses import dataclass

import numpy as np

from agent.view import ForecastView
from agent.workers import WorkerPool
from core.errors import InputError
from core.target import Target
from core.types import Floats
from core.units import CATALOG, Bad
from detectors.forecast.forecaster import ForecastTask, SeriesForecast, TooLittleData

FIT = "detectors.forecast.fit:forecast"
# More grid points than this add nothing to a forecast: the step is widened instead.
MOST_POINTS = 100_000
# What pandas can date: 1684 to 2255.
LATEST_S = 9e9
# Squares of larger readings overflow.
LARGEST = 1e100


@dataclass(frozen=True, slots=True, eq=False)
class FileForecast:
    """The answer for one column; ``core.codec.to_json`` makes it JSON.

    readings:   usable ones, on a grid of ``step_s`` seconds
    crosses:    ``above`` or ``below``, the side of the limit that counts; "" without a limit
    probability, expected_s, earliest_s, latest_s: of the crossing within the horizon, its median
                and 80 % interval; None without a limit or where no path crosses
    skill:      1 - error / error of seasonal naive on the back-test
    notes:      what was done to the rows, and what the models said
    """

    name: str
    readings: int
    step_s: float
    made_at_s: float
    value: float
    horizon_s: float
    limit: float | None
    crosses: str
    probability: float | None
    expected_s: float | None
    earliest_s: float | None
    latest_s: float | None
    model: str
    skill: float
    coverage: float
    notes: tuple[str, ...]
    time_s: Floats
    mean: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tidied:
    """Rows on an even grid: time_s, value (T,), NaN where a grid point has no row."""

    time_s: Floats
    value: Floats
    notes: tuple[str, ...]


async def forecast_series(
    time_s: Floats,
    value: Floats,
    *,
    limit: float | None,
    horizon_s: float,
    pool: WorkerPool,
    name: str,
    coverage: float = 0.8,
    sustain_s: float = 60.0,
    bad: Bad | None = None,
) -> tuple[FileForecast, ForecastView]:
    """Forecast one series; the second value is for a plot.

    time_s, value: (N,) rows in any order, with NaN, gaps and duplicates as they come
    bad:           the side of the limit that counts; None: the one where few readings are
    InputError says what is missing; WorkerFailed where the fit itself went wrong.
    """
    rows = tidy(time_s, value, name=name)
    side = _side(rows.value, limit) if bad is None else bad
    known = CATALOG.get(name)
    task = ForecastTask(
        metric=name,
        targets=(Target(),),
        time_s=rows.time_s,
        value=rows.value[None],
        horizon_s=horizon_s,
        coverage=coverage,
        limit=math.nan if limit is None else limit,
        bad=side,
        low=known.low if known else -LARGEST,
        high=known.high if known else LARGEST,
        sustain_s=sustain_s,
    )
    (fitted,) = await pool.run(FIT, task)
    if isinstance(fitted, TooLittleData):
        raise InputError(
            f"Forecasting {name}: found {fitted.found} usable readings, need at least "
            f"{fitted.needed}. Give it a file with {fitted.needed - fitted.found} more."
        )
    return _answer(task, rows, fitted), _view(task, fitted)


def tidy(time_s: Floats, value: Floats, *, name: str) -> Tidied:
    """Sort rows, average those of one time, and lay them on a grid of their median spacing."""
    usable = np.isfinite(time_s) & np.isfinite(value) & (np.abs(value) <= LARGEST)
    notes = [_count(int((~usable).sum()), "row", "without a usable time or value passed over")]
    time_s, value = time_s[usable], value[usable]
    if time_s.size and np.abs(time_s).max() > LATEST_S:
        raise InputError(
            f"Forecasting {name}: found the time {time_s[np.abs(time_s).argmax()]:.0f} s, which is "
            "past the year 2255. Give times in seconds since the epoch, or as RFC 3339."
        )
    notes.append("rows were not in order of time: sorted" if (np.diff(time_s) < 0).any() else "")
    moments, place = np.unique(time_s, return_inverse=True)
    notes.append(_count(len(time_s) - len(moments), "row", "with a time seen before averaged"))
    if len(moments) < 2:
        return Tidied(moments, _means(place, value, len(moments)), _said(notes))
    span_s = float(moments[-1] - moments[0])
    step_s = max(float(np.median(np.diff(moments))), span_s / MOST_POINTS)
    points = round(span_s / step_s) + 1
    cell = np.rint((time_s - moments[0]) / step_s).astype(np.int64)
    gridded = _means(np.minimum(cell, points - 1), value, points)
    missing = int(np.isnan(gridded).sum())
    notes.append(_count(missing, "grid point", f"of {points} without a row left as a gap"))
    return Tidied(moments[0] + step_s * np.arange(points), gridded, _said(notes))


def _means(
    cell: np.ndarray[tuple[int, ...], np.dtype[np.int64]], value: Floats, size: int
) -> Floats:
    count = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=value, minlength=size)
    return np.asarray(np.divide(total, count, out=np.full(size, np.nan), where=count > 0))


def _count(number: int, noun: str, what: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'} {what}" if number else ""


def _said(notes: list[str]) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def _side(value: Floats, limit: float | None) -> Bad:
    """Take the side of the limit where fewer readings are for the bad one."""
    if limit is None or not np.isfinite(value).any():
        return Bad.HIGH
    return Bad.LOW if float(np.nanmedian(value)) > limit else Bad.HIGH


def _answer(task: ForecastTask, rows: Tidied, fitted: SeriesForecast) -> FileForecast:
    made, seen = fitted.forecast, fitted.crossing
    crossed = seen if seen is not None and seen.probability > 0 else None
    return FileForecast(
        name=task.metric,
        readings=int(np.isfinite(rows.value).sum()),
        step_s=float(rows.time_s[1] - rows.time_s[0]),
        made_at_s=made.made_at_s,
        value=fitted.value,
        horizon_s=task.horizon_s,
        limit=None if math.isnan(task.limit) else task.limit,
        crosses="" if seen is None else "below" if task.bad is Bad.LOW else "above",
        probability=None if seen is None else seen.probability,
        expected_s=None if crossed is None else crossed.expected_s,
        earliest_s=None if crossed is None else crossed.earliest_s,
        latest_s=None if crossed is None else crossed.latest_s,
        model=made.model[0],
        skill=float(made.skill[0]),
        coverage=made.coverage,
        notes=(*rows.notes, *fitted.notes),
        time_s=made.time_s,
        mean=made.mean[0],
        lower=made.lower[0],
        upper=made.upper[0],
    )


def _view(task: ForecastTask, fitted: SeriesForecast) -> ForecastView:
    seen = fitted.crossing
    crosses = seen is not None and seen.probability > 0
    return ForecastView(
        target=task.targets[0],
        metric=task.metric,
        unit=CATALOG[task.metric].unit if task.metric in CATALOG else "",
        history_time_s=task.time_s,
        history_value=task.value[0],
        forecast=fitted.forecast,
        limit=task.limit,
        expected_s=seen.expected_s if seen is not None and crosses else None,
        probability=seen.probability if seen is not None else math.nan,
    )
