"""Learns, on development series, what the pool ships: ``detectors/forecast/weights.toml``.

Run ``python -m agent.evaluations.weights ../shared/data`` after the members have changed.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.windows import HORIZON_S, SOURCES, Windows, windows
from core.types import Floats, Ints
from detectors.forecast.backtest import BackTest, back_test
from detectors.forecast.combine import combined, over_leads, spline, tilt
from detectors.forecast.conformal import SHIPPED_COVERAGE, error_at, scales, youth
from detectors.forecast.matured import widened
from detectors.forecast.members import LEVEL, NAMES, expected

FILE = Path(__file__).parents[2] / "detectors" / "forecast" / "weights.toml"
CLASSES = {"utilization": ("G1",), "memory": ("G2", "G3"), "other": ("N", "M")}
# Each twice the one before; see ``combine.Shipped``.
KNOT_S = tuple(60.0 * 2.0**knot for knot in range(8))
# Each data set counts alike: so many of its errors are looked at.
ROWS = 6000
# What a control point pays for differing from its neighbours, of the mean square of what it weighs:
# members are alike enough that without it weights hop between them from knot to knot.
STEADY = 0.001
# Errors beyond, in standard deviations, are jumps that no weight foresees.
JUMP_QUANTILE = 0.99
JUMP = 8.0
FOLDS = 4
# Factors on the widths that are tried.
LEAST_FACTOR, FACTORS = 0.4, 25
# Weights below are left out of the file.
SMALLEST = 5e-4
ROUNDS = 40
DESCENTS = 200
SMOOTH = 1e-3
# Denser at short leads, and multiples of every data set's step.
_MINUTES = (1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 105, 120)
LEADS_S = tuple(60.0 * minutes for minutes in _MINUTES)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the members said and what came, for the windows of one data set.

    expected: (M, W, L); actual: (W, L); at lead_s (L,)
    """

    windows: Windows
    lead_s: Floats
    expected: Floats
    actual: Floats
    test: BackTest

    def rows(self, keep: Ints) -> "Sample":
        """Return some of the windows."""
        test = BackTest(self.test.lead_s, self.test.expected[:, :, keep], self.test.actual[:, keep])
        return Sample(
            self.windows.rows(keep),
            self.lead_s,
            self.expected[:, keep],
            self.actual[keep],
            test,
        )


def sample(made: Windows) -> Sample:
    """Ask every member, now and on earlier origins."""
    step_s = made.step_s
    lead_s = np.array([lead for lead in LEADS_S if lead >= step_s])
    columns = np.rint(lead_s / step_s).astype(np.int64) - 1
    return Sample(
        made,
        lead_s,
        expected(made.past, step_s, lead_s),
        made.future[:, columns],
        back_test(made.past, step_s, HORIZON_S),
    )


def learn_weights(samples: Sequence[Sample]) -> Floats:
    """Return (N, M) control points: convex weights of least absolute error at every lead."""
    members, target, knots = map(np.concatenate, zip(*map(_errors, samples), strict=True))
    used = (np.abs(members) > 0).any(axis=0)
    used[LEVEL] = True
    weight = np.zeros((len(KNOT_S), len(NAMES)))
    weight[:, used] = _least_absolute(members[:, used], target, knots)
    return weight


def learn_widths(samples: Sequence[Sample], weights: Floats) -> Floats:
    """Return (N, 2, F) control points: coefficients of the scales, by pinball loss."""
    scale, off, knots = [], [], []
    for one in samples:
        mean, features = _band_parts(one, weights)
        spread = one.windows.spread[:, None]
        y = ((one.actual - mean) / spread).ravel()
        keep = _some(np.isfinite(y) & (np.abs(y) < JUMP))
        scale.append((features / spread).reshape(len(features), -1).T[keep])
        off.append(y[keep])
        knots.append(_knots(one)[keep])
    x, y, at = map(np.concatenate, (scale, off, knots))
    tail = (1 + SHIPPED_COVERAGE) / 2
    return np.stack([_quantile(x, side * y, at, tail) for side in (-1.0, 1.0)], axis=1)


def learn(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Return weights and widths of one class.

    Widths are scaled so that intervals which learn as they go, as they do in use, hold what they
    state on series that were left out, every data set counting alike.
    """
    left_out: list[list[tuple[Sample, Floats, Floats]]] = []
    for fold in range(FOLDS):
        inside, outside = zip(*(_split(one, fold) for one in samples), strict=True)
        kept = [one for one in inside if len(one.actual)]
        weights = learn_weights(kept)
        widths = learn_widths(kept, weights)
        left_out.append([(one, *_band(one, weights, widths)) for one in outside])
    factors = np.geomspace(LEAST_FACTOR, 1 / LEAST_FACTOR, FACTORS)
    held = [
        np.mean([_held(data_set, factor) for data_set in zip(*left_out, strict=True)])
        for factor in factors
    ]
    factor = np.interp(SHIPPED_COVERAGE, held, factors)
    weights = learn_weights(samples)
    return weights, learn_widths(samples, weights) * factor


def _held(folds: Sequence[tuple[Sample, Floats, Floats]], factor: float) -> float:
    """Return the share of a data set that intervals hold, origin by origin as they learn."""
    held, known = 0.0, 0.0
    for one, off, half in folds:
        made = one.windows
        width = np.zeros(int(made.series.max(initial=0)) + 1)
        weight = np.gradient(one.lead_s) * np.isfinite(off)
        due = weight * (one.lead_s <= made.gap * made.step_s)
        for turn in np.unique(made.turn):
            own = np.flatnonzero(made.turn == turn)
            series = made.series[own]
            reach = half[:, own] * (factor * np.exp(width[series]))[None, :, None]
            missed = (off[own] < -reach[0]) | (off[own] > reach[1])
            held += float((weight[own] * ~missed).sum())
            known += float(weight[own].sum())
            count = due[own].sum(axis=1)
            share = (due[own] * missed).sum(axis=1) / np.maximum(count, 1e-9)
            excess = np.where(count > 0, share - (1 - SHIPPED_COVERAGE), 0.0)
            width[series] = widened(width[series], excess)
    return held / known


def _split(one: Sample, fold: int) -> tuple[Sample, Sample]:
    """Divide a data set by its series."""
    out = one.windows.series % FOLDS == fold
    return one.rows(np.flatnonzero(~out)), one.rows(np.flatnonzero(out))


def _errors(one: Sample) -> tuple[Floats, Floats, Floats]:
    """Return (n, M) members and (n,) what came, from a level, over the spread; (n, N) knots."""
    spread = one.windows.spread[:, None]
    level = one.expected[LEVEL]
    away = (one.actual - level) / spread
    usual = np.nanquantile(np.abs(away), JUMP_QUANTILE, axis=0)
    y = away.ravel()
    x = np.nan_to_num((one.expected - level) / spread).reshape(len(NAMES), -1).T
    keep = _some(np.isfinite(y) & (np.abs(away) <= usual).ravel())
    return x[keep], y[keep], _knots(one)[keep]


def _knots(one: Sample) -> Floats:
    """Return (W x L, N) how much of each knot a window's leads feel."""
    return np.tile(spline(np.array(KNOT_S), one.lead_s), (len(one.actual), 1))


def _some(good: NDArray[np.bool_]) -> Ints:
    """Return at most ROWS of the rows that are good, evenly spread."""
    rows = np.flatnonzero(good)
    return np.random.default_rng(0).permutation(rows)[:ROWS]


def _band_parts(one: Sample, weights: Floats) -> tuple[Floats, Floats]:
    """Return (W, L) the combination's mean, tilted as in use, and (F, W, L) scales."""
    made, spread = one.windows, one.windows.spread
    tilted = tilt(one.test, at_leads(weights, one.test.lead_s), spread)
    weight = tilted.weights(at_leads(weights, one.lead_s), one.lead_s)
    tested = tilted.weights(at_leads(weights, one.test.lead_s), one.test.lead_s)
    mean = combined(one.expected, weight)
    apart = combined(np.abs(one.expected - mean), weight)
    young = youth(made.past, made.step_s, one.lead_s)
    error = error_at(one.test, tested, one.lead_s, spread) * young
    wide = spread[:, None] * young
    scale = scales(made.past, made.step_s, error=error, apart=apart, spread=wide)
    return mean, scale


def _band(one: Sample, weights: Floats, widths: Floats) -> tuple[Floats, Floats]:
    """Return (W, L) errors of the mean and (2, W, L) half widths."""
    mean, scale = _band_parts(one, weights)
    half = np.einsum("hof,fsh->osh", at_leads(widths, one.lead_s), scale)
    tiny = 1e-9 * one.windows.spread[:, None]
    return one.actual - mean, np.maximum(half, tiny)


def at_leads(table: Floats, lead_s: Floats) -> Floats:
    """Return a table of knots at leads, as it is read in use."""
    return over_leads(np.array(KNOT_S), table, lead_s)


def _least_absolute(x: Floats, y: Floats, knots: Floats) -> Floats:
    """Return (N, m) convex weights that minimise mean |y - x w|, by re-weighted least squares."""
    shape = knots.shape[1], x.shape[1]
    return _reweighted(
        x, y, knots, lambda off: 1 / np.abs(off), lambda w: _onto_simplices(w, shape)
    )


def _quantile(x: Floats, y: Floats, knots: Floats, tail: float) -> Floats:
    """Return (N, F) coefficients, none negative, of a quantile of y."""
    return _reweighted(
        x,
        y,
        knots,
        lambda off: np.where(off > 0, tail, 1 - tail) / np.abs(off),
        lambda w: np.maximum(w, 0.0),
    )


def _reweighted(
    x: Floats,
    y: Floats,
    knots: Floats,
    share_of: Callable[[Floats], Floats],
    onto: Callable[[Floats], Floats],
) -> Floats:
    """Minimise a loss that is a re-weighted square of y - sum over knots and columns of x w."""
    count, columns = knots.shape[1], x.shape[1]
    product = (knots[:, :, None] * x[:, None]).reshape(len(x), count * columns)
    found = np.full(count * columns, 1 / columns)
    apart = np.diff(np.eye(count), axis=0)
    apart = np.kron(apart.T @ apart, np.diag((x**2).mean(axis=0)) / count)
    for _ in range(ROUNDS):
        off = y - product @ found
        share = share_of(np.where(np.abs(off) > SMOOTH, off, np.where(off > 0, SMOOTH, -SMOOTH)))
        gram = (product * share[:, None]).T @ product / len(y)
        gram += STEADY * share.mean() * apart + 1e-9 * np.eye(len(gram))
        found = _descend(gram, product.T @ (share * y) / len(y), found, onto)
    return found.reshape(count, columns)


def _descend(
    gram: Floats, target: Floats, begin: Floats, onto: Callable[[Floats], Floats]
) -> Floats:
    """Minimise a square by accelerated projected gradients (Beck and Teboulle 2009)."""
    steepest = np.linalg.norm(gram, 2)
    here, probe, pace = begin, begin, 1.0
    for _ in range(DESCENTS):
        after = onto(probe - (gram @ probe - target) / steepest)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        probe = after + (pace - 1) / faster * (after - here)
        here, pace = after, faster
    return here


def _onto_simplices(value: Floats, shape: tuple[int, int]) -> Floats:
    """Return the nearest convex weights, row by row (Duchi and others 2008)."""
    rows = value.reshape(shape)
    ordered = np.sort(rows, axis=1)[:, ::-1]
    over = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, shape[1] + 1)
    last = shape[1] - 1 - np.argmax((ordered > over)[:, ::-1], axis=1)
    nearest = np.maximum(rows - over[np.arange(len(rows)), last][:, None], 0.0)
    return np.asarray(nearest.ravel())


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recorded", type=Path, help="folder of recorded telemetry")
    folder = parser.parse_args().recorded
    lines = ["# Made by agent/evaluations/weights.py from development series.", ""]
    lines += [f"knot_s = {list(KNOT_S)}"]
    for name, sets in CLASSES.items():
        samples = [
            sample(windows(one, SOURCES[one].panel(folder).dev(), SOURCES[one])) for one in sets
        ]
        weights, widths = learn(samples)
        lines += ["", f"[{name}]", "weight = ["]
        for row in weights:
            named = zip(NAMES, row, strict=True)
            shares = ", ".join(f"{member} = {w:.3f}" for member, w in named if w >= SMALLEST)
            lines += [f"    {{ {shares} }},"]
        lines += ["]", f"width = {np.round(widths, 4).tolist()}"]
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
