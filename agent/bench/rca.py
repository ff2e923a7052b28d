"""Root cause on causal graphs of growing size, beside DoWhy: time, and agreement of the ranks."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.bench.rca_child import AGREED_SHIFT, Agreement, Ours, Theirs
from agent.bench.rca_graphs import ROWS
from core.figures import Row, at_least, at_most

SIZES = (10, 50, 200, 1000, 20_000)
SEED = 0
_GOAL_S = {200: 0.010, 20_000: 1.0}
_GOAL_RATIO = {10: 2000.0, 50: 2000.0, 200: 200.0}
_GOAL_TAU = 0.9
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Request:
    """What DoWhy is asked: (variables, CPU limit in s) pairs, and sizes of graphs to compare."""

    limits: tuple[tuple[int, float], ...]
    agreement: tuple[int, ...]


# The short form stops DoWhy at 50 variables, where its default took 87 s (facts), and compares
# small graphs: all coalitions of 10 variables are 32 times those of 5.
QUICK = Request(limits=((10, 30.0), (50, 6.0)), agreement=(5, 6, 5, 6, 5, 6))
FULL = Request(
    limits=((10, 120.0), (50, 400.0), (200, 1800.0)), agreement=(5, 6, 7, 8, 9, 10, 5, 6, 7, 8)
)


def rca_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure fit, diagnosis and DoWhy's default attribution of one row, in CPU seconds."""
    ours = _measure("ours", sizes=SIZES, seed=SEED)
    asked = QUICK if quick else FULL
    answers = _measure("dowhy", limits=asked.limits, agreement=asked.agreement, seed=SEED)
    return rows_of(
        [Ours(**each) for each in ours["Ours"]],
        [Theirs(**each) for each in answers["Theirs"]],
        [Agreement(**each) for each in answers["Agreement"]],
    )


def rows_of(
    ours: Sequence[Ours], theirs: Sequence[Theirs], agreement: Sequence[Agreement]
) -> tuple[Row, ...]:
    """Report what was measured, DoWhy's times beside ours of the same size."""
    by_size = {each.variables: each for each in ours}
    return (
        *(row for each in ours for row in _own_rows(each)),
        *(row for each in theirs for row in _their_rows(each, by_size[each.variables])),
        *_tau_rows(agreement),
    )


def _measure(what: str, **asked: object) -> Mapping[str, list[dict[str, Any]]]:
    """Return the answers of a fresh process with one thread, by their kind."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "agent.bench.rca_child"],
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        input=json.dumps({"what": what, **asked}),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        for kind, answer in json.loads(line).items():
            answers.setdefault(kind, []).append(answer)
    return answers


def _own_rows(each: Ours) -> Iterator[Row]:
    """Report our fit and diagnosis at one size."""
    size = f"{each.variables} variables, {each.links} links, {ROWS} rows; CPU s, one thread"
    note = f"{size}; straight and bent mechanisms, back-tested"
    yield Row(f"fit_s_{each.variables}", each.fit_s, "s", note=note)
    median, low, high = each.diagnose_s
    found = (
        f"the planted cause came first in {each.found} of {each.runs} rows; "
        f"in {each.runs - each.oddest} another mechanism was further off by chance"
    )
    note = f"{size}; one row: residuals, tails, ranking, both attributions; median; {found}"
    metric, goal = f"diagnose_s_{each.variables}", _GOAL_S.get(each.variables)
    if goal is None:
        yield Row(metric, median, "s", low=low, high=high, n=each.runs, note=note)
    else:
        yield at_most(metric, median, goal, unit="s", low=low, high=high, n=each.runs, note=note)


def _their_rows(each: Theirs, ours: Ours) -> Iterator[Row]:
    """Report DoWhy's time at one size, and how many times ours it is."""
    how = "attribute_anomalies of one row, default settings, fit not counted; CPU s, one thread"
    if not each.finished:
        how = f"at least: stopped after {each.attribute_s:.0f} CPU s, not finished; {how}"
    yield Row(f"dowhy_s_{each.variables}", each.attribute_s, "s", note=how)
    yield at_least(
        f"ratio_vs_dowhy_{each.variables}",
        each.attribute_s / ours.diagnose_s[0],
        _GOAL_RATIO[each.variables],
        unit="x",
        note=f"DoWhy's time over our diagnosis of the same row, ranking included; {how}",
    )


def _tau_rows(each: Sequence[Agreement]) -> Iterator[Row]:
    """Report how well the ranks agree on linear graphs."""
    sizes = f"{min(a.variables for a in each)} to {max(a.variables for a in each)} variables"
    how = (
        f"median of {len(each)} linear graphs of {sizes}, one mechanism {AGREED_SHIFT:g} sd off; "
        "DoWhy with 20,000 samples and all coalitions; low and high are the extremes"
    )
    for metric, tau, what in (
        ("kendall_tau", [a.surprise for a in each], "shares of its default outlier score"),
        ("kendall_tau_deviation", [a.deviation for a in each], "shares of the signed deviation"),
    ):
        spread = {"low": min(tau), "high": max(tau), "n": len(tau), "note": f"{what}; {how}"}
        yield at_least(metric, statistics.median(tau), _GOAL_TAU, unit="", **spread)
