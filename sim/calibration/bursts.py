"""How faults hang together on a real cluster: unlike nodes, relapses, company, times of repair."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from core.figures import Row
from core.types import Floats, Ints
from sim.calibration import play
from sim.calibration.claims import HBD, Claim, within
from sim.calibration.statistics import (
    Interval,
    company_share,
    gaps,
    negative_binomial,
    relapse_share,
    top_share,
    variance_to_mean,
)
from sim.scenario import Scenario

_DAY_S, _HOUR_S = play.DAY_S, 3600.0
_DAYS = 348.98
_COMPANY_S = 300.0


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of one cluster: (F,) the node of each, when it began and ended (nan: not yet)."""

    node: Ints
    start_s: Floats
    end_s: Floats
    nodes: int
    days: float

    @property
    def counts(self) -> Ints:
        """Return (N,) faults of each node."""
        return np.bincount(self.node, minlength=self.nodes)

    @property
    def gaps_s(self) -> Floats:
        """Return the time from each repair to the node's next fault."""
        return gaps(self.node, self.start_s, self.end_s)

    @property
    def out_h(self) -> Floats:
        """Return the hours that each repaired fault kept its node out."""
        return (self.end_s - self.start_s)[~np.isnan(self.end_s)] / _HOUR_S


@dataclass(frozen=True, slots=True)
class _Measure:
    name: str
    published: float
    unit: str
    of: Callable[[Faults], float]


def burst_rows(*, quick: bool) -> Iterator[Row]:
    """Yield the statistics of the InfiniteHBD profile against those of its trace.

    The trace is one draw: it is held against the range in which 95 % of single simulated years
    lie, by Student's t over the seeds.
    """
    script = Scenario(
        "infinitehbd-bursts",
        nodes=400,
        racks=25,
        spares=0,
        jobs=(),  # a job would keep its nodes from the crew until it ends
        site=play.TENDED,
        profile="infinitehbd",
    )
    runs = [faults_of(run) for run in play.plays(script, seeds=8 if quick else 32, days=_DAYS)]
    for measure in _measures():
        values = np.array([measure.of(run) for run in runs])
        claim = Claim(f"InfiniteHBD: {measure.name}", measure.published, measure.unit, HBD)
        note = "interval: where 95 % of single years lie"
        yield within(claim, _single(values), n=len(runs), note=note)


def faults_of(run: play.Played) -> Faults:
    """Return a simulated cluster's faults as a trace has them."""
    rows = run.faults[run.faults["node"] >= 0]
    start_s = run.world.scenario.start_s
    return Faults(
        rows["node"].astype(np.int64),
        rows["onset_s"] - start_s,
        rows["mended_s"] - start_s,
        run.nodes,
        run.days,
    )


def _single(values: Floats) -> Interval:
    """Return the mean, and where one more value would lie with 95 %."""
    mean, size = float(np.mean(values)), len(values)
    spread = float(np.std(values, ddof=1)) * np.sqrt(1 + 1 / size)
    reach = float(special.stdtrit(size - 1, 0.975)) * spread
    return Interval(mean, mean - reach, mean + reach)


def _rate(found: Faults) -> float:
    return 1000 * len(found.node) / (found.nodes * found.days)


def _relapse(found: Faults, days: float) -> float:
    return relapse_share(found.gaps_s, days * _DAY_S).value


def _company(found: Faults) -> float:
    return company_share(found.node, found.start_s, _COMPANY_S).value


def _down(found: Faults) -> float:
    """Return the mean share of nodes out of service, faults that overlap counted twice."""
    end_s = np.where(np.isnan(found.end_s), found.days * _DAY_S, found.end_s)
    return float(np.sum(end_s - found.start_s)) / (found.nodes * found.days * _DAY_S)


def _at(share: float) -> Callable[[Faults], float]:
    return lambda found: float(np.quantile(found.out_h, share))


def _measures() -> tuple[_Measure, ...]:
    """Return the trace's own figures: its 584 faults, measured with these same functions."""
    return (
        _Measure("faults per 1,000 node-days", 4.18, "1/1000 d", _rate),
        _Measure(
            "variance to mean of a node's faults", 2.57, "", lambda f: variance_to_mean(f.counts)
        ),
        _Measure("negative binomial's k", 0.88, "", lambda f: negative_binomial(f.counts).k),
        _Measure("faults on the worst 5 % of nodes", 0.24, "", lambda f: top_share(f.counts, 0.05)),
        _Measure("faults on the worst 10 % of nodes", 0.41, "", lambda f: top_share(f.counts, 0.1)),
        _Measure("repairs that fail again within 1 day", 0.22, "", lambda f: _relapse(f, 1)),
        _Measure("repairs that fail again within 7 days", 0.31, "", lambda f: _relapse(f, 7)),
        _Measure("repairs that fail again within 30 days", 0.43, "", lambda f: _relapse(f, 30)),
        _Measure("faults with another node's within 5 min", 0.23, "", _company),
        _Measure("median time out of service", 20.4, "h", _at(0.5)),
        _Measure("mean time out of service", 132.8, "h", lambda f: float(np.mean(f.out_h))),
        _Measure("90th percentile of the time out", 311.0, "h", _at(0.9)),
        _Measure("99th percentile of the time out", 1966.0, "h", _at(0.99)),
        _Measure("share of nodes down", 0.023, "", _down),
    )
