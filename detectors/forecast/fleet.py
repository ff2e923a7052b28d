"""The shipped forecaster: for all series of a task, a weighted pool with calibrated intervals.

Readings -> back-test of every member -> weights per series -> mean -> half widths -> crossings.
Everything is recomputed from the window; what only time can teach is the task's ``widening``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Forecast, Ints
from detectors.forecast.averages import mean_of, spread_of
from detectors.forecast.backtest import BackTest, back_test
from detectors.forecast.combine import class_of, combined, shipped, tilt
from detectors.forecast.conformal import error_at, half_widths, scales, youth
from detectors.forecast.crossing import Ahead, crossings, standing
from detectors.forecast.grid import ahead, clean, thinned
from detectors.forecast.members import DAY_AGO, DAY_S, LAST, NAMES, expected
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.prophet.settings import ProphetSettings
from detectors.forecast.task import Crossings, FleetForecast, ForecastTask, Model
from detectors.forecast.warning import Watch, with_sudden

# The least that is forecast: most of half an hour, and enough readings for a median at any step.
MIN_SPAN_S = 1800.0
MIN_SHARE = 0.8
MIN_READINGS = 6
# Series worked through at once: members x series x leads stay within a few tens of megabytes.
CHUNK = 512
# Points that fleet Prophet alone is fitted to.
PROPHET_POINTS = 1440
# Two whole days tell a daily pattern from a trend; with less, naive is the last value.
MIN_DAYS = 2.0
NAIVE_NAMES = {LAST: "last value", DAY_AGO: "seasonal naive"}
# A back-test of a few origins says little of one series: across development series its skill and
# the next forecast's had next to nothing in common (slope 0.0 to 0.3). So it is drawn to what is
# usual, as if so many further origins had shown that: 0.10 to 0.22 were the means of five data
# sets, and giving way to naive on this basis cost them 0.7 % of error at most (on none of the
# further origins: up to 18 %).
USUAL_SKILL = 0.15
USUAL_ORIGINS = 12


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What is known of some series: the parts of an answer, each of S rows."""

    mean: Floats
    lower: Floats
    upper: Floats
    model: NDArray[np.str_]
    skill: Floats
    notes: dict[int, tuple[str, ...]]


def forecast(task: ForecastTask) -> FleetForecast:
    """Forecast every series of a task, and note whose crossings nothing can foresee.

    A series with under half an hour of readings is not forecast. Cost: under 1 CPU-ms a series.
    """
    value = clean(task.value, low=task.low, high=task.high)
    step_s = float(np.median(np.diff(task.time_s)))
    if task.model is Model.PROPHET:
        # Facebook's package is heavy and seldom asked for.
        from detectors.forecast.prophet.reference import forecast_reference  # noqa: PLC0415

        answer = forecast_reference(task)
    else:
        answer = _forecast(task, value, step_s)
    return with_sudden(Watch(answer, value, step_s))


def _forecast(task: ForecastTask, value: Floats, step_s: float) -> FleetForecast:
    """Forecast the series that have enough readings, some hundred at a time."""
    needed = needed_readings(step_s)
    readings = np.isfinite(value).sum(axis=1)
    rows = np.flatnonzero(readings >= needed)
    time_s = ahead(float(task.time_s[-1]), step_s=step_s, horizon_s=task.horizon_s)
    widening = np.broadcast_to(np.asarray(task.widening, np.float64), (len(task.targets),))
    made = _empty(task, time_s)
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        if task.model is Model.FLEET_PROPHET:
            _put(made, part, _prophet_rows(task, value[part], time_s), task)
        else:
            _put(made, part, _pool_rows(task, value[part], time_s, widening[part]), task)
    return _answer(task, value, made, time_s, readings=readings, needed=needed)


def needed_readings(step_s: float) -> int:
    """Return how many usable readings a series needs to be forecast."""
    return max(MIN_READINGS, round(MIN_SHARE * MIN_SPAN_S / step_s))


def _pool_rows(task: ForecastTask, value: Floats, time_s: Floats, widening: Floats) -> _Rows:
    """Combine the members for (S, T) readings."""
    step_s = float(np.median(np.diff(task.time_s)))
    lead_s = time_s - task.time_s[-1]
    trained = shipped(class_of(task.metric))
    spread = spread_of(value)
    test = back_test(value, step_s, task.horizon_s)
    tilted = tilt(test, trained.weight_at(test.lead_s), spread)
    weight, tested = (
        tilted.weights(trained.weight_at(lead), lead) for lead in (lead_s, test.lead_s)
    )
    judged = _judge(test, tested, whole_days=len(task.time_s) * step_s / DAY_S)
    alone = np.eye(len(NAMES))[judged.naive[judged.worse]][:, None]
    weight[judged.worse], tested[judged.worse] = alone, alone
    each = expected(value, step_s, lead_s)
    mean = combined(each, weight)
    apart = _apart(each, weight, mean)
    young = youth(value, step_s, lead_s)
    error = error_at(test, tested, lead_s, spread) * young
    scale = scales(value, step_s, error=error, apart=apart, spread=spread[:, None] * young)
    half = half_widths(trained.width_at(lead_s), scale, widening=widening, coverage=task.coverage)
    naive = np.array([NAIVE_NAMES[int(one)] for one in judged.naive])
    return _Rows(
        mean=mean,
        lower=mean - half[0],
        upper=mean + half[1],
        model=np.where(judged.worse, naive, Model.POOL.value),
        skill=np.where(judged.worse, 0.0, judged.skill),
        notes={
            int(row): (
                f"on {len(test.actual)} earlier origins the error of {naive[row]} was "
                f"{1 + judged.tested[row]:.2f} times the pool's: it is shown instead",
            )
            for row in np.flatnonzero(judged.worse)
        },
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """How the combination did on earlier origins, each (S,).

    naive:  index of the naive member it is held against
    tested: 1 - error / naive's where it was better, naive's / error - 1 where it was worse; NaN
            where nothing was tested
    skill:  the same, drawn to what is usual of other series; where it is below 0, naive answers
    """

    naive: Ints
    tested: Floats
    skill: Floats

    @property
    def worse(self) -> NDArray[np.bool_]:
        """Say where naive is to answer."""
        return self.skill < 0


def _judge(test: BackTest, weight: Floats, *, whole_days: float) -> _Judged:
    """Hold the combination under weights (S, L, M) against the better naive forecast."""
    series = len(weight)
    naive = np.full(series, LAST)
    if not len(test.actual):
        return _Judged(naive, np.full(series, np.nan), np.full(series, np.nan))
    own = np.stack([combined(one, weight) for one in test.expected])
    own_error, last, day = (
        mean_of(np.abs(made - test.actual), axis=2)
        for made in (own, test.expected[:, LAST], test.expected[:, DAY_AGO])
    )
    if whole_days >= MIN_DAYS:
        naive = np.where(mean_of(day, axis=0) < mean_of(last, axis=0), DAY_AGO, LAST)
    error = np.where(naive == LAST, last, day)
    count = np.isfinite(own_error + error).sum(axis=0)
    ours = mean_of(np.where(np.isfinite(error), own_error, np.nan), axis=0)
    theirs = mean_of(np.where(np.isfinite(own_error), error, np.nan), axis=0)
    larger = np.maximum(ours, theirs)
    gained = np.divide(theirs - ours, larger, out=np.zeros(series), where=larger > 0)
    tested = np.where(count > 0, gained, np.nan)
    skill = (count * tested + USUAL_ORIGINS * USUAL_SKILL) / (count + USUAL_ORIGINS)
    return _Judged(naive, tested, skill)


def _apart(each: Floats, weight: Floats, mean: Floats) -> Floats:
    """Return (S, H) the weighted distance of the members from their combination."""
    away = np.abs(each - mean)
    return combined(away, weight)


def _prophet_rows(task: ForecastTask, value: Floats, time_s: Floats) -> _Rows:
    """Forecast (S, T) readings by fleet Prophet alone."""
    coarse_s, points = thinned(task.time_s, value, PROPHET_POINTS)
    fit = FleetProphet(ProphetSettings(ar=True)).fit(coarse_s, points)
    step_s = task.horizon_s / len(time_s)
    made = fit.predict(time_s[-1] - coarse_s[-1], step_s, coverage=task.coverage)
    mean, lower, upper = (
        _at(time_s, made.time_s, np.asarray(one, np.float64))
        for one in (made.mean, made.lower, made.upper)
    )
    series = len(value)
    return _Rows(
        mean=mean,
        lower=lower,
        upper=upper,
        model=np.full(series, Model.FLEET_PROPHET.value),
        skill=np.full(series, np.nan),
        notes={},
    )


def _at(time_s: Floats, known_s: Floats, value: Floats) -> Floats:
    """Return (S, H) values between (S, N) known ones."""
    right = np.clip(np.searchsorted(known_s, time_s), 1, len(known_s) - 1)
    share = (time_s - known_s[right - 1]) / (known_s[right] - known_s[right - 1])
    return value[:, right - 1] * (1 - share) + value[:, right] * share


def _empty(task: ForecastTask, time_s: Floats) -> _Rows:
    """Return an answer of nothing for all series of a task."""
    series = len(task.targets)
    mean, lower, upper = (np.full((series, len(time_s)), np.nan) for _ in range(3))
    none = np.full(series, "", dtype="U16")
    return _Rows(mean, lower, upper, none, np.full(series, np.nan), {})


def _put(made: _Rows, rows: Ints, part: _Rows, task: ForecastTask) -> None:
    """Write the answer for some series into the answer for all, within what is plausible."""
    for name in ("mean", "lower", "upper"):
        getattr(made, name)[rows] = np.clip(getattr(part, name), task.low, task.high)
    made.model[rows], made.skill[rows] = part.model, part.skill
    made.notes.update({int(rows[row]): notes for row, notes in part.notes.items()})


def _answer(
    task: ForecastTask, value: Floats, made: _Rows, time_s: Floats, *, readings: Ints, needed: int
) -> FleetForecast:
    """Put the answer together: newest readings, and when limits are crossed."""
    now = _newest(value)
    limit = np.broadcast_to(np.asarray(task.limit, dtype=np.float64), (len(now),)).copy()
    now_s = float(task.time_s[-1])
    return FleetForecast(
        forecast=Forecast(
            metric=task.metric,
            targets=task.targets,
            made_at_s=now_s,
            time_s=time_s,
            mean=made.mean,
            lower=made.lower,
            upper=made.upper,
            coverage=task.coverage,
            model=tuple(map(str, made.model)),
            skill=made.skill,
        ),
        value=now,
        readings=readings,
        needed=needed,
        limit=limit,
        bad=task.bad,
        crossings=_crossings(
            task,
            value,
            limit,
            Ahead(now_s, now, time_s, made.mean, made.lower, made.upper, task.coverage),
        ),
        notes=made.notes,
    )


def _crossings(task: ForecastTask, value: Floats, limit: Floats, ahead_: Ahead) -> Crossings:
    """Return when limits are crossed; a series that is beyond its limit already has crossed."""
    found = crossings(ahead_, limit, bad=task.bad, sustain_s=task.sustain_s)
    since = standing(task.time_s, value, limit, bad=task.bad, sustain_s=task.sustain_s)
    begun = np.isfinite(since) & np.isfinite(found.probability)
    return Crossings(
        probability=np.where(begun, 1.0, found.probability),
        expected_s=np.where(begun, since, found.expected_s),
        earliest_s=np.where(begun, since, found.earliest_s),
        latest_s=np.where(begun, since, found.latest_s),
    )


def _newest(value: Floats) -> Floats:
    """Return (S,) the newest reading of each row; NaN where there is none."""
    known = np.isfinite(value)
    newest = value.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    return np.asarray(value[np.arange(len(value)), newest])
