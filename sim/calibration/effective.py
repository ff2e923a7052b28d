"""Time that is useful: Meta's closed form, its two operating points, Young's optimum, Llama 3."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from core.figures import Row
from core.types import Floats
from sim.calibration import play
from sim.calibration.claims import LLAMA3, RSC, YOUNG, Claim, beyond, near
from sim.calibration.statistics import (
    Interval,
    best_interval_s,
    ettr,
    least_of_parabola,
    mean_interval,
)
from sim.library import scenario
from sim.scenario import Scenario, Site

_DAY_S = play.DAY_S
_RATE = 6.5e-3  # RSC-1's failures per node and day
_CRASH = "code_restart"  # ends a job at once, leaves the machines whole and is gone when it starts
_EXACT = 0.02
_STATED = 0.05  # the paper's own distance between the formula and its Monte Carlo
_YOUNG = 0.10
_HEADLINE = 0.90


@dataclass(frozen=True, slots=True)
class _Case:
    """A job of so many nodes, and its terms in the formula; seconds, failures a node and day."""

    nodes: int
    interval_s: float
    restart_s: float
    write_s: float
    rate: float = _RATE

    @property
    def failures_a_s(self) -> float:
        return self.nodes * self.rate / _DAY_S

    @property
    def formula(self) -> float:
        return ettr(
            self.failures_a_s,
            interval_s=self.interval_s,
            restart_s=self.restart_s,
            write_s=self.write_s,
        )


# Few failures come in an interval: what the first order leaves out is far below 2 %.
_HOLDS = (
    _Case(128, 7200.0, 600.0, 30.0),
    _Case(256, 3600.0, 300.0, 0.0),
    _Case(512, 1800.0, 300.0, 10.0),
    _Case(1000, 1800.0, 360.0, 0.0),
    _Case(1024, 600.0, 300.0, 5.0),
    _Case(2048, 300.0, 120.0, 3.0),
    _Case(2048, 600.0, 120.0, 20.0, rate=2.34e-3),
)
_POINTS = ((_Case(2000, 3600.0, 300.0, 0.0), 0.70), (_Case(2000, 300.0, 300.0, 0.0), 0.93))

_SWEEP = _Case(1, 0.0, 60.0, 60.0, rate=1.0)
_SWEEP_JOBS = 240
_FACTORS = (0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0)  # of Young's interval


def formula_rows(*, quick: bool) -> Iterator[Row]:
    """Yield simulated ratios against the closed form, and at the paper's operating points."""
    for case in _HOLDS:
        found = _simulated(case, quick=quick)
        name = (
            f"ETTR {case.nodes * 8:,} GPUs, {case.interval_s / 60:g} min checkpoints of "
            f"{case.write_s:g} s, u0 {case.restart_s / 60:g} min, r_f {1e3 * case.rate:g}"
        )
        claim = Claim(name, case.formula, "", f"{RSC}: its formula")
        yield near(claim, found, ratio=_EXACT, n=len(_seeds(quick)))
    for case, published in _POINTS:
        found = _simulated(case, quick=quick)
        claim = Claim(
            f"ETTR 16k GPUs, {case.interval_s / 60:g} min checkpoints", published, "", RSC
        )
        note = f"formula {case.formula:.3f}; the paper's formula is within 5 % of its Monte Carlo"
        yield near(claim, found, ratio=_STATED, n=len(_seeds(quick)), note=note)


def sweep_rows(*, quick: bool) -> Iterator[Row]:
    """Yield the checkpoint interval that wastes least, found by trying, against Young's."""
    young_s = best_interval_s(_SWEEP.failures_a_s, _SWEEP.write_s)
    factors = np.array(_FACTORS)
    days = 30.0 if quick else 120.0
    found = np.array([_least(factors, young_s, seed, days) for seed in _seeds(quick)])
    claim = Claim("checkpoint interval that wastes least", young_s, "s", YOUNG)
    note = f"{_SWEEP_JOBS} jobs with a failure a day, checkpoints of 60 s; a parabola over ln dt"
    yield near(claim, mean_interval(found), ratio=_YOUNG, n=len(found), note=note)


def llama3_rows(*, quick: bool) -> Iterator[Row]:
    """Yield Llama 3's effective training time under what its site does by itself."""
    runs = [*play.plays(scenario("llama3"), seeds=1 if quick else 4, days=54)]
    shares = mean_interval(np.array([run.ettr for run in runs]))
    claim = Claim("Llama 3: effective training time", _HEADLINE, "", LLAMA3)
    yield beyond(claim, shares, n=len(runs), note="the site's own automation, nobody else")
    counts = mean_interval(np.array([float(np.sum(run.faults["interrupted"] > 0)) for run in runs]))
    claim = Claim("Llama 3: interruptions in 54 days", 466.0, "", LLAMA3)
    yield near(
        claim, counts, ratio=0.15, n=len(runs), note="faults that stopped it, each counted once"
    )


def _simulated(case: _Case, *, quick: bool) -> Interval:
    runs = (play.play(_script(case), seed=seed, days=_days(quick)) for seed in _seeds(quick))
    return mean_interval(np.array([run.ettr for run in runs]))


def _seeds(quick: bool) -> range:
    return range(2 if quick else 5)


def _days(quick: bool) -> float:
    return 60.0 if quick else 180.0


def _script(case: _Case, *, jobs: int = 0) -> Scenario:
    """Return jobs that fill 2,048 nodes, restart in exactly ``u0`` and fail independently."""
    count = jobs or max(1, 2048 // case.nodes)
    nodes = count * case.nodes
    return Scenario(
        "ettr",
        nodes=nodes,
        racks=max(1, nodes // 32),
        spares=0,
        jobs=play.filled(
            (case.nodes, count),
            checkpoint_interval_s=case.interval_s,
            checkpoint_stall_s=case.write_s,
            checkpoint_save_s=0.0,
        ),
        site=Site(
            requeue=True,
            requeue_s=0.0,
            restart_s=case.restart_s,
            restart_s_per_gpu=0.0,
            fresh_node_s=0.0,
            exact_restart=True,
        ),
        rates=((_CRASH, case.rate),),
    )


def _least(factors: Floats, young_s: float, seed: int, days: float) -> float:
    """Return the best interval of one seed: the same failures strike at every interval tried."""
    cases = [replace(_SWEEP, interval_s=factor * young_s) for factor in factors]
    wasted = [
        1 - play.play(_script(case, jobs=_SWEEP_JOBS), seed=seed, days=days).ettr for case in cases
    ]
    return young_s * float(np.exp(least_of_parabola(np.log(factors), np.array(wasted))))
