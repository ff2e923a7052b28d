"""A job whose loss or gradient is no number any more, or has jumped: its steps may be worthless."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats, Ints, Severity, Window
from core.units import CATALOG
from detectors.detector import Array, Symptoms
from detectors.progress.memory import SEEN, Memory
from detectors.words import amount, duration, subject

NAN, SPIKE = "nan-loss", "loss-spike"
STEPS, COUNT = "job_steps_total", "job_nan_steps_total"
LOSSES = ("job_loss", "job_grad_norm")
# ByteRobust (SOSP'25) takes a jump to five times for a fault of the metric itself.
JUMP = 5.0
# A loss is near its floor at the end and moves by its own noise: so many of its own deviations.
SIGMAS = 10.0
# One odd batch is the data's; a spike stays for some readings.
READINGS = 3
# Steps that report no loss, one after the other: not one late sample, and not a log every tenth.
MISSED = 4
# Of late: a loss falls in the beginning, and what it was minutes ago is no measure.
WARM, LATE = 20, 10.0
FIELDS: Mapping[str, tuple[tuple[int, ...], float]] = {
    "count": ((), 0.0),
    "mean": ((), 0.0),
    "spread": ((), 0.0),  # mean distance of neighbouring readings: a loss that falls is not noise
    "high": ((), 0.0),  # readings above in a row
    "missed": ((), 0.0),  # readings with a step and no loss, in a row
    "steps": ((), np.nan),
    "newest": ((), np.nan),
    "since_s": ((), np.nan),
}
FRESH_S = 120.0


@dataclass(frozen=True, slots=True)
class Losses:
    """Finds jobs that count steps of no number, step on without a loss, or whose loss has jumped.

    A reading that is no number cannot be told from one that is missing, so a trainer that counts
    such steps (``job_nan_steps_total``) is believed first; else a loss that stops being reported
    while steps go on is taken for one. A jump is to five times what the loss was of late and by ten
    of its deviations, for three readings.
    """

    _memory: Memory = field(default_factory=lambda: Memory(FIELDS))

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each job whose loss is none or has jumped."""
        found = [*_counted(windows.get(COUNT), now_s)]
        for metric in LOSSES:
            window = windows.get(metric)
            if window is not None and window.value.size:
                found += self._watch(window, windows.get(STEPS), now_s)
        self._memory.forget(now_s)
        return Symptoms(anomalies=tuple(found))

    def state(self) -> Mapping[str, Array]:
        """Return what was learned of each job."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        self._memory.restore(state)

    def _watch(self, window: Window, steps: Window | None, now_s: float) -> Iterator[Anomaly]:
        rows = self._memory.rows(tuple(f"{window.metric} {t.job}" for t in window.targets))
        count = _aligned(steps, window)
        there = np.where(np.isfinite(count), count, window.value)
        new = self._memory.news(rows, window.time_s, there)
        for column in np.flatnonzero(new.any(axis=0)):
            which = new[:, column]
            loss, step = window.value[which, column], count[which, column]
            self._step(rows[which], float(window.time_s[column]), loss, step)
        m = self._memory.value
        fresh = m[SEEN][rows] >= now_s - FRESH_S
        for place in np.flatnonzero(fresh & (m["missed"][rows] >= MISSED)):
            yield self._anomaly(window.targets[place], window.metric, int(rows[place]), NAN)
        for place in np.flatnonzero(fresh & (m["high"][rows] >= READINGS)):
            yield self._anomaly(window.targets[place], window.metric, int(rows[place]), SPIKE)

    def _step(self, rows: Ints, time_s: float, loss: Floats, step: Floats) -> None:
        m = self._memory.value
        count, mean = m["count"][rows], m["mean"][rows]
        known, there = count >= WARM, np.isfinite(loss)
        with np.errstate(invalid="ignore"):
            stepped = step > m["steps"][rows]
            high = known & there & (loss - mean > _reach(mean, m["spread"][rows]))
        lost = known & ~there & stepped
        missed = np.where(there, 0.0, m["missed"][rows] + lost)
        above = np.where(high, m["high"][rows] + 1, np.where(there, 0.0, m["high"][rows]))
        begun = ((above == 1) & (m["high"][rows] == 0)) | ((missed == 1) & lost)
        m["since_s"][rows] = np.where(begun, time_s, m["since_s"][rows])
        m["missed"][rows], m["high"][rows] = missed, above
        self._learn(rows, np.where(there & ~high, loss, np.nan))
        m["newest"][rows] = np.where(there, loss, m["newest"][rows])
        m["steps"][rows] = np.where(np.isfinite(step), step, m["steps"][rows])
        m[SEEN][rows] = time_s

    def _learn(self, rows: Ints, loss: Floats) -> None:
        m = self._memory.value
        usual = np.isfinite(loss)
        mine, loss = rows[usual], loss[usual]
        count = m["count"][mine]
        weight = 1.0 / np.minimum(count + 1.0, LATE)
        off = loss - m["mean"][mine]
        m["mean"][mine] += weight * off
        moved = np.where(count > 0, np.abs(loss - m["newest"][mine]), 0.0)
        m["spread"][mine] += weight * (moved - m["spread"][mine])
        m["count"][mine] = count + 1.0

    def _anomaly(self, target: Target, metric: str, row: int, detector: str) -> Anomaly:
        m, known = self._memory.value, CATALOG[metric]
        mean, newest = float(m["mean"][row]), float(m["newest"][row])
        upper = mean + float(_reach(m["mean"][row : row + 1], m["spread"][row : row + 1])[0])
        since_s, seen_s = float(m["since_s"][row]), float(m[SEEN][row])
        said = (
            "is no number or no longer reported while steps go on"
            if detector == NAN
            else f"is {amount(newest, metric)}, of late {amount(mean, metric)}"
        )
        return Anomaly(
            target=target,
            metric=metric,
            start_s=since_s,
            end_s=seen_s,
            value=newest,
            lower=known.low,
            upper=upper,
            score=1.0 if detector == NAN else 0.8,
            detector=detector,
            severity=Severity.CRITICAL if detector == NAN else Severity.WARNING,
            text=f"{subject(metric)} of {target} {said}, for {duration(seen_s - since_s)}",
        )


def _reach(mean: Floats, spread: Floats) -> Floats:
    """Return how far above its mean a loss has to be."""
    # Two draws of a normal law are 1.13 standard deviations apart on average.
    return np.maximum((JUMP - 1) * np.abs(mean), SIGMAS * spread / 1.13)


def _aligned(steps: Window | None, window: Window) -> Floats:
    """Return (S, T) the step counts of the window's jobs; NaN where they are not known."""
    out = np.full(window.value.shape, np.nan)
    if steps is None or len(steps.time_s) != len(window.time_s):
        return out
    place = {target.job: row for row, target in enumerate(steps.targets)}
    for row, target in enumerate(window.targets):
        if target.job in place:
            out[row] = steps.value[place[target.job]]
    return out


def _counted(window: Window | None, now_s: float) -> Iterator[Anomaly]:
    """Yield the jobs whose trainer has counted a step of no number within the window."""
    if window is None or window.value.shape[1] < 2:
        return
    value = _carried(window.value)
    rise = value[:, 1:] - value[:, :-1]
    for row in np.flatnonzero((rise > 0).any(axis=1)):
        columns = np.flatnonzero(rise[row] > 0)
        since_s, newest = float(window.time_s[columns[0] + 1]), float(value[row, columns[-1] + 1])
        before, steps = float(value[row, columns[0]]), float(rise[row, columns].sum())
        yield Anomaly(
            target=window.targets[row],
            metric=COUNT,
            start_s=since_s,
            end_s=min(float(window.time_s[columns[-1] + 1]), now_s),
            value=newest,
            lower=CATALOG[COUNT].low,
            upper=before,
            score=1.0,
            detector=NAN,
            severity=Severity.CRITICAL,
            text=f"{steps:.0f} steps of {window.targets[row]} had a loss or gradient "
            "that is no number",
        )


def _carried(value: Floats) -> Floats:
    """Return (S, T) readings, each missing one as the last before it; NaN before the first."""
    known = np.isfinite(value)
    at = np.maximum.accumulate(np.where(known, np.arange(value.shape[1]), 0), axis=1)
    return np.take_along_axis(np.where(known, value, np.nan), at, axis=1)
