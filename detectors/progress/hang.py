"""A job that makes no step for longer than it ever does: found before its collective times out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats, Ints, Severity, Window
from core.units import CATALOG
from detectors.detector import Array, Symptoms
from detectors.progress.first import first_rank, newest, ranks_of
from detectors.progress.memory import SEEN, Memory
from detectors.progress.pauses import Pauses
from detectors.words import duration

DETECTOR = "hang"
METRIC, STEP = "job_steps_total", "job_step_time_s"
AGE, OWN = "job_checkpoint_age_s", "rank_step_time_s"
_PACES, _KINDS, _EACH = 32, 4, 6
FIELDS: Mapping[str, tuple[tuple[int, ...], float]] = {
    "steps": ((), np.nan),
    "progress_s": ((), np.nan),  # when the count was first seen where it is
    "made": ((), 0.0),  # readings with a new count since the job (re)started
    "watched_s": ((), 0.0),  # time with steps, over the job's life
    "spent_s": ((_PACES,), np.nan),  # seconds between two counts without a pause, newest last
    "done": ((_PACES,), np.nan),  # steps in them
    "told_s": ((), np.nan),  # what the job says a step takes
    "length": ((_KINDS, _EACH), np.nan),
    "at_step": ((_KINDS, _EACH), np.nan),
    "at_s": ((_KINDS, _EACH), np.nan),
    "age_s": ((), np.nan),
    "age_seen_s": ((), -np.inf),
    "saved": ((), 0.0),  # checkpoints seen
    "first": ((), np.nan),  # rank that stopped first, while the job hangs
}
# A hang is to be found within so many step times or so long: not after the collective's time-out.
WITHIN_STEPS, WITHIN_S = 3.0, 10.0
# The count stands for at most one step where nothing is wrong: two are no chance. Shorter than 6 s
# is a pause of the host and no news, and so is one reading without a step: a checkpoint's pause
# can hide between two readings many times before it shows in one.
LEAST_STEPS, LEAST_S, LEAST_READINGS = 2.0, 6.0, 2.0
# A count seen rising this often after a start: the job is past compiling and filling caches.
STARTED = 3
# What a job does now and then is known after so many checkpoints; of one that tells of none, after
# so long.
KNOWN_SAVED, KNOWN_S = 3, 3600.0
# Until then: NVRx gives an unlearned section its learned time five times over; longest stalls of
# first checkpoints and compilations published for large jobs are some minutes.
UNKNOWN_TIMES, UNKNOWN_S = 10.0, 300.0
# What a job says of its step counts from here on over the counts: below, it is one step's chance.
SLOWER = 1.1
# A pause is remembered from this part of what is too long for one: the next may be longer.
WORTH = 0.7
# Readings missing for more than this many of their intervals hide what happened.
GAP = 4.0
# Kinds of pauses: up to 2, 4 and 8 times the shortest that counts, and longer.
_DOUBLINGS = np.array([2.0, 4.0, 8.0])


@dataclass(frozen=True, slots=True)
class Hangs:
    """Finds jobs whose step count stands still: within three of their steps or 10 s, at readings a
    second or two apart; with rarer ones at the third that shows no step.

    Each job's own step time and pauses are learned: a checkpoint or an evaluation that is due, by
    steps or by time since those before, may take half as long again as the longest of them. A job
    that starts, that reports no count, or that the scheduler no longer has does not hang.

    fresh: readings older than this many of their intervals say nothing about now
    """

    fresh: float = 3.0
    _memory: Memory = field(default_factory=lambda: Memory(FIELDS))

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each job that hangs: of the rank that stopped first, if one did."""
        window = windows.get(METRIC)
        if window is None or not window.value.size:
            return Symptoms()
        rows = self._memory.rows(tuple(target.job for target in window.targets))
        every_s = _interval_s(window.time_s)
        self._hear_of_steps(windows.get(STEP), window.targets, rows)
        self._count_checkpoints(windows.get(AGE), window.targets, rows)
        new = self._memory.news(rows, window.time_s, window.value)
        for column in np.flatnonzero(new.any(axis=0)):
            which = new[:, column]
            at = (float(window.time_s[column]), every_s)
            self._learn(rows[which], at, window.value[which, column])
        found = tuple(self._standing(windows, rows, (now_s, every_s), topology))
        self._memory.forget(now_s)
        return Symptoms(anomalies=found)

    def state(self) -> Mapping[str, Array]:
        """Return what was learned of each job."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        self._memory.restore(state)

    def _learn(self, rows: Ints, at: tuple[float, float], steps: Floats) -> None:
        (time_s, every_s), m = at, self._memory.value
        limit_s = _limit_s(self._step_s(rows), every_s)
        since_s = time_s - m["progress_s"][rows]
        ahead = steps - m["steps"][rows]
        blind = time_s - m[SEEN][rows] > GAP * every_s + 1.0
        anew = np.isnan(ahead) | (ahead < 0) | blind
        moved = (ahead > 0) & ~anew
        stood_s = m[SEEN][rows] - m["progress_s"][rows]
        worth_s = np.maximum(WORTH * limit_s - every_s, every_s)
        paused = moved & (m["made"][rows] >= 1) & (stood_s >= worth_s)
        # It ended between two readings: it may have lasted until the later one.
        self._add_pauses(rows[paused], since_s[paused], limit_s[paused])
        timed = moved & (m["made"][rows] >= 1) & ~paused
        self._add_paces(rows[timed], since_s[timed], ahead[timed])
        m["made"][rows] = np.where(anew & (ahead != 0), 0.0, m["made"][rows] + moved)
        m["watched_s"][rows] += np.where(moved, since_s, 0.0)
        m["progress_s"][rows] = np.where(moved | anew, time_s, m["progress_s"][rows])
        m["first"][rows] = np.where(moved | anew, np.nan, m["first"][rows])
        m["steps"][rows], m[SEEN][rows] = steps, time_s

    def _step_s(self, rows: Ints) -> Floats:
        """Return (S,) what a step takes by the counts, or by the job, if that is clearly longer.

        A job that was slowed down says so at its first slow step; the counts tell minutes later.
        """
        m = self._memory.value
        with np.errstate(invalid="ignore", divide="ignore"):
            counted = np.nansum(m["spent_s"][rows], axis=1) / np.nansum(m["done"][rows], axis=1)
            slower = m["told_s"][rows] > SLOWER * counted
        return np.asarray(np.where(slower, m["told_s"][rows], counted))

    def _hear_of_steps(self, window: Window | None, jobs: tuple[Target, ...], rows: Ints) -> None:
        if window is None or window.targets != jobs or not window.value.size:
            return
        told_s = newest(window.value)
        known = np.isfinite(told_s)
        self._memory.value["told_s"][rows[known]] = told_s[known]

    def _add_paces(self, rows: Ints, spent_s: Floats, done: Floats) -> None:
        m = self._memory.value
        for name, value in (("spent_s", spent_s), ("done", done)):
            m[name][rows] = np.concatenate([m[name][rows, 1:], value[:, None]], axis=1)

    def _add_pauses(self, rows: Ints, length_s: Floats, limit_s: Floats) -> None:
        m = self._memory.value
        kind = np.searchsorted(_DOUBLINGS, length_s / limit_s, side="right")
        new = {"length": length_s, "at_step": m["steps"][rows], "at_s": m["progress_s"][rows]}
        for name, value in new.items():
            ring = m[name][rows, kind]
            m[name][rows, kind] = np.concatenate([ring[:, 1:], value[:, None]], axis=1)

    def _count_checkpoints(
        self, window: Window | None, jobs: tuple[Target, ...], rows: Ints
    ) -> None:
        """Count how often a checkpoint became younger."""
        if window is None or window.targets != jobs or not window.value.size:
            return
        m = self._memory.value
        new = np.isfinite(window.value) & (window.time_s > m["age_seen_s"][rows][:, None])
        for column in np.flatnonzero(new.any(axis=0)):
            which = rows[new[:, column]]
            m["age_seen_s"][which] = window.time_s[column]
            age_s = window.value[new[:, column], column]
            m["saved"][which] += age_s < m["age_s"][which]
            m["age_s"][which] = age_s

    def _standing(
        self,
        windows: Mapping[str, Window],
        rows: Ints,
        at: tuple[float, float],
        topology: Topology | None,
    ) -> Iterator[Anomaly]:
        (now_s, every_s), m = at, self._memory.value
        stood_s = m[SEEN][rows] - m["progress_s"][rows]
        fresh = now_s - m[SEEN][rows] <= self.fresh * every_s
        jobs, step_s = windows[METRIC].targets, self._step_s(rows)
        for place in np.flatnonzero(fresh & (stood_s >= _limit_s(step_s, every_s))):
            row, target = int(rows[place]), jobs[place]
            limit_s = self._allowed_s(row, every_s)
            gone = topology is not None and target.job not in topology.job_index
            if stood_s[place] < limit_s or gone:
                continue
            since_s = float(m["progress_s"][row])
            if _goes_on(windows.get(OWN), target.job, since_s + float(step_s[place])):
                continue
            first = self._first(windows, target.job, row, every_s)
            yield self._anomaly(first or target, target.job, row, limit_s)

    def _first(
        self, windows: Mapping[str, Window], job: str, row: int, every_s: float
    ) -> Target | None:
        """Return the rank that stopped first, also when the window no longer shows that moment."""
        m = self._memory.value
        if np.isfinite(m["first"][row]):
            return _rank(windows, job, str(int(m["first"][row])))
        first = first_rank(windows, job, float(m["progress_s"][row]), every_s)
        if first is not None and first.rank.isdecimal():
            m["first"][row] = int(first.rank)
        return first

    def _allowed_s(self, row: int, every_s: float) -> float:
        """Return how long the job may stand where it stands now."""
        m = self._memory.value
        step_s = float(self._step_s(np.array([row]))[0])
        usual_s = float(_limit_s(np.array([step_s]), every_s)[0])
        saves = np.isfinite(m["age_seen_s"][row])
        known = m["saved"][row] >= KNOWN_SAVED if saves else m["watched_s"][row] >= KNOWN_S
        if not known or m["made"][row] < STARTED:
            usual_s = max(usual_s, UNKNOWN_S, UNKNOWN_TIMES * step_s)
        there = np.isfinite(m["length"][row])
        order = np.argsort(m["at_s"][row][there])
        length_s, at_step, at_s = (
            m[name][row][there][order] for name in ("length", "at_step", "at_s")
        )
        pauses = Pauses(length_s, at_step, at_s, step_s=step_s, every_s=every_s)
        allowed_s = pauses.allowed_s(float(m["steps"][row]), float(m["progress_s"][row]))
        return max(usual_s, allowed_s)

    def _anomaly(self, target: Target, job: str, row: int, limit_s: float) -> Anomaly:
        m = self._memory.value
        since_s, seen_s = float(m["progress_s"][row]), float(m[SEEN][row])
        steps, step_s = float(m["steps"][row]), float(self._step_s(np.array([row]))[0])
        behind = np.floor((seen_s - since_s) / step_s)
        first = f"; {target} stopped first" if target.rank else ""
        return Anomaly(
            target=target,
            metric=METRIC,
            start_s=since_s,
            end_s=seen_s,
            value=steps,
            lower=steps + behind,
            upper=CATALOG[METRIC].high,
            score=float(np.clip((seen_s - since_s) / (2 * limit_s), 0.5, 1.0)),
            detector=DETECTOR,
            severity=Severity.CRITICAL,
            text=f"job {job} stands at step {steps:.0f} for {duration(seen_s - since_s)}; a step "
            f"takes {duration(step_s)} and it may pause for {duration(limit_s)} here{first}",
        )


def _limit_s(step_s: Floats, every_s: float) -> Floats:
    """Return how long a count may stand; infinite for a job whose step time is not known.

    A count that stands was reached up to a reading before it was seen, and the next that shows it
    can be a reading late: so much is left to find it in time.
    """
    with np.errstate(invalid="ignore"):
        in_time_s = np.maximum(WITHIN_STEPS * step_s, WITHIN_S) - 2 * every_s
        least_s = np.maximum(LEAST_STEPS * step_s, max(LEAST_S, LEAST_READINGS * every_s))
        limit_s = np.maximum(in_time_s, least_s)
    return np.asarray(np.where(np.isfinite(step_s), limit_s, np.inf))


def _interval_s(time_s: Floats) -> float:
    return float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0


def _rank(windows: Mapping[str, Window], job: str, rank: str) -> Target:
    """Return the job's rank with its node and GPU, where they are still known."""
    ranks = (target for window in windows.values() for target in window.targets if target.rank)
    mine = (target for target in ranks if target.rank == rank and target.job == job)
    return next(mine, Target(job=job, rank=rank))


def _goes_on(window: Window | None, job: str, from_s: float) -> bool:
    """Say whether most of the job's ranks report ever new times: it is the count that is stuck."""
    if window is None:
        return False
    mine = ranks_of(window, job)
    late = window.value[mine][:, window.time_s >= from_s]
    if late.shape[1] < 2 or not len(mine):
        return False
    changes = (np.diff(late, axis=1) != 0) & np.isfinite(late[:, 1:]) & np.isfinite(late[:, :-1])
    return bool(changes.any(axis=1).mean() > 0.5)
