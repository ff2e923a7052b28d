"""Keep forecasts fresh: screen every series, give those at risk to Prophet in a worker."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import structlog

from agent.history import History
from agent.metrics import Metrics
from agent.view import ForecastView
from agent.workers import WorkerPool
from core.clock import Clock
from core.errors import WorkerFailed
from core.types import Breach, Ints, Window
from core.units import CATALOG
from detectors.forecast.forecaster import Fitted, SeriesForecast, task_of
from detectors.forecast.screen import screen

log = structlog.get_logger()

FIT = "detectors.forecast.fit:forecast"
# Series to a call: one that runs out of time or memory takes no more than these with it.
BATCH = 8
# Series looked at in one go: 8 h of readings of so many are 31 MB.
PART = 2048


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """What to forecast and how much work it may be.

    limits: metric -> limit, over the catalogue's own; a metric without one is not forecast
    min_probability: a less likely breach is shown but is no symptom
    max_fits: most series a refit gives to Prophet, the most urgent first
    """

    horizon_s: float
    coverage: float
    min_probability: float
    sustain_s: float
    max_fits: int
    span_s: float
    limits: Mapping[str, float]


@dataclass(slots=True)
class Forecasting:
    """Holds the newest forecasts; ``refit`` renews them beside the cycle."""

    history: History
    pool: WorkerPool
    settings: ForecastSettings
    metrics: Metrics
    clock: Clock
    views: tuple[ForecastView, ...] = ()
    _breaches: tuple[Breach, ...] = ()

    async def refit(self, now_s: float) -> None:
        """Forecast the series most at risk; a worker that fails loses its batch for this time."""
        views, breaches = [], []
        for window in await self._batches(now_s):
            for fitted in await self._fit(window):
                if isinstance(fitted, SeriesForecast):
                    views.append(view_of(fitted, window))
                    breach = fitted.breach(self.settings.min_probability)
                    breaches += [breach] if breach else []
        self.views = tuple(sorted(views, key=lambda view: -view.probability))
        self._breaches = tuple(breaches)
        self.metrics.foresaw(
            [view.forecast for view in views], shown=[view.metric for view in views]
        )

    def breaches(self, now_s: float) -> tuple[Breach, ...]:
        """Return the expected breaches whose horizon has not passed."""
        return tuple(b for b in self._breaches if now_s < b.made_at_s + b.horizon_s)

    def _metrics(self) -> tuple[str, ...]:
        return tuple(name for name in self.history.metrics() if not math.isnan(self._limit(name)))

    def _limit(self, metric: str) -> float:
        return self.settings.limits.get(metric, CATALOG[metric].limit)

    async def _batches(self, now_s: float) -> Sequence[Window]:
        """Share the fits among the metrics, the most urgent series of each first."""
        ranked = {metric: await self._at_risk(metric, now_s) for metric in self._metrics()}
        turns = zip_longest(
            *([(m, row) for row in range(len(w.targets))] for m, w in ranked.items())
        )
        order = [one for turn in turns for one in turn if one is not None]
        fits = Counter(metric for metric, _ in order[: self.settings.max_fits])
        return [
            rows_of(ranked[metric], range(start, min(start + BATCH, count)))
            for metric, count in fits.items()
            for start in range(0, count, BATCH)
        ]

    async def _at_risk(self, metric: str, now_s: float) -> Window:
        """Return the series of a metric that are worth a fit, the most urgent first.

        Part by part, and in a thread: hours of every series of a large cluster are neither in
        memory at once nor do they hold up the cycle and the page.
        """
        span_s, most = self.settings.span_s, self.settings.max_fits
        targets = self.history.targets(metric)
        found = []
        for start in range(0, len(targets), PART):
            part = self.history.window(
                metric,
                start_s=now_s - span_s,
                end_s=now_s,
                targets=targets[start : start + PART],
            )
            rows = await asyncio.to_thread(self._screen, part)
            found.append(rows_of(part, rows[:most].tolist()))
        if not found:
            return Window(metric, (), np.empty(0), np.empty((0, 0)))
        every = Window(
            metric,
            tuple(target for window in found for target in window.targets),
            found[0].time_s,
            np.concatenate([window.value for window in found]),
        )
        return rows_of(every, self._screen(every)[:most].tolist())

    def _screen(self, window: Window) -> Ints:
        limit, horizon_s = self._limit(window.metric), self.settings.horizon_s
        return screen(window, limit=limit, horizon_s=horizon_s)

    async def _fit(self, window: Window) -> tuple[Fitted, ...]:
        task = task_of(
            window,
            tuple(range(len(window.targets))),
            horizon_s=self.settings.horizon_s,
            limit=self._limit(window.metric),
            coverage=self.settings.coverage,
            sustain_s=self.settings.sustain_s,
        )
        try:
            fitted: tuple[Fitted, ...] = await self.pool.run(FIT, task)
        except WorkerFailed as error:
            self.metrics.workers_failed_total.labels(error.reason).inc()
            self.metrics.forecasts_total.labels("prophet", "failed").inc(len(window.targets))
            log.warning("forecast failed", metric=window.metric, problem=str(error))
            return ()
        for one in fitted:
            if isinstance(one, SeriesForecast):
                self.metrics.forecasts_total.labels(one.forecast.model[0], "made").inc()
            else:
                self.metrics.forecasts_total.labels("none", "too_short").inc()
        return fitted


def rows_of(window: Window, rows: Sequence[int]) -> Window:
    """Return some rows of a window, in the order given."""
    targets = tuple(window.targets[row] for row in rows)
    return Window(window.metric, targets, window.time_s, window.value[list(rows)])


def view_of(fitted: SeriesForecast, window: Window) -> ForecastView:
    """Put a forecast and the history it was made from side by side, for a plot."""
    target = fitted.forecast.targets[0]
    seen = fitted.crossing
    expected = seen is not None and math.isfinite(seen.expected_s)
    return ForecastView(
        target=target,
        metric=window.metric,
        unit=CATALOG[window.metric].unit,
        history_time_s=window.time_s,
        history_value=window.value[window.targets.index(target)],
        forecast=fitted.forecast,
        limit=fitted.limit,
        expected_s=seen.expected_s if seen is not None and expected else None,
        probability=seen.probability if seen is not None else math.nan,
    )
