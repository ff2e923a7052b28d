"""The same windows for the fleet's Prophet and facebook's: objective, forecast, interval."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agent.bench.fleet_child import START_S, STEP_S
from agent.bench.look_alikes import look_alikes
from core.figures import Row, at_least, at_most
from core.types import Floats
from detectors.forecast.prophet import reference
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.prophet.settings import ProphetSettings

RECORDED = Path("../shared/data")
COVERAGE, WIDTH_STEPS = 0.8, 30
WIDTH_SAMPLES = 8000  # so that upstream's own chance moves a width by 1 %
ENOUGH_NAT = 0.01
# Points and spacing; a season has two periods at least, as upstream asks for.
PLAIN, DAILY = ((120, 60.0), (240, 60.0), (480, 60.0)), ((576, 300.0), (336, 600.0))


class Windows(NamedTuple):
    """Windows (N, T) without gaps, their spacing, and whether they have a daily season."""

    value: Floats
    step_s: float
    daily: bool

    @property
    def time_s(self) -> Floats:
        """Return (T,) times."""
        return np.asarray(START_S + self.step_s * np.arange(self.value.shape[1], dtype=np.float64))

    @property
    def settings(self) -> ProphetSettings:
        """Return the settings both are given."""
        return ProphetSettings(daily=self.daily, weekly=False, yearly=False, ar=False)


class Compared(NamedTuple):
    """One window: upstream's loss less ours, our interval's width over upstream's or 0, and
    mean |our forecast - upstream's| over the window's standard deviation.
    """

    gap: float
    width: float
    off: float


def same_model_rows(*, quick: bool) -> tuple[Row, ...]:
    """Compare on generated windows, and on recorded ones where they lie beside the checkout."""
    generated = list(_generated(12 if quick else 210))
    found = _compared(generated, widths=12 if quick else 60)
    newton = _newton_windows(20 if quick else 40, points=480)
    exact = _compared([newton], widths=len(newton.value), newton=True)
    rows = [
        _objective_row("objective_ok_ratio", found),
        at_most(
            "newton_difference_median_sd",
            float(np.median([each.off for each in exact])),
            0.002,
            unit="sd",
            high=max(each.off for each in exact),
            n=len(exact),
            note=f"windows of {newton.value.shape[1]} points, upstream's slow optimiser",
        ),
        *_width_rows(found, label=""),
        *_width_rows(exact, label='{optimiser="newton"}'),
    ]
    if not quick and RECORDED.is_dir():
        recorded = _compared(list(_recorded(RECORDED)), widths=0)
        rows.append(_objective_row('objective_ok_ratio{set="recorded"}', recorded))
    return tuple(rows)


def _objective_row(metric: str, found: Sequence[Compared]) -> Row:
    gaps = np.array([each.gap for each in found])
    return at_least(
        metric,
        float(np.mean(gaps >= -ENOUGH_NAT)),
        0.999,
        unit="ratio",
        n=len(gaps),
        note=f"median {np.median(gaps):.2f} nat better than upstream, least {gaps.min():.4f}",
    )


def _width_rows(found: Sequence[Compared], *, label: str) -> tuple[Row, ...]:
    widths = [each.width for each in found if each.width]
    low, middle, high = (float(each) for each in np.percentile(widths, (5, 50, 95)))
    note = (
        f"80 % interval over {WIDTH_STEPS} steps, upstream's with {WIDTH_SAMPLES} samples; "
        f"median {middle:.3f}"
    )
    return (
        at_least(f"width_ratio_p5{label}", low, 0.93, unit="x", n=len(widths), note=note),
        at_most(f"width_ratio_p95{label}", high, 1.08, unit="x", n=len(widths), note=note),
    )


def _generated(count: int) -> Iterator[Windows]:
    """Yield windows of several lengths, ``count`` of each."""
    for shapes, daily in ((PLAIN, False), (DAILY, True)):
        for points, step_s in shapes:
            time_s = START_S + step_s * np.arange(points, dtype=np.float64)
            value = look_alikes(count, time_s, seed=points).astype(np.float64)
            yield Windows(value, step_s, daily)


def _newton_windows(count: int, *, points: int) -> Windows:
    time_s = START_S + STEP_S * np.arange(points, dtype=np.float64)
    return Windows(look_alikes(count, time_s, seed=1).astype(np.float64), STEP_S, False)


def _recorded(folder: Path) -> Iterator[Windows]:
    """Yield windows of recorded GPU, machine and service telemetry, 60 of each panel at most."""
    from agent.evaluations import recorded

    panels = [recorded.gentd26(folder, metric) for metric in recorded.GENTD26_METRICS]
    panels += [recorded.nab_panel(folder), recorded.mscm_panel(folder)]
    for panel in panels:
        points, daily = (576, True) if panel.step_s >= 300 else (480, False)
        parts = (
            row[start : start + points]
            for start in range(0, panel.value.shape[1] - points + 1, points)
            for row in panel.value
        )
        whole = [part for part in parts if np.isfinite(part).all() and np.ptp(part) > 0]
        if whole:
            some = np.random.default_rng(0).permutation(len(whole))[:60]
            yield Windows(np.array([whole[each] for each in some]), panel.step_s, daily)


def _compared(sets: Sequence[Windows], *, widths: int, newton: bool = False) -> list[Compared]:
    """Compare each window; the interval of the first ``widths`` of a set, as it takes drawing."""
    out = []
    for windows in sets:
        fit = FleetProphet(windows.settings).fit(windows.time_s, windows.value)
        ahead = fit.predict(WIDTH_STEPS * windows.step_s, coverage=COVERAGE)
        for row, value in enumerate(windows.value):
            theirs = reference.fit(windows.settings, windows.time_s, value, newton=newton)
            ours = float((ahead.upper[row] - ahead.lower[row]).mean())
            off = np.abs(ahead.mean[row] - theirs.mean(ahead.time_s)).mean() / value.std()
            width = ours / _width(theirs, ahead.time_s) if row < widths else 0.0
            out.append(Compared(theirs.objective - float(fit.loss[row]), width, float(off)))
    return out


def _width(fitted: reference.Fitted, time_s: Floats) -> float:
    """Return the mean width of upstream's interval, from its own draws."""
    tails = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
    lower, upper = np.quantile(fitted.draws(time_s, WIDTH_SAMPLES), tails, axis=0)
    return float((upper - lower).mean())
