"""Fleet Prophet against facebook's package in one run: speed, memory, the same model, intervals.

CPU time of this process and its children throughout: upstream optimises in a child process.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.bench.fleet_child import START_S, STEP_S, STEPS_AHEAD, Cost, Job
from agent.bench.look_alikes import look_alikes
from agent.workers import ONE_THREAD
from core.figures import Row, at_least, at_most
from core.types import Floats
from detectors.forecast.prophet import reference
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.prophet.settings import ProphetSettings

FLEET, SERIES, POINTS = 120_000, 10_000, 1440
COVERAGE = 0.8
SAMPLES = 1000  # upstream's default number of futures
WIDTH_SAMPLES = 8000  # so that upstream's own chance moves a width by 1 %
ENOUGH_NAT = 0.01
# What windows are asked: (points, spacing in s, share); a season has two periods at least.
PLAIN, DAILY = ((120, 60.0), (240, 60.0), (480, 60.0)), ((576, 300.0), (336, 600.0))
NEWTON_POINTS = 180  # its time grows with the square and more of the points: 16 s at 1,440


def forecast_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure the fleet's Prophet beside upstream's; ``quick`` takes fewer series of upstream's."""
    with tempfile.TemporaryDirectory(prefix="gpumedic-bench-") as folder:
        kept, tempfile.tempdir = tempfile.tempdir, folder
        try:
            reference.self_test(None)  # the imports do not count
            rows = (
                *_speed(quick=quick),
                *_growth(quick=quick),
                *_same_model(quick=quick),
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


def _same_model(*, quick: bool) -> tuple[Row, ...]:
    """Compare objectives, forecasts and intervals with upstream's on the same windows."""
    found: list[_Compared] = []
    shapes = [*((shape, False) for shape in PLAIN), *((shape, True) for shape in DAILY)]
    for (points, step_s), daily in shapes:
        value = _windows(points, step_s, count=12 if quick else 210)
        found += _compared(value, step_s, daily=daily, widths=6 if quick else 40)
    gaps = np.array([each.gap for each in found])
    off = _newton(count=3 if quick else 30)
    return (
        at_least(
            "objective_ok_ratio",
            float(np.mean(gaps >= -ENOUGH_NAT)),
            0.999,
            unit="ratio",
            n=len(gaps),
            note=f"median {np.median(gaps):.2f} nat better than upstream, least {gaps.min():.4f}",
        ),
        at_most(
            "newton_difference_median_sd",
            float(np.median(off)),
            0.002,
            unit="sd",
            high=max(off),
            n=len(off),
            note=f"windows of {NEWTON_POINTS} points, upstream's exact optimiser",
        ),
        *_width_rows(found),
    )


def _width_rows(found: "list[_Compared]") -> tuple[Row, ...]:
    compared = [each for each in found if each.width]
    own = [each.width for each in compared]
    ours = [each.width_same_fit for each in compared]
    note = f"80 % interval over 30 steps, upstream's with {WIDTH_SAMPLES} samples"
    (own_5, own_95), (our_5, our_95) = (np.percentile(each, (5, 95)) for each in (own, ours))
    at_ours = f"{note}, at our optimum: the law of intervals alone"
    return (
        at_least("width_ratio_p5", float(own_5), 0.93, unit="x", n=len(own), note=note),
        at_most("width_ratio_p95", float(own_95), 1.08, unit="x", n=len(own), note=note),
        at_least("width_ratio_p5_same_fit", float(our_5), 0.93, unit="x", note=at_ours),
        at_most("width_ratio_p95_same_fit", float(our_95), 1.08, unit="x", note=at_ours),
    )


class _Compared(NamedTuple):
    """One window: upstream's loss less ours, our width over upstream's at its fit and at ours.

    Widths are 0 where they were not compared.
    """

    gap: float
    width: float = 0.0
    width_same_fit: float = 0.0


def _windows(points: int, step_s: float, *, count: int) -> Floats:
    """Return (count, points) look-alikes."""
    time_s = START_S + step_s * np.arange(points, dtype=np.float64)
    return look_alikes(count, time_s, seed=points).astype(np.float64)


def _compared(value: Floats, step_s: float, *, daily: bool, widths: int) -> list[_Compared]:
    """Compare each window; the interval of the first ``widths`` only, as it takes drawing."""
    time_s = START_S + step_s * np.arange(value.shape[1], dtype=np.float64)
    settings = ProphetSettings(daily=daily, weekly=False, yearly=False, ar=False)
    fit = FleetProphet(settings).fit(time_s, value)
    ahead = fit.predict(30 * step_s, coverage=COVERAGE)
    out = []
    for row, one in enumerate(value):
        theirs = reference.fit(settings, time_s, one)
        each = _Compared(theirs.objective - float(fit.loss[row]))
        if row < widths:
            ours = float((ahead.upper[row] - ahead.lower[row]).mean())
            same = replace(theirs, model=fit.to_prophet(row, one))
            each = each._replace(
                width=ours / _width(theirs, ahead.time_s),
                width_same_fit=ours / _width(same, ahead.time_s),
            )
        out.append(each)
    return out


def _width(fitted: reference.Fitted, time_s: Floats) -> float:
    """Return the mean width of upstream's interval, from its own draws."""
    tails = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
    lower, upper = np.quantile(fitted.draws(time_s, WIDTH_SAMPLES), tails, axis=0)
    return float((upper - lower).mean())


def _newton(*, count: int) -> list[float]:
    """Return mean |our forecast - upstream's by Newton| over the window's standard deviation."""
    value = _windows(NEWTON_POINTS, STEP_S, count=count)
    time_s = START_S + STEP_S * np.arange(NEWTON_POINTS, dtype=np.float64)
    settings = ProphetSettings(ar=False)
    ours = FleetProphet(settings).fit(time_s, value).predict(30 * STEP_S)
    theirs = [reference.fit(settings, time_s, one, newton=True).mean(ours.time_s) for one in value]
    off = np.abs(ours.mean - np.array(theirs)).mean(axis=1)
    return [float(each) for each in off / value.std(axis=1)]


def _files_left(folder: Path) -> Row:
    """Count what all fits of this run have left in the temporary folder."""
    left = sum(path.is_file() for path in folder.rglob("*"))
    return at_most("files_left", float(left), 0, unit="files", note="by all fits of this run")
