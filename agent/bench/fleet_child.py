"""Fits a fleet in a process of its own, so that its CPU time and memory are its alone.

Run as ``python -m agent.bench.fleet_child JSON`` by ``forecasts`` with a list of jobs; prints
what each cost.
"""

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median
from zlib import crc32

import numpy as np

STEP_S, START_S = 60.0, 1.7e9
STEPS_AHEAD = 120
_PART = 2_000  # series generated; all others are made of them
_SEED = 7


@dataclass(frozen=True, slots=True)
class Job:
    """What to fit: ``runs`` times, the median counting; daily seasonality; AR on request."""

    series: int
    points: int
    runs: int = 1
    ar: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU-seconds of a fit and a forecast of all series; peak memory; if each run gave the same."""

    fit_s: float
    predict_s: float
    rss_mib: float
    same: bool


def measure(job: Job) -> Cost:
    """Return what the job cost, compilation and making the series not counted."""
    from agent.bench.look_alikes import look_alikes
    from detectors.forecast.prophet.fleet import FleetProphet

    time_s = START_S + STEP_S * np.arange(job.points, dtype=np.float64)
    value = _fleet(look_alikes(min(job.series, _PART), time_s, seed=_SEED), job.series)
    model = FleetProphet(daily=True, ar=job.ar)
    model.fit(time_s, value[:64]).predict(STEPS_AHEAD * STEP_S)
    fits, predicts, answers = [], [], set()
    for _ in range(job.runs):
        started_s = time.process_time()
        fit = model.fit(time_s, value)
        fitted_s = time.process_time()
        ahead = fit.predict(STEPS_AHEAD * STEP_S)
        fits.append(fitted_s - started_s)
        predicts.append(time.process_time() - fitted_s)
        answers.add((crc32(ahead.mean.data), crc32(ahead.upper.data)))
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(median(fits), median(predicts), rss_mib, len(answers) == 1)


def _fleet(
    some: np.ndarray[tuple[int, int], np.dtype[np.float32]], series: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return (series, T): some series, then the same begun elsewhere and scaled anew.

    Making each by itself would take longer than all that is measured.
    """
    rng = np.random.default_rng(_SEED)
    value = np.empty((series, some.shape[1]), dtype=np.float32)
    for start in range(0, series, len(some)):
        part = value[start : start + len(some)]
        shift = int(rng.integers(some.shape[1])) if start else 0
        part[:] = np.roll(some[: len(part)], shift, axis=1)
        part *= rng.uniform(0.5, 2.0, (len(part), 1)).astype(np.float32)
    return value


if __name__ == "__main__":
    sys.stdout.write(json.dumps([asdict(measure(Job(**j))) for j in json.loads(sys.argv[1])]))
