"""Fleet Prophet against facebook's package in one run: speed, memory, the same model, intervals.

CPU time of this process and its children throughout: upstream optimises in a child process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from agent.bench.fleet_child import START_S, STEP_S, STEPS_AHEAD, Cost, Job
from agent.bench.gpu import gpu_rows
from agent.bench.look_alikes import look_alikes
from agent.bench.same_model import same_model_rows
from agent.workers import ONE_THREAD
from core.figures import Row, at_least, at_most
from detectors.forecast.prophet import reference
from detectors.forecast.prophet.settings import ProphetSettings

FLEET, SERIES, POINTS = 120_000, 10_000, 1440
LENGTHS, COUNTS = (480, 5760), (100, 1000)  # how the cost grows
SAMPLES = 1000  # upstream's default number of futures


def forecast_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure the fleet's Prophet beside upstream's; ``quick`` takes fewer series of upstream's."""
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as folder:
        kept, tempfile.tempdir = tempfile.tempdir, folder
        try:
            reference.self_test(None)  # the imports do not count
            rows = (
                *_speed(quick=quick),
                *same_model_rows(quick=quick),
                *gpu_rows(),
                _files_left(Path(folder)),
            )
        finally:
            tempfile.tempdir = kept
    return rows


def cpu_s() -> float:
    """Return the CPU-seconds this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _speed(*, quick: bool) -> tuple[Row, ...]:
    upstream = _upstream_a_second(POINTS, series=4 if quick else 24)
    plain, with_ar = Job(SERIES, POINTS, runs=3), Job(SERIES, POINTS, runs=3, ar=True)
    small = [Job(2000, points) for points in LENGTHS]
    small += [Job(series, POINTS, runs=5) for series in COUNTS]
    cost = dict(zip((plain, with_ar, *small), _costs(plain, with_ar, *small), strict=True))
    ten, fleet = cost[plain], _costs(Job(FLEET, POINTS))[0]
    size = f"{SERIES} x {POINTS}, daily seasonality"
    ours = f"{size}; fit and {STEPS_AHEAD} steps with an 80 % interval"
    same = ten.same and cost[with_ar].same
    return (
        at_least("ratio_vs_prophet", _rate(plain, ten) / upstream, 3000, unit="x", note=ours),
        Row("ratio_vs_prophet_with_ar", _rate(with_ar, cost[with_ar]) / upstream, "x", note=ours),
        at_least("fit_series_per_cpu_s", SERIES / ten.fit_s, 30_000, unit="1/s", note=size),
        Row(
            "prophet_series_per_cpu_s",
            upstream,
            "1/s",
            note=f"upstream's fit and predict with {SAMPLES} samples, {POINTS} points",
        ),
        at_most("cpu_s_120k", fleet.fit_s + fleet.predict_s, 15, unit="s", note=f"{FLEET} series"),
        at_most("rss_mib_120k", fleet.rss_mib, 1536, unit="MiB", note="data and answer included"),
        at_least("same_result_each_run", float(same), 1, unit="", n=3),
        *(
            Row(f"series_per_cpu_s{_label(job)}", _rate(job, cost[job]), "1/s", n=job.runs)
            for job in small
        ),
        *_upstream_growth(quick=quick),
    )


def _upstream_growth(*, quick: bool) -> tuple[Row, ...]:
    """Show how upstream's cost grows with the length."""
    return tuple(
        Row(
            f'prophet_series_per_cpu_s{{points="{points}"}}',
            _upstream_a_second(points, series=3 if quick else 8),
            "1/s",
        )
        for points in (LENGTHS[:1] if quick else LENGTHS)
    )


def _label(job: Job) -> str:
    return f'{{series="{job.series}",points="{job.points}"}}'


def _rate(job: Job, cost: Cost) -> float:
    return job.series / (cost.fit_s + cost.predict_s)


def _costs(*jobs: Job) -> tuple[Cost, ...]:
    """Measure jobs in a fresh process with one thread."""
    done = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-m", "agent.bench.fleet_child", json.dumps([asdict(j) for j in jobs])],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        check=True,
    )
    return tuple(Cost(**each) for each in json.loads(done.stdout))


def _upstream_a_second(points: int, *, series: int) -> float:
    """Return how many series upstream fits and forecasts in a CPU-second."""
    time_s = START_S + STEP_S * np.arange(points, dtype=np.float64)
    ahead_s = reference.ahead(time_s, STEPS_AHEAD * STEP_S)
    settings = ProphetSettings(daily=True)
    started_s = cpu_s()
    for value in look_alikes(series, time_s, seed=7):
        fitted = reference.fit(settings, time_s, value.astype(np.float64))
        fitted.model.uncertainty_samples = SAMPLES
        fitted.model.predict(reference.frame_of(settings, ahead_s))
    return series / (cpu_s() - started_s)


def _files_left(folder: Path) -> Row:
    """Count what all fits of this run have left in the temporary folder."""
    left = sum(path.is_file() for path in folder.rglob("*"))
    return at_most("files_left", float(left), 0, unit="files", note="by all fits of this run")
