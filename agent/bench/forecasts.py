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
from agent.bench.look_alikes import look_alikes
from agent.bench.same_model import same_model_rows
from agent.workers import ONE_THREAD
from core.figures import Row, at_least, at_most
from detectors.forecast.prophet import reference
from detectors.forecast.prophet.settings import ProphetSettings

FLEET, SERIES, POINTS = 120_000, 10_000, 1440
SAMPLES = 1000  # upstream's default number of futures


def forecast_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure the fleet's Prophet beside upstream's; ``quick`` takes fewer series of upstream's."""
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as folder:
        kept, tempfile.tempdir = tempfile.tempdir, folder
        try:
            reference.self_test(None)  # the imports do not count
            rows = (
                *_speed(quick=quick),
                *_growth(quick=quick),
                *same_model_rows(quick=quick),
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
    ten, with_ar = _child(Job(SERIES, POINTS, runs=3)), _child(Job(SERIES, POINTS, 3, ar=True))
    fleet = _child(Job(FLEET, POINTS))
    size = f"{SERIES} x {POINTS}, daily seasonality"
    ours = f"{size}; fit and {STEPS_AHEAD} steps with an 80 % interval"
    return (
        at_least("ratio_vs_prophet", _both(ten, SERIES) / upstream, 3000, unit="x", note=ours),
        Row("ratio_vs_prophet_with_ar", _both(with_ar, SERIES) / upstream, "x", note=ours),
        at_least("fit_series_per_cpu_s", SERIES / ten.fit_s, 30_000, unit="1/s", note=size),
        Row(
            "prophet_series_per_cpu_s",
            upstream,
            "1/s",
            note=f"upstream's fit and predict with {SAMPLES} samples, {POINTS} points",
        ),
        at_most("cpu_s_120k", fleet.fit_s + fleet.predict_s, 15, unit="s", note=f"{FLEET} series"),
        at_most("rss_mib_120k", fleet.rss_mib, 1536, unit="MiB", note="data and answer included"),
        at_least("same_result_each_run", float(ten.same and with_ar.same), 1, unit="", n=3),
    )


def _growth(*, quick: bool) -> tuple[Row, ...]:
    """Show how the cost of both grows with the length, and ours with the number of series."""
    lengths = (480, 5760)
    rows = []
    for points in lengths:
        rate = _both(_child(Job(2000, points)), 2000)
        label = f'{{points="{points}"}}'
        rows.append(Row(f"series_per_cpu_s{label}", rate, "1/s", note="2,000 series"))
        if not quick or points == lengths[0]:
            upstream = _upstream_a_second(points, series=3 if quick else 8)
            rows.append(Row(f"prophet_series_per_cpu_s{label}", upstream, "1/s"))
    for series in (100, 1000):
        rate = _both(_child(Job(series, POINTS, runs=5)), series)
        rows.append(Row(f'series_per_cpu_s{{series="{series}"}}', rate, "1/s", n=5))
    return tuple(rows)


def _both(cost: Cost, series: int) -> float:
    return series / (cost.fit_s + cost.predict_s)


def _child(job: Job) -> Cost:
    """Measure a job in a fresh process with one thread."""
    done = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-m", "agent.bench.fleet_child", json.dumps(asdict(job))],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
    )
    return Cost(**json.loads(done.stdout))


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
