"""The warnings in force, and how they keep to the user's budget of false alarms."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from agent.even_grid import Values
from agent.pace import pace_of, unpaced_breach
from agent.recent import Recent
from core.target import Target
from core.types import Breach, Floats, Forecast
from core.units import CATALOG
from detectors.detector import Array
from detectors.forecast.leading import Led
from detectors.forecast.raised import Outcomes
from detectors.forecast.task import Crossings, FleetForecast, Model
from detectors.forecast.warning import Warnings, Watch

DAY_S = 86_400.0
# The newest reading is among so many, or the series is not judged.
FRESH = 15
# The quiet series of a fleet would let the threshold sink until noise fills the budget, so what is
# learned may only raise it.
LEAST_SHIFT = 0.0


class _Wanted(Protocol):
    """What of the settings of forecasts a warning goes by."""

    @property
    def horizon_s(self) -> float: ...
    @property
    def model(self) -> Model: ...
    @property
    def false_alarms_per_day(self) -> float: ...
    @property
    def cluster_false_alarms_per_day(self) -> float: ...
    @property
    def min_probability(self) -> float: ...


@dataclass(slots=True)
class Warned:
    """Asks ``Warnings`` metric by metric; all it holds is on the clock of ``agent.pace``."""

    _warnings: Warnings = field(default_factory=Warnings)
    _pace: float = 1.0
    _least: float = 0.0
    _most_a_day: float = 0.0
    _last_s: float | None = None
    _series_days: float = 0.0
    _counted: Outcomes = field(default_factory=Outcomes)
    _days: float = 0.0
    # A look runs in a thread: the cycle sees what held after the last one.
    _held: tuple[Breach, ...] = ()

    def begin(self, now_s: float, wanted: _Wanted) -> None:
        """Start a round of looks: take the settings and the time since the last round."""
        pace = pace_of(wanted.horizon_s, wanted.model)
        if pace != self._pace:
            # What was raised on another clock cannot be scored on this one.
            self._warnings, self._held = Warnings(), ()
        self._pace, self._least = pace, wanted.min_probability
        self._most_a_day = wanted.cluster_false_alarms_per_day
        self._warnings.budget = wanted.false_alarms_per_day
        since_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        self._last_s, self._days = now_s, since_s / DAY_S
        self._counted, self._series_days = Outcomes(), 0.0

    async def look(
        self, metric: str, seen: Recent, limit: float, *, led: Led | None = None
    ) -> None:
        """Score a metric's warnings whose time is over, and raise and take back others.

        led: what leads these series, where that is known
        Cost: 20 us a series, in a thread.
        """
        self._series_days += self._days * len(seen.targets)
        if len(seen.time_s) > 1:
            await asyncio.to_thread(self._look, metric, seen, limit, led)
            self._held = self._warnings.standing

    def _look(self, metric: str, seen: Recent, limit: float, led: Led | None) -> None:
        known, time_s = CATALOG[metric], seen.time_s * self._pace
        with np.errstate(invalid="ignore"):
            wrong = (seen.value < known.low) | (seen.value > known.high)
        value = np.where(wrong, np.float32(np.nan), seen.value) if wrong.any() else seen.value
        self._counted += self._warnings.score(metric, seen.targets, time_s, value, known.bad)
        now = _standing(metric, seen.targets, time_s, value, limit=limit)
        self._warnings.look(Watch(now, value, float(time_s[1] - time_s[0]), led))

    def end(self) -> Mapping[str, int]:
        """Move the threshold by what was counted in this round, and return the counts by name.

        A budget a series of 0.1 would be 6,000 false alarms a day on 60,000 series, so the cluster
        has its own. The threshold begins where the series' budget puts it, for most series of a
        fleet are quiet, and each false alarm beyond the cluster's raises it.
        """
        self._held = self._warnings.standing
        allowed = self._most_a_day * self._days / self._warnings.budget
        self._warnings.keep_budget(self._counted, min(self._series_days, allowed))
        self._warnings.shift = max(LEAST_SHIFT, self._warnings.shift)
        return {part.name: getattr(self._counted, part.name) for part in fields(self._counted)}

    def standing(self, now_s: float) -> tuple[Breach, ...]:
        """Return the warnings that hold: likely enough, and with a horizon that is not over."""
        held = (unpaced_breach(breach, self._pace) for breach in self._held)
        return tuple(
            breach
            for breach in held
            if breach.probability >= self._least and now_s < breach.made_at_s + breach.horizon_s
        )

    def state(self) -> Mapping[str, Array]:
        """Return what is to outlive the process, as plain arrays."""
        return {**self._warnings.state(), "pace": np.array([self._pace])}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        self._warnings.restore(state)
        self._pace, self._held = float(state["pace"][0]), self._warnings.standing


def _standing(
    metric: str, targets: tuple[Target, ...], time_s: Floats, value: Values, *, limit: float
) -> FleetForecast:
    """Return where series stand, without a forecast: a warning goes by the readings alone."""
    series = len(targets)
    recent = value[:, -FRESH:]
    known = np.isfinite(recent)
    at = recent.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    none, unknown = np.empty((series, 0)), np.full(series, np.nan)
    return FleetForecast(
        forecast=Forecast(
            metric=metric,
            targets=targets,
            made_at_s=float(time_s[-1]),
            time_s=np.empty(0),
            mean=none,
            lower=none,
            upper=none,
            coverage=np.nan,
            model=("",) * series,
            skill=unknown,
        ),
        value=recent[np.arange(series), at].astype(np.float64),
        readings=np.zeros(series, np.int64),
        needed=0,
        limit=np.full(series, limit),
        bad=CATALOG[metric].bad,
        crossings=Crossings(unknown, unknown, unknown, unknown),
    )
