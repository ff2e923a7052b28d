"""Learns, on development series, what the pool ships: ``detectors/forecast/weights.toml``.

Run ``python -m agent.evaluations.weights ../shared/data`` after the members have changed.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.windows import HORIZON_S, SOURCES, Windows, windows
from core.types import Floats, Ints
from detectors.forecast.backtest import BackTest, back_test
from detectors.forecast.combine import between, combined, tilt
from detectors.forecast.conformal import SHIPPED_COVERAGE, error_at, scales
from detectors.forecast.members import LEVEL, NAMES, expected

FILE = Path(__file__).parents[2] / "detectors" / "forecast" / "weights.toml"
CLASSES = {"utilization": ("G1",), "memory": ("G2", "G3"), "other": ("N", "M")}
KNOT_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0)
# Each knot learns from three leads about it, and each data set counts alike.
LEADS_A_KNOT = 3
ROWS = 1500
# Errors beyond, in standard deviations, are jumps that no weight foresees.
JUMP_QUANTILE = 0.99
JUMP = 8.0
FOLDS = 4
# Weights below are left out of the file.
SMALLEST = 5e-4
ROUNDS = 40
DESCENTS = 200
SMOOTH = 1e-3
LEADS_S = (60.0, 120.0, *np.arange(300.0, HORIZON_S + 1, 300.0).tolist())


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
    """Return (N, M) convex weights of least absolute error at each knot."""
    found = []
    for knot in range(len(KNOT_S)):
        known = [one for one in samples if len(_about(one.lead_s, knot))]
        members, target = zip(*(_errors(one, knot) for one in known), strict=True)
        stacked, wanted = np.concatenate(members), np.concatenate(target)
        used = (np.abs(stacked) > 0).any(axis=0)
        used[LEVEL] = True
        weight = np.zeros(stacked.shape[1])
        weight[used] = _least_absolute(stacked[:, used], wanted)
        found.append(weight)
    return np.array(found)


def learn_widths(samples: Sequence[Sample], weights: Floats) -> Floats:
    """Return (N, 2, F) coefficients of the scales, by pinball loss, never negative."""
    parts = [(one, *_band_parts(one, weights)) for one in samples]
    found = []
    for knot in range(len(KNOT_S)):
        scale, off = [], []
        for one, mean, features in parts:
            leads, spread = _about(one.lead_s, knot), one.windows.spread[:, None]
            if not len(leads):
                continue
            y = ((one.actual - mean)[:, leads] / spread).ravel()
            x = (features[:, :, leads] / spread).reshape(len(features), -1).T
            keep = _some(np.isfinite(y) & (np.abs(y) < JUMP))
            scale.append(x[keep])
            off.append(y[keep])
        stacked, wanted = np.concatenate(scale), np.concatenate(off)
        tail = (1 + SHIPPED_COVERAGE) / 2
        found.append([_quantile(stacked, side * wanted, tail) for side in (-1.0, 1.0)])
    return np.array(found)


def learn(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Return weights and widths of one class; widths hold what they state on series left out."""
    ratios: list[Floats] = []
    for fold in range(FOLDS):
        inside, outside = zip(*(_split(one, fold) for one in samples), strict=True)
        kept = [one for one in inside if len(one.actual)]
        weights = learn_weights(kept)
        widths = learn_widths(kept, weights)
        ratios += [_ratios(one, weights, widths) for one in outside if len(one.actual)]
    factor = float(np.nanquantile(np.concatenate(ratios), SHIPPED_COVERAGE))
    weights = learn_weights(samples)
    return weights, learn_widths(samples, weights) * factor


def _split(one: Sample, fold: int) -> tuple[Sample, Sample]:
    """Divide a data set by its series."""
    out = one.windows.series % FOLDS == fold
    return one.rows(np.flatnonzero(~out)), one.rows(np.flatnonzero(out))


def _about(lead_s: Floats, knot: int) -> Ints:
    """Return some of the leads that lie nearer to this knot than to its neighbours."""
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(KNOT_S)), np.inf]
    own = np.flatnonzero((lead_s > edges[knot] - 1) & (lead_s < edges[knot + 1] + 1))
    some = np.linspace(0, len(own) - 1, min(len(own), LEADS_A_KNOT)).astype(int)
    return np.asarray(own[np.unique(some)])


def _errors(one: Sample, knot: int) -> tuple[Floats, Floats]:
    """Return (n, M) members and (n,) what came, as distances from a level, over the spread."""
    leads, spread = _about(one.lead_s, knot), one.windows.spread[:, None]
    level = one.expected[LEVEL][:, leads]
    y = ((one.actual[:, leads] - level) / spread).ravel()
    x = np.nan_to_num((one.expected[:, :, leads] - level) / spread).reshape(len(NAMES), -1).T
    usual = np.nanquantile(np.abs(y), JUMP_QUANTILE)
    keep = _some(np.isfinite(y) & (np.abs(y) <= usual))
    return x[keep], y[keep]


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
    error = error_at(one.test, tested, one.lead_s, spread)
    scale = scales(made.past, made.step_s, error=error, apart=apart, spread=spread)
    return mean, scale


def _ratios(one: Sample, weights: Floats, widths: Floats) -> Floats:
    """Return errors over the half widths on their side, of series that were left out."""
    mean, scale = _band_parts(one, weights)
    half = np.einsum("hof,fsh->osh", at_leads(widths, one.lead_s), scale)
    off = one.actual - mean
    tiny = 1e-9 * one.windows.spread[:, None]
    ratio = np.abs(off) / np.maximum(np.where(off < 0, half[0], half[1]), tiny)
    return np.asarray(ratio[np.isfinite(ratio)])


def at_leads(table: Floats, lead_s: Floats) -> Floats:
    """Return a table of knots at leads, as it is read in use."""
    return between(np.array(KNOT_S), table, lead_s)


def _least_absolute(x: Floats, y: Floats) -> Floats:
    """Return convex weights that minimise mean |y - x w|, by re-weighted least squares."""
    weight = np.full(x.shape[1], 1 / x.shape[1])
    for _ in range(ROUNDS):
        share = 1 / np.maximum(np.abs(y - x @ weight), SMOOTH)
        weight = _descend(x, y, share, weight, _onto_simplex)
    return weight


def _quantile(x: Floats, y: Floats, tail: float) -> Floats:
    """Return coefficients, none negative, of a quantile of y, by re-weighted least squares."""
    found = np.full(x.shape[1], 1 / x.shape[1])
    for _ in range(ROUNDS):
        off = y - x @ found
        share = np.where(off > 0, tail, 1 - tail) / np.maximum(np.abs(off), SMOOTH)
        found = _descend(x, y, share, found, lambda value: np.maximum(value, 0.0))
    return found


def _descend(
    x: Floats, y: Floats, share: Floats, begin: Floats, onto: Callable[[Floats], Floats]
) -> Floats:
    """Minimise a weighted square by accelerated projected gradients (Beck and Teboulle 2009)."""
    gram = (x * share[:, None]).T @ x / len(y) + 1e-9 * np.eye(x.shape[1])
    target = (x * share[:, None]).T @ y / len(y)
    steepest = np.linalg.norm(gram, 2)
    here, probe, pace = begin, begin, 1.0
    for _ in range(DESCENTS):
        after = onto(probe - (gram @ probe - target) / steepest)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        probe = after + (pace - 1) / faster * (after - here)
        here, pace = after, faster
    return here


def _onto_simplex(value: Floats) -> Floats:
    """Return the nearest convex weights (Duchi and others 2008)."""
    ordered = np.sort(value)[::-1]
    over = (np.cumsum(ordered) - 1) / np.arange(1, len(value) + 1)
    last = np.flatnonzero(ordered > over)[-1]
    return np.asarray(np.maximum(value - over[last], 0.0))


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
