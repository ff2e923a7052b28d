"""A job that is slower than it was, on all ranks alike: computing, loading, collectives or goodput.

Which part of the step has grown says whose fault it can be: data, network, or the GPUs as a whole.
One slow rank makes the others wait in their collectives, but not itself: the least of the ranks'
times in collectives is that of the network.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Floats, Severity, Window
from core.units import CATALOG
from detectors.detector import Array, Symptoms
from detectors.progress import shift
from detectors.progress.memory import SEEN, Memory
from detectors.progress.ranks import USUAL_SHARE, LastRanks, Ranks
from detectors.robust import row_median
from detectors.words import amount, duration

OWN, WAIT, COLLECTIVE = "rank_step_time_s", "rank_data_wait_s", "rank_collective_time_s"
STEP, GOODPUT = "job_step_time_s", "job_goodput_ratio"
# Lost share of a job's GPU time that is worth an incident where no cause was found.
MUCH = 0.3
# A restart takes minutes of a job's goodput, and is told by what it was for.
LASTING_S = 900.0
# A reading older than this says nothing about now.
FRESH_S = 120.0


@dataclass(frozen=True, slots=True)
class Part:
    """What of a job's ranks is watched: the time at ``share`` of them in order, 0 the least."""

    metric: str
    share: float
    detector: str
    words: str


PARTS = (
    Part(OWN, USUAL_SHARE, "slow-compute", "its ranks compute for"),
    Part(WAIT, USUAL_SHARE, "slow-loading", "its ranks wait for data for"),
    Part(COLLECTIVE, 0.0, "slow-collective", "even the rank least in collectives is in them for"),
)
WHOLE = Part(STEP, 0.0, "slow-step", "its step takes")
GOOD = Part(GOODPUT, 0.0, "goodput-drop", "the useful share of its GPU time is")


@dataclass(frozen=True, slots=True)
class Slowdowns:
    """Finds jobs that a part of their step makes slower by ``effect`` of the whole step.

    Where ranks say how long they compute, wait for data and are in collectives, the part is named;
    where they do not, the step's time is all there is. Goodput is down where it has lost
    ``effect`` of the GPU time. A job of another number of ranks is learned anew, and a job that
    has been another for ``adopt_s`` is taken to be so.
    """

    effect: float = 0.10
    adopt_s: float = 6 * 3600.0
    _memory: Memory = field(default_factory=lambda: Memory({**shift.FIELDS, "scale": ((), np.nan)}))
    _ranks: LastRanks = field(default_factory=LastRanks)

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each part of each job that has grown."""
        series = [*self._parts(windows), *_of_jobs(windows, topology)]
        found = [anomaly for one in series for anomaly in self._watch(one, now_s)]
        self._memory.forget(now_s)
        return Symptoms(anomalies=tuple(found))

    def state(self) -> Mapping[str, Array]:
        """Return what was learned of each job."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        self._memory.restore(state)

    def _parts(self, windows: Mapping[str, Window]) -> "Iterator[_Series]":
        own = windows.get(OWN)
        if own is None or not own.value.size:
            return
        ranks = self._ranks.of(own.targets)
        there = {part: windows[part.metric] for part in PARTS if part.metric in windows}
        alike = {part: w for part, w in there.items() if w.targets == own.targets}
        known_s = self._known_s(ranks)
        new = own.time_s > known_s
        value = {part: ranks.per_job(w.value[:, new], part.share) for part, w in alike.items()}
        step_s = np.sum(list(value.values()), axis=0)
        for part, seconds in value.items():
            keys = tuple(_key(part, ranks, job) for job in range(len(ranks.jobs)))
            yield _Series(part, ranks.jobs, keys, own.time_s[new], seconds, step_s)

    def _known_s(self, ranks: Ranks) -> float:
        """Return until when the ranks' own times of all jobs were learned."""
        keys = tuple(_key(PARTS[0], ranks, job) for job in range(len(ranks.jobs)))
        rows = self._memory.rows(keys)
        return float(self._memory.value[SEEN][rows].min(initial=np.inf))

    def _watch(self, series: "_Series", now_s: float) -> Iterator[Anomaly]:
        memory = self._memory
        rows = memory.rows(series.keys)
        first = np.isnan(memory.value["scale"][rows])
        memory.value["scale"][rows] = np.where(
            first, row_median(series.scale), memory.value["scale"][rows]
        )
        scale = memory.value["scale"][rows]
        look = shift.Shift(effect=self.effect, adopt_s=self.adopt_s)
        with np.errstate(invalid="ignore", divide="ignore"):
            look.learn(memory, rows, series.time_s, series.value / scale[:, None])
        fresh = memory.value[SEEN][rows] >= now_s - FRESH_S
        for place in np.flatnonzero(fresh & look.risen(memory, rows)):
            yield self._anomaly(series, int(place), int(rows[place]))

    def _anomaly(self, series: "_Series", place: int, row: int) -> Anomaly:
        m, part = self._memory.value, series.part
        sign = -1.0 if part is GOOD else 1.0
        usual = sign * float(m["mean"][row] * m["scale"][row])
        value = usual + sign * float(m["level"][row] * m["scale"][row])
        band = usual + sign * self.effect * float(m["scale"][row])
        since_s, seen_s = float(m["since_s"][row]), float(m[SEEN][row])
        metric = CATALOG[part.metric]
        return Anomaly(
            target=Target(job=series.jobs[place]),
            metric=part.metric,
            start_s=since_s,
            end_s=seen_s,
            value=value,
            lower=band if part is GOOD else metric.low,
            upper=metric.high if part is GOOD else band,
            score=float(np.clip(m["level"][row] / (4 * self.effect), 0.5, 1.0)),
            detector=part.detector,
            severity=_severity(part, float(m["level"][row]), seen_s - since_s),
            text=f"job {series.jobs[place]} is slower: {part.words} {amount(value, part.metric)}, "
            f"usually {amount(usual, part.metric)}, for {duration(seen_s - since_s)}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """One part of J jobs.

    keys: what each is remembered by
    value: (J, T); scale: (J, T) what an effect is a share of, by the first readings of a job
    """

    part: Part
    jobs: tuple[str, ...]
    keys: tuple[str, ...]
    time_s: Floats
    value: Floats
    scale: Floats


def _severity(part: Part, level: float, lasted_s: float) -> Severity:
    """Goodput is what a fault costs: told beside its cause, and alone where it costs much."""
    dear = level >= MUCH and lasted_s >= LASTING_S
    return Severity.WARNING if dear or part is not GOOD else Severity.INFO


def _key(part: Part, ranks: Ranks, job: int) -> str:
    return f"{part.detector} {ranks.jobs[job]} of {ranks.size[job]}"


def _of_jobs(windows: Mapping[str, Window], topology: Topology | None) -> Iterator[_Series]:
    """Yield goodput, and the step's time of jobs without ranks; not of jobs that have ended."""
    own = windows.get(OWN)
    on = None if topology is None else {topology.jobs[n] for n in set(topology.rank_job.tolist())}
    told = {target.job for target in own.targets} if own is not None else set()
    for part in (WHOLE, GOOD):
        window = windows.get(part.metric)
        if window is None or not window.value.size:
            continue
        rest = [
            n
            for n, t in enumerate(window.targets)
            if (part is GOOD or t.job not in told) and (on is None or t.job in on)
        ]
        jobs = tuple(window.targets[n].job for n in rest)
        value = window.value[rest]
        scale = np.ones_like(value) if part is GOOD else value
        keys = tuple(f"{part.detector} {job}" for job in jobs)
        yield _Series(part, jobs, keys, window.time_s, -value if part is GOOD else value, scale)
