"""Anomalies on every gauge of a fleet, at a stated rate of false alarms.

windows -> Series (scores, ranks, one threshold a metric) -> Anomaly

Which series: every gauge of the catalogue with a bad direction, but for those that say the same as
another (bytes beside a ratio), that are 0 or 1 (a detector of hard faults has them), a sawtooth by
nature (the age of a checkpoint) or the subject of ``detectors.progress`` (steps, loss, goodput).

How bad: an anomaly is ``info``; it says that a series does what it has not done before, which in a
cluster most often means that a job began or ended. It is a ``warning`` when it is of the level, in
the bad direction, has lasted ``WARN_AFTER_S``, moves its series by at least 10 % of its level and
is a hundred times as rare as what is told at all. How busy a GPU is, the slow clock of one that
idles, and what begins with another job on a GPU or node are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.topology import Topology
from core.types import Anomaly, Forecast, Severity, Window
from core.units import CATALOG, Bad, Metric
from detectors.anomaly import pool
from detectors.anomaly.baseline import TO_SIGMA
from detectors.anomaly.change import LEAST_EFFECT
from detectors.anomaly.scores import SCORERS
from detectors.anomaly.series import Series
from detectors.anomaly.turnover import Turnover
from detectors.detector import Symptoms
from detectors.load import BUSY, LOAD, mean_load
from detectors.words import amount, duration

Array = NDArray[Any]
WARN_AFTER_S = 300.0
WARN_RARER = 100.0
BAND_SIGMAS = 3.0
FRESH_S = 120.0
CLOCK = "gpu_sm_clock_hz"
# What hardly counts: a thousandth of what there is, and one request that waits; else rounding.
_LEAST_SIGMA = {"ratio": 1e-3, "": 1.0}
_SAID_ELSEWHERE = (
    "gpu_memory_used_bytes",
    "node_memory_used_bytes",
    "job_checkpoint_age_s",
    "job_goodput_ratio",
    "job_grad_norm",
    "job_loss",
    "job_step_time_s",
    "rank_step_time_s",
)
# A spread has no bad direction: more or less of it is news of no fault.
SPREAD = "drift"
_SAYS = {
    "anomaly": "out of the ordinary",
    "shift": "shifted",
    SPREAD: "spread unlike before",
    "band": "outside of its forecast",
}


def watched(metric: Metric) -> bool:
    """Say whether anomalies of this metric are looked for."""
    flag = metric.high == 1 and metric.unit != "ratio"
    said = flag or metric.name in _SAID_ELSEWHERE
    return metric.bad is not Bad.NEITHER and not metric.counter and not said


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """How sensitive the detector is.

    false_alarms_per_day: alarms a series and day that are allowed where nothing is wrong
    learn_anomalies:      learn from anomalous readings in full; else their weight is bounded
    """

    false_alarms_per_day: float = 0.01
    learn_anomalies: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms_per_day <= 24:
            raise ValueError(
                f"false_alarms_per_day is {self.false_alarms_per_day:g}; it must be above 0 and at "
                "most 24, one an hour"
            )


class AnomalyDetector:
    """A ``detectors.detector.Learning``: what is odd about each series by its own past."""

    def __init__(self, settings: AnomalySettings | None = None) -> None:
        """Begin without memory."""
        self.settings = settings or AnomalySettings()
        self._series: dict[str, Series] = {}
        self._turnover = Turnover()

    def expect(self, forecasts: Mapping[str, Forecast]) -> None:
        """Hold readings against the newest forecast of each metric too."""
        for name, forecast in forecasts.items():
            if name in CATALOG and watched(CATALOG[name]):
                self._series.setdefault(name, _new(name)).expect(forecast)

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return the anomalies that have not ended, of series with a reading not long ago."""
        found: list[Anomaly] = []
        self._turnover.note(topology, now_s)
        for name in sorted(windows):
            window = windows[name]
            if name not in CATALOG or not watched(CATALOG[name]) or not window.value.size:
                continue
            series = self._series.setdefault(name, _new(name))
            rows = series.learn(
                window,
                now_s=now_s,
                per_day=self.settings.false_alarms_per_day,
                learn_anomalies=self.settings.learn_anomalies,
            )
            found += self._anomalies(series, window, rows, (now_s, windows.get(LOAD)))
        return Symptoms(anomalies=tuple(found))

    def state(self) -> Mapping[str, Array]:
        """Return the memory as plain arrays, metric/part.name -> array."""
        return {
            f"{metric}/{name}": array
            for metric, series in self._series.items()
            for name, array in series.state().items()
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        by_metric: dict[str, dict[str, Array]] = {}
        for key, array in state.items():
            metric, _, name = key.partition("/")
            if not name:
                raise ValueError(f"anomaly memory: {key!r} does not begin with a metric and '/'")
            by_metric.setdefault(metric, {})[name] = array
        restored = {metric: _new(metric) for metric in by_metric}
        for metric, arrays in by_metric.items():
            restored[metric].restore(arrays)
        self._series = restored

    def _anomalies(
        self, series: Series, window: Window, rows: Array, by: tuple[float, Window | None]
    ) -> list[Anomaly]:
        now_s, load = by
        alarms = series.memory["alarm"]
        live = alarms["live"][rows] & (now_s - alarms["last_s"][rows] <= FRESH_S)
        least = pool.threshold(series.pool, self.settings.false_alarms_per_day)
        rarer = pool.threshold(series.pool, self.settings.false_alarms_per_day / WARN_RARER)
        idle = np.zeros(len(rows), np.bool_)
        if window.metric == CLOCK and load is not None and live.any():
            lately = mean_load(load, window.targets, now_s - FRESH_S)
            idle = np.fmin(lately, mean_load(load, window.targets, -np.inf)) < BUSY
        return [
            _anomaly(
                series,
                window,
                (int(k), int(rows[k])),
                (least, rarer),
                expected=bool(idle[k])
                or window.metric == LOAD
                or self._turnover.explains(window.targets[k], float(alarms["onset_s"][rows[k]])),
            )
            for k in np.flatnonzero(live)
        ]


def _new(metric: str) -> Series:
    known = metric in CATALOG
    return Series(_LEAST_SIGMA.get(CATALOG[metric].unit, 1e-9) if known else 1e-9)


def _anomaly(
    series: Series,
    window: Window,
    at: tuple[int, int],
    limits: tuple[float, float],
    *,
    expected: bool,
) -> Anomaly:
    """Tell of one; ``at``: rows in the window and in the memory; ``limits``: to tell, to warn.

    expected: by the load or by a change of job; no reason to warn
    """
    metric, target = CATALOG[window.metric], window.targets[at[0]]
    base = {name: float(array[at[1]]) for name, array in series.memory["baseline"].items()}
    alarms = {name: array[at[1]] for name, array in series.memory["alarm"].items()}
    readings = window.value[at[0]]
    value = float(readings[np.flatnonzero(np.isfinite(readings))[-1]])
    reach = BAND_SIGMAS * max(
        TO_SIGMA * base["spread"], 1e-3 * abs(base["level"]), series.least_sigma
    )
    lower, upper = base["level"] - reach, base["level"] + reach
    start_s, end_s = float(alarms["onset_s"]), float(alarms["last_s"])
    peak, by = float(alarms["peak"]), SCORERS[int(alarms["by"])]
    moved = value - base["level"]
    warns = (
        not expected
        and by != SPREAD
        and (moved < 0) == (metric.bad is Bad.LOW)
        and abs(moved) >= LEAST_EFFECT * abs(base["level"])
        and end_s - start_s >= WARN_AFTER_S
        and peak >= limits[1]
    )
    return Anomaly(
        target=target,
        metric=window.metric,
        start_s=start_s,
        end_s=end_s,
        value=value,
        lower=max(lower, metric.low),
        upper=min(upper, metric.high),
        score=_score(peak, *limits),
        detector=by,
        severity=Severity.WARNING if warns else Severity.INFO,
        text=f"{metric.text} of {target} is {_SAYS[by]}: {amount(value, window.metric)}, usually "
        f"{amount(max(lower, metric.low), window.metric)} to "
        f"{amount(min(upper, metric.high), window.metric)}, for {duration(end_s - start_s)}",
    )


def _score(peak: float, least: float, rarer: float) -> float:
    """Return 0.5 at what is told at all, 0.75 a hundred times as rare, towards 1 beyond."""
    return float(1.0 - 0.5 * 0.5 ** (max(peak - least, 0.0) / max(rarer - least, 1e-6)))
