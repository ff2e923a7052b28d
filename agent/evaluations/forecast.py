"""``gpumedic evaluate forecast``: the pooled forecaster against facebook's Prophet, rolling origin.

Errors are mean absolute errors over all leads up to 30 minutes and up to 2 hours, divided by the
window's standard deviation; pinball losses are means of the 0.1, 0.5 and 0.9 quantiles'. Means over
windows are winsorised at 99 %. All series are ones that nothing was learned from.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.evaluations.lookalikes import LOOKALIKES
from agent.evaluations.windows import HORIZON_S, SOURCES, Windows, windows
from core.figures import Row, at_most
from core.target import Target
from core.types import Floats, Forecast, Ints
from core.units import CATALOG
from detectors.forecast.averages import mean_of
from detectors.forecast.conformal import Learned, matured
from detectors.forecast.fleet import forecast
from detectors.forecast.members import CHEAP
from detectors.forecast.task import ForecastTask, Model

Progressed = Callable[[str, int, int], None]
SPANS = {"30min": 1800.0, "2h": HORIZON_S}
WINSOR = 0.99
COVERAGE = 0.8
COVERED = (0.76, 0.84)
TAILS = (0.1, 0.5, 0.9)
# Windows of each set that facebook's Prophet is asked in the short form: 0.06 to 1 CPU-s each.
QUICK_WINDOWS = {"G1": 20, "G2": 20, "G3": 20, "N": 10, "M": 4}
QUICK_OTHERWISE = 10
PROPHET_AT_ONCE = 10
GAP_SHARE = 0.05
CPU_SERIES = 512


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Quantile forecasts of W windows, (W, H) each, NaN where a method was not asked."""

    lower: Floats
    middle: Floats
    upper: Floats

    def rows(self, keep: Ints) -> "Bands":
        """Return some of the windows."""
        return Bands(self.lower[keep], self.middle[keep], self.upper[keep])


def rows(recorded: Path | None, *, quick: bool, progress: Progressed) -> Sequence[Row]:
    """Measure on held-out recorded series; on generated look-alikes where there are none."""
    found: list[Row] = []
    ratios: dict[str, list[float]] = {}
    for made in _sets(recorded, progress):
        found += _rows_of_set(made, ratios, quick=quick, progress=progress)
    note = "geometric mean over the sets" + ("" if recorded else "; generated look-alikes")
    for name, goal in GOALS.items():
        value = float(np.exp(np.mean(np.log(ratios[name]))))
        found.append(at_most(name, value, goal, unit="ratio", n=len(ratios[name]), note=note))
    return found


GOALS = {
    "error_ratio_vs_prophet_30min": 0.80,
    "error_ratio_vs_prophet_2h": 0.80,
    "pinball_ratio_vs_prophet_30min": 0.85,
    "pinball_ratio_vs_prophet_2h": 0.85,
}
WORST_RATIO = 0.95


def _sets(recorded: Path | None, progress: Progressed) -> Iterator[Windows]:
    """Yield the windows of each set that are scored."""
    sources = SOURCES if recorded else LOOKALIKES
    for place, (name, source) in enumerate(sources.items()):
        progress("reading", place, len(sources))
        panel = source.panel(recorded or Path())
        yield windows(name, panel.hold_out() if recorded else panel, source)
    progress("reading", len(sources), len(sources))


def _rows_of_set(
    made: Windows, ratios: dict[str, list[float]], *, quick: bool, progress: Progressed
) -> list[Row]:
    """Score one set, and note its ratios."""
    of = f'{{set="{made.name}"}}'
    pool = pool_bands(made, progress)
    asked = _asked(made, quick=quick)
    prophet = prophet_bands(made.rows(asked), progress)
    part, ours = made.rows(asked), pool.rows(asked)
    found = []
    for name, span_s in SPANS.items():
        for kind, score in (("error", errors), ("pinball", pinballs)):
            ratio = winsorised(score(part, ours, span_s)) / winsorised(score(part, prophet, span_s))
            metric = f"{kind}_ratio_vs_prophet_{name}"
            ratios.setdefault(metric, []).append(ratio)
            found.append(at_most(metric + of, ratio, WORST_RATIO, unit="ratio", n=len(asked)))
        found.append(_against_cheap(made, pool, name, span_s))
    inside = coverage(made, pool)
    least, most = COVERED
    found.append(
        Row(
            "coverage_80" + of,
            inside,
            "ratio",
            n=len(made.past),
            goal=f"{least:g} to {most:g}",
            ok=least <= inside <= most,
            note="intervals learn from forecasts that came due",
        )
    )
    cpu_ms = cpu_ms_per_series(made)
    found.append(at_most("cpu_ms_per_series" + of, cpu_ms, 1.0, unit="ms", n=CPU_SERIES))
    found.append(at_most("gap_change_median_sd" + of, gap_change(made), 0.05, unit="sd"))
    return found


def pool_bands(made: Windows, progress: Progressed) -> Bands:
    """Forecast every window with the pool, turn by turn: what came due teaches the intervals.

    At its n-th origin a series knows its first n - 1 forecasts as far as they have come due.
    """
    bands = Bands(*(np.full(made.future.shape, np.nan) for _ in range(3)))
    learned, earlier, come = Learned(), None, np.empty((0, 0))
    turns = np.unique(made.turn)
    for place, turn in enumerate(turns):
        progress(f"pool {made.name}", place, len(turns))
        own = np.flatnonzero(made.turn == turn)
        task = _task(made, own, Model.POOL)
        if earlier is not None:
            learned = matured(learned, earlier, made.time_s[-1] + _ahead(made), come)
        task = replace(task, widening=learned.width_of(task.targets))
        earlier = forecast(task).forecast
        _write(bands, own, earlier)
        come = np.where(np.arange(made.future.shape[1]) < made.gap, made.future[own], np.nan)
    progress(f"pool {made.name}", len(turns), len(turns))
    return bands


def prophet_bands(made: Windows, progress: Progressed) -> Bands:
    """Forecast every window with facebook's Prophet as it comes."""
    bands = Bands(*(np.full(made.future.shape, np.nan) for _ in range(3)))
    count = len(made.past)
    for start in range(0, count, PROPHET_AT_ONCE):
        progress(f"prophet {made.name}", start, count)
        own = np.arange(start, min(count, start + PROPHET_AT_ONCE))
        _write(bands, own, forecast(_task(made, own, Model.PROPHET)).forecast)
    progress(f"prophet {made.name}", count, count)
    return bands


def errors(made: Windows, bands: Bands, span_s: float) -> Floats:
    """Return (W,) mean absolute errors up to a lead, over the window's standard deviation."""
    off = np.abs(bands.middle - made.future)[:, : round(span_s / made.step_s)]
    return np.asarray(mean_of(off, axis=1) / made.spread)


def pinballs(made: Windows, bands: Bands, span_s: float) -> Floats:
    """Return (W,) mean pinball losses of three quantiles up to a lead, over the spread."""
    losses = [
        np.maximum(tail * off, (tail - 1) * off)
        for tail, band in zip(TAILS, (bands.lower, bands.middle, bands.upper), strict=True)
        for off in (made.future - band,)
    ]
    mean = np.mean(losses, axis=0)[:, : round(span_s / made.step_s)]
    return np.asarray(mean_of(mean, axis=1) / made.spread)


def coverage(made: Windows, bands: Bands) -> float:
    """Return the share of what came, at all leads, that lay within the interval."""
    known = np.isfinite(made.future) & np.isfinite(bands.lower)
    within = (made.future >= bands.lower) & (made.future <= bands.upper)
    return float(within[known].mean())


def winsorised(value: Floats) -> float:
    """Return the mean of the finite values, the largest hundredth of them pulled in."""
    known = value[np.isfinite(value)]
    return float(np.minimum(known, np.quantile(known, WINSOR)).mean())


def cpu_ms_per_series(made: Windows) -> float:
    """Return CPU milliseconds a series of one forecast for a fleet of CPU_SERIES."""
    task = _task(made, np.resize(np.arange(len(made.past)), CPU_SERIES), Model.POOL)
    before = _cpu_s()
    forecast(task)
    return 1e3 * (_cpu_s() - before) / CPU_SERIES


def gap_change(made: Windows) -> float:
    """Return the median change of the forecast, in standard deviations, by 5 % random gaps."""
    own = np.flatnonzero(made.turn == np.median(made.turn).astype(int))
    task = _task(made, own, Model.POOL)
    holes = np.random.default_rng(0).random(task.value.shape) < GAP_SHARE
    holed = replace(task, value=np.where(holes, np.nan, task.value))
    change = np.abs(forecast(task).forecast.mean - forecast(holed).forecast.mean)
    return float(np.nanmedian(change / made.spread[own][:, None]))


def _against_cheap(made: Windows, pool: Bands, name: str, span_s: float) -> Row:
    """Hold the pool against the cheap method that turned out best on this set."""
    ahead_s = _ahead(made)
    levels = {method: member(made.past, made.step_s, ahead_s) for method, member in CHEAP.items()}
    losses = {
        method: winsorised(errors(made, Bands(middle, middle, middle), span_s))
        for method, middle in levels.items()
        if np.isfinite(middle).all()
    }
    best = min(losses, key=lambda method: losses[method])
    ratio = winsorised(errors(made, pool, span_s)) / losses[best]
    metric = f'vs_best_cheap{{set="{made.name}",lead="{name}"}}'
    return at_most(metric, ratio, 1.02, unit="ratio", n=len(made.past), note=f"best: {best}")


def _task(made: Windows, own: Ints, model: Model) -> ForecastTask:
    """Ask for the forecast of some windows as one fleet."""
    known = CATALOG.get(made.metric)
    return ForecastTask(
        metric=made.metric,
        targets=tuple(Target(job=str(row)) for row in made.series[own]),
        time_s=made.time_s,
        value=made.past[own],
        horizon_s=HORIZON_S,
        coverage=COVERAGE,
        low=known.low if known else -np.inf,
        high=known.high if known else np.inf,
        model=model,
    )


def _write(bands: Bands, own: Ints, made: Forecast) -> None:
    bands.lower[own], bands.middle[own], bands.upper[own] = made.lower, made.mean, made.upper


def _ahead(made: Windows) -> Floats:
    """Return (H,) leads of the future's columns in seconds."""
    return np.arange(1, made.future.shape[1] + 1, dtype=np.float64) * made.step_s


def _asked(made: Windows, *, quick: bool) -> Ints:
    """Return the windows that facebook's Prophet is asked: all, or a fixed few spread evenly."""
    count = len(made.past)
    most = min(count, QUICK_WINDOWS.get(made.name, QUICK_OTHERWISE)) if quick else count
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def _cpu_s() -> float:
    """Return CPU seconds of this process and its children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
