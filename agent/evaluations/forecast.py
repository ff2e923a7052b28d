"""``gpumedic evaluate forecast``: the pooled forecaster against facebook's Prophet, rolling origin.

Errors are mean absolute errors over all leads up to 30 minutes and up to 2 hours, divided by the
window's standard deviation; pinball losses are means of the 0.1, 0.5 and 0.9 quantiles'. Means over
windows are winsorised at 99 %. All series are ones that nothing was learned from. Intervals of
ratios are percentile bootstraps over series, whose windows are alike.

facebook's Prophet is asked first, in processes beside this one, while the pool is scored here.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from agent.evaluations.lookalikes import LOOKALIKES
from agent.evaluations.windows import HORIZON_S, SOURCES, Windows, windows
from core.figures import Row, at_least, at_most
from core.target import Target
from core.types import Floats, Forecast, Ints
from core.units import CATALOG
from detectors.forecast.averages import mean_of
from detectors.forecast.fleet import forecast
from detectors.forecast.matured import Learned, matured
from detectors.forecast.members import CHEAP
from detectors.forecast.task import FleetForecast, ForecastTask, Model

Progressed = Callable[[str, int, int], None]
SPANS = {"30min": 1800.0, "2h": HORIZON_S}
WINSOR = 0.99
COVERAGE = 0.8
COVERED = (0.76, 0.84)
TAILS = (0.1, 0.5, 0.9)
# Windows of each set that facebook's Prophet is asked in the short form, spread evenly over series
# and origins: 0.06 CPU-s each in the first, 1 in the last, where ratios vary most; 50 together.
QUICK_WINDOWS = {"G1": 70, "G2": 70, "G3": 60, "N": 50, "M": 24}
QUICK_OTHERWISE = 10
PROPHET_AT_ONCE = 5
RESAMPLES = 400
# What a series has at its first forecast.
FIRST_S = 1800.0
GAP_SHARE = 0.05
CPU_SERIES = 512
CPU_RUNS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Quantile forecasts of W windows, (W, H) each, NaN where a method was not asked."""

    lower: Floats
    middle: Floats
    upper: Floats

    def rows(self, keep: Ints) -> "Bands":
        """Return some of the windows."""
        return Bands(self.lower[keep], self.middle[keep], self.upper[keep])


# Windows that were asked, and their forecast to come.
Asked = list[tuple[Ints, Future[FleetForecast]]]


def rows(recorded: Path | None, *, quick: bool, progress: Progressed) -> Sequence[Row]:
    """Measure on held-out recorded series; on generated look-alikes where there are none."""
    found: list[Row] = []
    ratios: dict[str, list[float]] = {}
    sets = _sets(recorded, progress)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as beside:
        asked = {made.name: ask_prophet(made, _some(made, quick=quick), beside) for made in sets}
        for made in sets:
            pool = pool_bands(made, progress)
            found += _rows_of_set(made, pool)
            found += _against_prophet(made, pool, asked[made.name], ratios, progress)
    # Nothing else may run beside this.
    found += [_cost(made) for made in sets]
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


def _sets(recorded: Path | None, progress: Progressed) -> list[Windows]:
    """Return the windows of each set that are scored."""
    sources = SOURCES if recorded else LOOKALIKES
    found = []
    for place, (name, source) in enumerate(sources.items()):
        progress("reading", place, len(sources))
        panel = source.panel(recorded or Path())
        found.append(windows(name, panel.hold_out() if recorded else panel, source))
    progress("reading", len(sources), len(sources))
    return found


def _rows_of_set(made: Windows, pool: Bands) -> list[Row]:
    """Score the pool's own figures on one set."""
    of = f'{{set="{made.name}"}}'
    inside, (least, most) = coverage(made, pool), COVERED
    covered = Row(
        "coverage_80" + of,
        inside,
        "ratio",
        n=len(made.past),
        goal=f"{least:g} to {most:g}",
        ok=least <= inside <= most,
        note="intervals learn from forecasts that came due; readings on the edge are inside: "
        f"{on_edge(made, pool):.0%} of {made.name}",
    )
    answer = forecast(_task(made, np.arange(len(made.past)), Model.POOL)).forecast
    by_pool = np.array(answer.model) == Model.POOL.value
    told = f"{by_pool.mean():.1%} of {made.name} are answered by the pool, the others by naive"
    tested = answer.skill[by_pool & np.isfinite(answer.skill)]
    skill = float(tested.min()) if tested.size else np.nan
    return [
        covered,
        *(_against_cheap(made, pool, name, span_s) for name, span_s in SPANS.items()),
        at_least("least_skill_of_pool" + of, skill, 0.0, unit="ratio", n=tested.size, note=told),
        at_most("gap_change_median_sd" + of, gap_change(made), 0.05, unit="sd", n=len(made.past)),
        *_first(made),
    ]


def _first(made: Windows) -> list[Row]:
    """Score forecasts made as if the series had begun half an hour ago."""
    of, seen = f'{{set="{made.name}"}}', round(FIRST_S / made.step_s)
    past = made.past.copy()
    past[:, :-seen] = np.nan
    bands = _nothing(made)
    every = np.arange(len(past))
    _write(bands, every, forecast(_task(replace(made, past=past), every, Model.POOL)).forecast)
    last = CHEAP["last"](past, made.step_s, _ahead(made))
    known = np.isfinite(bands.middle[:, 0])
    ours = errors(made, bands, HORIZON_S)[known]
    theirs = errors(made, Bands(last, last, last), HORIZON_S)[known]
    ratio, count = winsorised(ours) / winsorised(theirs), int(known.sum())
    note = "from half an hour of readings; against the last value, up to 2 h"
    return [
        at_most("cold_start_error_ratio" + of, ratio, 1.0, unit="ratio", n=count, note=note),
        Row("cold_start_coverage_80" + of, coverage(made, bands), "ratio", n=count),
    ]


def _against_prophet(
    made: Windows,
    pool: Bands,
    asked: Asked,
    ratios: dict[str, list[float]],
    progress: Progressed,
) -> list[Row]:
    """Hold the pool against facebook's Prophet where that was asked, and note the ratios."""
    rows_, prophet = prophet_bands(made, asked, progress)
    part, ours = made.rows(rows_), pool.rows(rows_)
    found = []
    for name, span_s in SPANS.items():
        for kind, score in SCORES.items():
            pair = score(part, ours, span_s), score(part, prophet, span_s)
            metric = f"{kind}_ratio_vs_prophet_{name}"
            ratio = winsorised(pair[0]) / winsorised(pair[1])
            ratios.setdefault(metric, []).append(ratio)
            low, high = ratio_interval(*pair, part.series)
            found.append(
                at_most(
                    f'{metric}{{set="{made.name}"}}',
                    ratio,
                    WORST_RATIO,
                    unit="ratio",
                    low=low,
                    high=high,
                    n=len(rows_),
                    note="95 % bootstrap over series",
                )
            )
    return found


def ratio_interval(ours: Floats, theirs: Floats, series: Ints) -> tuple[float, float]:
    """Return the 95 % interval of a ratio of winsorised means, resampling whole series."""
    rng = np.random.default_rng(0)
    own = [np.flatnonzero(series == one) for one in np.unique(series)]
    drawn = []
    for _ in range(RESAMPLES):
        rows_ = np.concatenate([own[one] for one in rng.integers(0, len(own), len(own))])
        drawn.append(winsorised(ours[rows_]) / winsorised(theirs[rows_]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def pool_bands(made: Windows, progress: Progressed) -> Bands:
    """Forecast every window with the pool, turn by turn: what came due teaches the intervals.

    At its n-th origin a series knows its first n - 1 forecasts as far as they have come due.
    """
    bands = _nothing(made)
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


def ask_prophet(made: Windows, some: Ints, beside: ProcessPoolExecutor) -> Asked:
    """Have some windows forecast by facebook's Prophet in other processes."""
    parts = np.array_split(some, -(-len(some) // PROPHET_AT_ONCE))
    return [(own, beside.submit(forecast, _task(made, own, Model.PROPHET))) for own in parts]


def prophet_bands(made: Windows, asked: Asked, progress: Progressed) -> tuple[Ints, Bands]:
    """Wait for what was asked: the windows, and their forecasts."""
    bands = _nothing(made)
    for place, (own, answer) in enumerate(asked):
        progress(f"prophet {made.name}", place, len(asked))
        _write(bands, own, answer.result().forecast)
    progress(f"prophet {made.name}", len(asked), len(asked))
    rows_ = np.concatenate([own for own, _ in asked])
    return rows_, bands.rows(rows_)


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


SCORES: Mapping[str, Callable[[Windows, Bands, float], Floats]] = {
    "error": errors,
    "pinball": pinballs,
}


def coverage(made: Windows, bands: Bands) -> float:
    """Return the share of what came, at all leads, that lay within the interval."""
    known = np.isfinite(made.future) & np.isfinite(bands.lower)
    within = (made.future >= bands.lower) & (made.future <= bands.upper)
    return float(within[known].mean())


def on_edge(made: Windows, bands: Bands) -> float:
    """Return the share of what came that lay exactly on the interval's edge."""
    known = np.isfinite(made.future) & np.isfinite(bands.lower)
    edge = (made.future == bands.lower) | (made.future == bands.upper)
    return float(edge[known].mean())


def winsorised(value: Floats) -> float:
    """Return the mean of the finite values, the largest hundredth of them pulled in."""
    known = value[np.isfinite(value)]
    return float(np.minimum(known, np.quantile(known, WINSOR)).mean())


def _cost(made: Windows) -> Row:
    """Measure CPU milliseconds a series of one forecast for a fleet of CPU_SERIES."""
    task = _task(made, np.resize(np.arange(len(made.past)), CPU_SERIES), Model.POOL)
    forecast(task)
    spent = []
    for _ in range(CPU_RUNS):
        before = _cpu_s()
        forecast(task)
        spent.append(1e3 * (_cpu_s() - before) / CPU_SERIES)
    return at_most(
        f'cpu_ms_per_series{{set="{made.name}"}}',
        float(np.median(spent)),
        1.0,
        unit="ms",
        low=min(spent),
        high=max(spent),
        n=CPU_RUNS,
        note=f"{CPU_SERIES} series of {made.past.shape[1]} readings; least and most of {CPU_RUNS}",
    )


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


def _nothing(made: Windows) -> Bands:
    return Bands(*(np.full(made.future.shape, np.nan) for _ in range(3)))


def _some(made: Windows, *, quick: bool) -> Ints:
    """Return the windows that facebook's Prophet is asked: all, or a fixed few spread evenly."""
    count = len(made.past)
    most = min(count, QUICK_WINDOWS.get(made.name, QUICK_OTHERWISE)) if quick else count
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def _cpu_s() -> float:
    """Return CPU seconds of this process and its children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
