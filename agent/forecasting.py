"""Keep forecasts fresh: every series with a limit, in chunks, in worker processes."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from agent.bands import Bands, thinned
from agent.forecast_table import CHUNK, FORECAST, Workers
from agent.history import History
from agent.leaders import led_by
from agent.memory import Memory
from agent.metrics import Metrics
from agent.pace import pace_of, paced, unpaced
from agent.recent import Recent, recent
from agent.view import ForecastView
from agent.warned import Warned
from agent.workers import CLOSED
from core.clock import Clock
from core.errors import WorkerFailed
from core.types import Breach, Floats, Forecast
from core.units import CATALOG
from detectors.forecast.task import FleetForecast, ForecastTask, Model

log = structlog.get_logger()

WARNED = "a warning is in force, by how it rises now; the curve is what mostly follows such a rise"

# Series whose forecast is kept for the page, those most at risk; each is 15 kB with its history.
MOST_VIEWS = 200
# So many series are forecast at every refit, in some four CPU-seconds; more than that every hour,
# and in between the ones that are shown.
ALWAYS = 4096
EVERY_S = 3600.0
# Names of what is kept in the memory file.
WARNINGS, WIDTHS = "warnings", "widths"
# A view looks back so many times as far as ahead.
VIEW_BACK = 4.0


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """What to forecast, by which model, and what of it is worth a warning.

    min_probability: a less likely crossing is shown but is no symptom
    false_alarms_per_day: the budget of each series; cluster_...: of all together
    span_s:  how far back a forecast looks
    limits:  metric -> limit, over the catalogue's own; a metric without one is not forecast
    at_once: chunks of series that are worked on beside each other
    """

    horizon_s: float
    coverage: float
    min_probability: float
    false_alarms_per_day: float
    cluster_false_alarms_per_day: float
    sustain_s: float
    model: Model
    span_s: float
    limits: Mapping[str, float]
    at_once: int = 1


@dataclass(slots=True)
class Forecasting:
    """Holds the newest forecasts; ``refit`` renews them beside the cycle.

    expect: who holds readings against the newest bands of every series
    """

    history: History
    pool: Workers
    settings: ForecastSettings
    metrics: Metrics
    clock: Clock
    expect: Callable[[Mapping[str, Forecast]], None] = lambda bands: None
    warned: Warned = field(default_factory=Warned)
    bands: Bands = field(default_factory=Bands)
    views: tuple[ForecastView, ...] = ()
    _all_at_s: float = -math.inf
    _skill: Mapping[str, float] = field(default_factory=dict)

    async def refit(self, now_s: float) -> None:
        """Look at every series that has a limit, and forecast those whose turn it is.

        A warning needs no forecast, so all are looked at each time. All are forecast each time in a
        small cluster; in a large one every hour, and in between those that are shown.
        A worker that fails loses its chunk this time.
        """
        found, metrics = _Found(), self._metrics()
        series = sum(len(self.history.targets(metric)) for metric in metrics)
        every = series <= ALWAYS or not 0 <= now_s - self._all_at_s < EVERY_S
        shown = {(view.metric, view.target) for view in self.views}
        self.warned.begin(now_s, self.settings)
        for metric in metrics:
            seen = await recent(self.history, metric, now_s=now_s, span_s=self.settings.span_s)
            limit = self._limit(metric)
            led = led_by(self.history, metric, seen, limit=limit)
            await self.warned.look(metric, seen, limit, led=led)
            widening = await asyncio.to_thread(self.bands.mature, metric, seen)
            wanted: Sequence[int] = range(len(seen.targets))
            if not every:
                wanted = [row for row in wanted if (metric, seen.targets[row]) in shown]
            tasks = self._tasks(metric, seen, wanted, widening)
            # All of them take from one iterator: no more chunks than are worked on are in memory.
            workers = (self._work(tasks, found) for _ in range(self.settings.at_once))
            await asyncio.gather(*workers)
        warned = {(each.metric, each.target): each for each in self.breaches(now_s)}
        views = (_as_warned(view, warned.get((view.metric, view.target))) for view in found.views)
        self.views = tuple(sorted(views, key=_risk))
        if every:
            self._all_at_s, self._skill = now_s, found.skill()
            self.expect(self.bands.renew(found.bands))
        self.metrics.foresaw([view.forecast for view in self.views], self._skill)
        for outcome, count in self.warned.end().items():
            self.metrics.warnings_scored_total.labels(outcome).inc(count)

    def memory(self) -> Memory:
        """Return what is to outlive the process."""
        return {WARNINGS: self.warned.state(), WIDTHS: self.bands.state()}

    def remember(self, memory: Memory) -> None:
        """Take up what ``memory`` returned; what does not fit is said and lost."""
        kept: Mapping[str, Warned | Bands] = {WARNINGS: self.warned, WIDTHS: self.bands}
        for name, part in kept.items():
            if state := memory.get(name):
                try:
                    part.restore(state)
                except (ValueError, KeyError, IndexError) as error:
                    log.warning("what was learned is lost", part=name, problem=str(error))

    def breaches(self, now_s: float) -> tuple[Breach, ...]:
        """Return the warnings in force whose horizon has not passed."""
        return self.warned.standing(now_s)

    def _metrics(self) -> tuple[str, ...]:
        return tuple(name for name in self.history.metrics() if not math.isnan(self._limit(name)))

    def _limit(self, metric: str) -> float:
        return self.settings.limits.get(metric, CATALOG[metric].limit)

    def _tasks(
        self, metric: str, seen: Recent, wanted: Sequence[int], widening: Floats
    ) -> Iterator[ForecastTask]:
        """Divide the rows of a metric that are wanted into what one call of a worker takes."""
        known, size = CATALOG[metric], CHUNK[self.settings.model]
        for start in range(0, len(wanted) if len(seen.time_s) > 1 else 0, size):
            rows = np.array(wanted[start : start + size])
            yield ForecastTask(
                metric=metric,
                targets=tuple(seen.targets[row] for row in rows),
                time_s=seen.time_s,
                value=seen.value[rows],
                horizon_s=self.settings.horizon_s,
                coverage=self.settings.coverage,
                limit=self._limit(metric),
                bad=known.bad,
                low=known.low,
                high=known.high,
                sustain_s=self.settings.sustain_s,
                model=self.settings.model,
                widening=widening[rows],
            )

    async def _work(self, tasks: Iterator[ForecastTask], found: "_Found") -> None:
        pace = pace_of(self.settings.horizon_s, self.settings.model)
        for task in tasks:
            try:
                answer: FleetForecast = await self.pool.run(FORECAST, paced(task, pace))
            except WorkerFailed as error:
                if error.reason == CLOSED:  # the controller is ending
                    return
                self.metrics.workers_failed_total.labels(error.reason).inc()
                self._count("failed", len(task.targets))
                log.warning("forecast failed", metric=task.metric, problem=str(error))
                continue
            made = np.array([model != "" for model in answer.forecast.model], bool)
            self._count("made", int(made.sum()))
            self._count("too_short", int((~made).sum()))
            found.take(task, unpaced(answer, pace))

    def _count(self, outcome: str, series: int) -> None:
        self.metrics.forecasts_total.labels(self.settings.model, outcome).inc(series)


class _Found:
    """What one refit has found so far; of the forecasts those most at risk are kept."""

    def __init__(self) -> None:
        self.views: list[ForecastView] = []
        self.bands: dict[str, list[Forecast]] = {}
        self._skill: dict[str, list[Floats]] = {}

    def take(self, task: ForecastTask, answer: FleetForecast) -> None:
        """Note one chunk's answer."""
        self._skill.setdefault(task.metric, []).append(answer.forecast.skill)
        self.bands.setdefault(task.metric, []).append(thinned(answer.forecast))
        rows = at_risk(answer)[:MOST_VIEWS].tolist()
        self.views = sorted(
            [*self.views, *(view_of(answer, row, task) for row in rows)], key=_risk
        )[:MOST_VIEWS]

    def skill(self) -> Mapping[str, float]:
        """Return the median skill of each metric's series, NaN where none was scored."""
        return {metric: _median(parts) for metric, parts in self._skill.items()}


def at_risk(answer: FleetForecast) -> Floats:
    """Return the rows that have a forecast, the likeliest and soonest to cross first."""
    probability = np.nan_to_num(answer.crossings.probability, nan=-1.0)
    expected_s = np.nan_to_num(answer.crossings.expected_s, nan=np.inf)
    order = np.lexsort((expected_s, -probability))
    made = np.array([model != "" for model in answer.forecast.model], bool)
    return np.asarray(order[made[order]])


def view_of(answer: FleetForecast, row: int, task: ForecastTask) -> ForecastView:
    """Put a forecast and the history it was made from side by side, for a plot."""
    made, seen = answer.forecast, answer.crossings
    probability, expected_s = float(seen.probability[row]), float(seen.expected_s[row])
    crosses = probability > 0 and math.isfinite(expected_s)
    one = slice(row, row + 1)
    ahead_s = float(made.time_s[-1]) - made.made_at_s
    shown = task.time_s >= made.made_at_s - VIEW_BACK * ahead_s
    return ForecastView(
        target=made.targets[row],
        metric=made.metric,
        unit=CATALOG[made.metric].unit,
        history_time_s=task.time_s[shown],
        history_value=task.value[row, shown].astype(np.float64),
        forecast=Forecast(
            metric=made.metric,
            targets=made.targets[one],
            made_at_s=made.made_at_s,
            time_s=made.time_s,
            mean=made.mean[one].copy(),
            lower=made.lower[one].copy(),
            upper=made.upper[one].copy(),
            coverage=made.coverage,
            model=made.model[one],
            skill=made.skill[one].copy(),
        ),
        limit=float(np.broadcast_to(answer.limit, len(made.targets))[row]),
        expected_s=expected_s if crosses else None,
        probability=probability,
        notes=answer.notes.get(row, ()),
    )


def _as_warned(view: ForecastView, warning: Breach | None) -> ForecastView:
    """Date a crossing as a surer warning in force does: the two do not contradict each other.

    A warning goes by the rise of the last minutes, a forecast by what mostly came of such rises.
    """
    if warning is None or view.probability >= warning.probability:
        return view
    expected_s = warning.expected_s if math.isfinite(warning.expected_s) else view.expected_s
    return replace(
        view,
        expected_s=expected_s,
        probability=warning.probability,
        notes=(*view.notes, WARNED),
    )


def _risk(view: ForecastView) -> tuple[float, float]:
    probability = view.probability if math.isfinite(view.probability) else -1.0
    return -probability, math.inf if view.expected_s is None else view.expected_s


def _median(parts: Sequence[Floats]) -> float:
    scored = np.concatenate([part[np.isfinite(part)] for part in parts])
    return float(np.median(scored)) if scored.size else math.nan
