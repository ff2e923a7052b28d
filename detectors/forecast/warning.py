"""Early warnings: which series to warn of, once each, and what became of every warning.

readings and forecasts -> Watch (one a metric) -> Warnings.look -> breaches
what was read since    -> Warnings.score -> right, late and false

A series is judged by ``risk``: what lines through spans of 20 minutes to 8 hours agree on and how
the present rise has gone since it began, against what the series is known to do. The time of the
crossing comes from the line of the present rise, corrected by how such lines erred. What is known
to lead a metric is judged beside it (``leading``). A sudden step cannot be foreseen from one
series: ``sudden`` says which series' past crossings came that way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.target import Target, TargetKind
from core.types import Breach, Floats, Severity
from core.units import Bad
from detectors.forecast.evidence import (
    AHEAD_S,
    cleanness,
    evidence,
    time_to_limit,
)
from detectors.forecast.leading import Led
from detectors.forecast.raised import Outcomes, Raised, from_arrays, to_arrays
from detectors.forecast.risk import Risk, probability, shipped, threshold_of_costs
from detectors.forecast.task import FleetForecast

MODEL = "lines"
# A warning has to come half an hour ahead to be of use; what comes later is urgent.
URGENT_S = 1800.0
SURE = 0.9
# A warning holds for two hours and is not repeated while it does.
HOLDS_S = 7200.0
# A standing warning is taken back when its urgency falls this far below the threshold.
HYSTERESIS = 1.0
# Warnings whose outcome is open: more than this many at once tell a reader nothing.
MOST = 10_000
# Readings a series needs: most of half an hour.
NEEDED_S = 0.8 * 1800.0
# Rows judged at once, so that their readings stay in the processor's cache.
CHUNK = 4096
# How far one false alarm beyond the budget moves the threshold, and how far all of them may.
STEP = 0.05
STEPS_BACK, STEPS_ON = -0.5, 3.0
SUDDEN = "its past crossings were sudden steps, which nothing foresees from one series alone"
# A crossing was sudden when half of the way that lay ahead an hour before it still lay ahead ten
# minutes before it; a straight ramp would have covered five sixths.
SUDDEN_S, USUAL_S = 600.0, 3600.0
SUDDEN_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """Series of one metric as they stand, with their forecast.

    value: (S, T) readings on an even grid of ``step_s`` up to the forecast's ``made_at_s``; NaN for
    gaps; 12 hours are looked at where there are as many, most of half an hour is needed
    led: what leads these series, where it is known: a series is warned of by either
    """

    forecast: FleetForecast
    value: NDArray[np.floating[Any]]
    step_s: float
    led: Led | None = None

    def judged(self, risk: Risk) -> Floats:
        """Return (3, S) log odds of a crossing within two hours, seconds until then, cleanness.

        NaN: no limit, beyond it already, not read of late, or too little data
        """
        seen, series = self.forecast, len(self.value)
        if seen.bad is Bad.NEITHER:
            return np.full((3, series), np.nan)
        side = -1.0 if seen.bad is Bad.LOW else 1.0
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero(side * (seen.value - seen.limit) < 0)
        own = self._judge(risk, (self.value, seen.limit, seen.bad), rows)
        if self.led is not None:
            rows = rows[np.isfinite(self.led.limit[rows])]
            cause = self._judge(risk, (self.led.value, self.led.limit, Bad.HIGH), rows)
            with np.errstate(invalid="ignore"):
                more = ~(risk.urgency(*own) >= risk.urgency(*cause))
            more &= np.isfinite(cause[0])
            own = np.where(more, cause, own)
        return own

    def _judge(
        self,
        risk: Risk,
        series: tuple[NDArray[np.floating[Any]], Floats, Bad],
        rows: NDArray[np.int64],
    ) -> Floats:
        value, limit, bad = series
        found = np.full((3, len(value)), np.nan)
        needed = NEEDED_S / self.step_s
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            features = evidence(value[part], limit[part], step_s=self.step_s, bad=bad)
            known = np.isfinite(value[part]).sum(axis=1) >= needed
            found[0, part] = np.where(known, risk.trees.score(features), np.nan)
            found[1, part] = risk.middle * time_to_limit(features)
            found[2, part] = cleanness(features)
        return found


@dataclass(slots=True)
class Warnings:
    """Raises, holds back, takes back and scores warnings.

    budget: false alarms a series and day that the user puts up with
    costs:  of a false alarm and of an unforeseen crossing: used instead of a budget
    shift:  what ``keep_budget`` has learned to add to the threshold
    """

    budget: float = 0.1
    costs: tuple[float, float] | None = None
    risk: Risk = field(default_factory=shipped)
    shift: float = 0.0
    outcomes: Outcomes = field(default_factory=Outcomes)
    _open: dict[tuple[str, Target], Raised] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """Return the urgency to warn at; with costs the log odds."""
        if self.costs is not None:
            return threshold_of_costs(*self.costs)
        return self.risk.threshold_of(self.budget) + self.shift

    @property
    def standing(self) -> tuple[Breach, ...]:
        """Return the warnings that hold, oldest first."""
        return tuple(each.breach for each in self._open.values() if not each.cleared)

    def look(self, watch: Watch) -> tuple[Breach, ...]:
        """Raise and take back warnings of one metric; return all of its that hold.

        A series beyond its limit, or whose last warning is not over, gets none; of series with the
        same cause (``cause``) only the surest is warned of. Cost: 20 us a series.
        """
        made = watch.forecast.forecast
        log_odds, left_s, clean = watch.judged(self.risk)
        urgency = log_odds if self.costs else self.risk.urgency(log_odds, left_s, clean)
        self._take_back(made.metric, made.targets, urgency)
        wanted = np.flatnonzero(urgency >= self.threshold)
        wanted = wanted[np.argsort(-urgency[wanted], kind="stable")]
        causes = {cause(target) for metric, target in self._open if metric == made.metric}
        for row in wanted:
            target = made.targets[row]
            if cause(target) in causes or len(self._open) >= MOST:
                continue
            causes.add(cause(target))
            breach = _breach(watch, int(row), float(log_odds[row]), float(left_s[row]), self.risk)
            self._open[made.metric, target] = Raised(breach)
        return tuple(breach for breach in self.standing if breach.metric == made.metric)

    def score(
        self,
        metric: str,
        targets: tuple[Target, ...],
        time_s: Floats,
        value: NDArray[np.floating[Any]],
        bad: Bad,
    ) -> Outcomes:
        """Count what became of warnings whose limit was crossed, or whose two hours are over.

        time_s: (T,) and value: (S, T) as read, from two hours back on
        Returns what was counted now. A series that is not read at its warning's end counts as
        nothing: its outcome is unknown.
        """
        counted, now_s = Outcomes(), float(time_s[-1])
        rows = self._rows(metric, targets)
        for name, each in list(self._open.items()):
            if name[0] != metric:
                continue
            row = rows.get(name[1])
            after_s = np.inf
            if row is not None:
                after_s = _crossed_after(each.breach, time_s, value[row], bad)
            if now_s < each.breach.made_at_s + HOLDS_S and not np.isfinite(after_s):
                continue
            del self._open[name]
            if row is not None and np.isfinite(value[row]).any():
                counted += _outcome(after_s)
        self.outcomes += counted
        return counted

    def keep_budget(self, counted: Outcomes, series_days: float) -> None:
        """Move the threshold so that false alarms keep to the budget on these series.

        counted: what ``score`` returned; series_days: days watched since the last call, summed over
        series. A stochastic approximation (Robbins and Monro 1951): each false alarm beyond the
        budget raises the threshold by 0.05, and the lack of them lowers it, by 0.5 at most.
        """
        beyond = counted.false - self.budget * series_days
        self.shift = float(np.clip(self.shift + STEP * beyond, STEPS_BACK, STEPS_ON))

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the open warnings, the outcomes and the shift as plain arrays."""
        counts = self.outcomes
        return {
            **to_arrays(list(self._open.values())),
            "outcomes": np.array([counts.right, counts.late, counts.false], dtype=np.int64),
            "shift": np.array([self.shift]),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        raised = from_arrays(state)
        self._open = {(each.breach.metric, each.breach.target): each for each in raised}
        self.outcomes = Outcomes(*(int(count) for count in state["outcomes"]))
        self.shift = float(state["shift"][0])

    def _take_back(self, metric: str, targets: tuple[Target, ...], urgency: Floats) -> None:
        rows = self._rows(metric, targets)
        for target, row in rows.items():
            each = self._open[metric, target]
            if urgency[row] < self.threshold - HYSTERESIS:
                self._open[metric, target] = replace(each, cleared=True)

    def _rows(self, metric: str, targets: tuple[Target, ...]) -> dict[Target, int]:
        """Return the rows of targets with open warnings; nothing is searched where none is open."""
        own = {target for name, target in self._open if name == metric}
        if not own:
            return {}
        return {target: row for row, target in enumerate(targets) if target in own}


def cause(target: Target) -> Target:
    """Return what series of one metric that rise together have in common: a job or a node.

    Two volumes, ports or switches are never the same cause.
    """
    if target.kind not in (TargetKind.RANK, TargetKind.GPU):
        return target
    return Target(job=target.job) if target.job else Target(node=target.node or target.gpu)


def sudden(
    value: NDArray[np.floating[Any]], limit: float | Floats, *, step_s: float, bad: Bad
) -> NDArray[np.bool_]:
    """Return (S,) whether most crossings in these readings (S, T) came as sudden steps.

    Only crossings after an hour of readings within the limit are looked at; False without any.
    """
    series = len(value)
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), (series,))
    hour, just = max(2, round(USUAL_S / step_s)), max(1, round(SUDDEN_S / step_s))
    # Few series were ever beyond their limit; only their readings are gone through.
    extreme = np.fmin.reduce(value, axis=1) if bad is Bad.LOW else np.fmax.reduce(value, axis=1)
    side = -1.0 if bad is Bad.LOW else 1.0
    rows = np.flatnonzero(side * (extreme - limits) >= 0)
    room = side * (limits[rows, None] - value[rows])
    beyond = room <= 0
    counted = np.cumsum(np.pad(beyond, ((0, 0), (1, 0))), axis=1)
    row, column = np.nonzero(beyond)
    row, column = row[column >= hour], column[column >= hour]
    quiet = counted[row, column] == counted[row, column - hour]
    row, column = row[quiet], column[quiet]
    left, whole = room[row, column - just], room[row, column - hour]
    steps = np.bincount(row[left >= SUDDEN_SHARE * whole], minlength=len(rows))
    ramps = np.bincount(row[left < SUDDEN_SHARE * whole], minlength=len(rows))
    found = np.zeros(series, dtype=bool)
    found[rows] = steps > ramps
    return found


def with_sudden(watch: Watch) -> FleetForecast:
    """Return the forecast with a note on each series whose crossings cannot be foreseen."""
    seen = watch.forecast
    rows = sudden(watch.value, seen.limit, step_s=watch.step_s, bad=seen.bad)
    notes = dict(seen.notes)
    for row in np.flatnonzero(rows):
        notes[int(row)] = (*notes.get(int(row), ()), SUDDEN)
    return replace(seen, notes=notes)


def _breach(watch: Watch, row: int, log_odds: float, left_s: float, risk: Risk) -> Breach:
    seen, made = watch.forecast, watch.forecast.forecast
    chance = float(probability(np.array(log_odds)))
    middle_s = left_s if np.isfinite(left_s) else AHEAD_S
    spread = np.array([risk.early, risk.middle, risk.late]) / risk.middle
    early_s, expected_s, late_s = np.minimum(spread * middle_s, AHEAD_S)
    urgent = chance >= SURE and expected_s <= URGENT_S
    return Breach(
        target=made.targets[row],
        metric=made.metric,
        limit=float(seen.limit[row]),
        made_at_s=made.made_at_s,
        horizon_s=AHEAD_S,
        probability=chance,
        expected_s=made.made_at_s + float(expected_s),
        earliest_s=made.made_at_s + float(early_s),
        latest_s=made.made_at_s + float(late_s),
        value=float(seen.value[row]),
        model=MODEL,
        skill=float(made.skill[row]),
        severity=Severity.CRITICAL if urgent else Severity.WARNING,
    )


def _crossed_after(
    breach: Breach, time_s: Floats, value: NDArray[np.floating[Any]], bad: Bad
) -> float:
    """Return seconds from the warning to its limit's crossing; infinite: not within two hours."""
    side = -1.0 if bad is Bad.LOW else 1.0
    after_s = time_s - breach.made_at_s
    with np.errstate(invalid="ignore"):
        beyond = (side * (value - breach.limit) >= 0) & (after_s > 0) & (after_s <= HOLDS_S)
    return float(after_s[np.argmax(beyond)]) if beyond.any() else float("inf")


def _outcome(after_s: float) -> Outcomes:
    return Outcomes(
        right=int(URGENT_S <= after_s <= HOLDS_S),
        late=int(after_s < URGENT_S),
        false=int(after_s > HOLDS_S),
    )
