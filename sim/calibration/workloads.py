"""Jobs as they are submitted and as they wait: sizes, lengths, endings, use of the cluster."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.figures import Row
from core.types import Floats, Ints
from sim.build import tables_of
from sim.calibration import play
from sim.calibration.claims import ACME, RSC, RSC_USE, Claim, below, beyond, near
from sim.calibration.statistics import Interval, mean_interval, quantile_interval, share_interval
from sim.engine.jit import compiled
from sim.engine.mix import draw
from sim.engine.tables import Table, Tables
from sim.engine.words import Ending
from sim.scenario import Scenario, Workload

Flags = NDArray[np.bool_]

_JOBS = 400_000
_GPUS = 16_384
_LARGE = 256  # GPUs of a large job, as Kokolis et al. count them
_COMPLETED = 0.60 / (1 - 0.10 - 0.02 - 0.001 - 0.001 - 0.006)
_SHARE = 0.10  # relative, of shares and means that the mix was fitted to
_WIDE = 0.25  # of means of lengths, whose tail one job in a thousand decides


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs as submitted: (J,) GPUs, seconds of work, ending."""

    gpus: Ints
    run_s: Floats
    ending: Ints

    @property
    def gpu_s(self) -> Floats:
        """Return (J,) the GPU-seconds that each asks for."""
        return self.gpus * self.run_s


@dataclass(frozen=True, slots=True)
class _Marginals:
    """What was published of a cluster's GPU jobs; shares of their count and of their GPU time."""

    mix: str
    mean_gpus: float
    median_gpus: float
    mean_s: float
    median_s: float
    completed: float
    cancelled: float
    time_completed: float
    time_cancelled: float


_MARGINALS = (
    _Marginals("acme-seren", 5.68, 1, 1414.3, 122, 0.497, 0.075, 0.212, 0.664),
    _Marginals("acme-kalos", 26.77, 1, 1259.7, 124, 0.541, 0.062, 0.313, 0.607),
    _Marginals("philly", 1.928, 1, 18006.1, 874, 0.604, 0.090, 0.321, 0.294),
    _Marginals("helios", 3.716, 1, 6651.7, 206, 0.624, 0.221, 0.513, 0.394),
)


def mix_rows(*, quick: bool) -> Iterator[Row]:
    """Yield the sizes of RSC-1's jobs, and the marginals of Kalos and Philly."""
    del quick  # to draw them all takes a second
    count = _JOBS
    yield from _rsc(drawn("rsc1", count), count)
    large = drawn("rsc2", count)
    claim = Claim("RSC-2: GPU time of jobs of at least 256 GPUs", 0.52, "", RSC)
    yield near(claim, _of_time(large, large.gpus >= _LARGE), ratio=_SHARE, n=count)
    for published in _MARGINALS:
        yield from _marginals(published, drawn(published.mix, count))


def use_rows(*, quick: bool) -> Iterator[Row]:
    """Yield how much of RSC-1 is used and how long its jobs wait."""
    script = Scenario(
        "rsc1-use",
        nodes=2048,
        racks=128,
        spares=0,
        jobs=(),
        site=play.TENDED,
        workload=Workload(jobs_per_day=7200.0, mix="rsc1"),
        profile="rsc1",
    )
    days = 60.0 if quick else 120.0
    runs = [*play.plays(script, seeds=1 if quick else 4, days=days)]
    used = mean_interval(np.array([_used(run) for run in runs]))
    claim = Claim("RSC-1: utilisation", 0.83, "", RSC_USE)
    yield near(claim, used, ratio=_SHARE, n=len(runs), note="GPUs that jobs hold; 7,200 jobs a day")
    waits = np.concatenate([_waits_s(run.jobs) for run in runs])
    median = quantile_interval(waits, 0.5)
    claim = Claim("median wait in the queue", 189.0, "s", f"{ACME}: Philly, the longest of four")
    yield below(claim, median, n=len(waits), note="plausible: a cluster that is not overfull")


def drawn(mix: str, count: int) -> Jobs:
    """Return the first jobs that a mix submits on a cluster of 16,384 GPUs, seed 0."""
    script = Scenario(
        "mix",
        nodes=_GPUS // 8,
        racks=_GPUS // 8 // 16,
        spares=0,
        jobs=(),
        workload=Workload(jobs_per_day=1.0, mix=mix),
        telemetry="none",
        history_s=0.0,
    )
    jobs = Jobs(np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.int64))
    _draw(tables_of(script, seed=0), jobs.gpus, jobs.run_s, jobs.ending)
    return jobs


@compiled
def _draw(w: Tables, gpus: Ints, run_s: Floats, ending: Ints) -> None:
    slot = len(w.jobs) - 1  # its last: nothing has come to use it
    for index in range(len(gpus)):
        draw(w, slot, index)
        row = w.jobs[slot]
        gpus[index] = row["gpus"]
        run_s[index] = row["work"] * row["ideal_s"]
        ending[index] = row["ending"]


def _rsc(jobs: Jobs, count: int) -> Iterator[Row]:
    small, one, large = jobs.gpus <= 8, jobs.gpus == 1, jobs.gpus >= _LARGE
    claim = Claim("RSC-1: jobs of at most 8 GPUs", 0.90, "", RSC)
    yield beyond(claim, _count(small), n=count)
    claim = Claim("RSC-1: jobs of one GPU", 0.40, "", RSC)
    yield beyond(claim, _count(one), n=count)
    claim = Claim("RSC-1: GPU time of jobs of at most 8 GPUs", 0.10, "", RSC)
    yield below(claim, _of_time(jobs, small), n=count)
    claim = Claim("RSC-1: GPU time of jobs of at least 256 GPUs", 0.66, "", RSC)
    yield near(claim, _of_time(jobs, large), ratio=_SHARE, n=count)
    claim = Claim("RSC-1: jobs that complete", _COMPLETED, "", RSC)
    note = "60 % of those whose end no preemption and no infrastructure decides"
    yield near(claim, _count(jobs.ending == Ending.COMPLETED), ratio=_SHARE, n=count, note=note)


def _marginals(published: _Marginals, jobs: Jobs) -> Iterator[Row]:
    label, n = published.mix, len(jobs.gpus)
    sizes = jobs.gpus.astype(np.float64)
    for name, value, unit, found, ratio in (
        ("mean size", published.mean_gpus, "GPUs", _mean(sizes), _SHARE),
        ("median size", published.median_gpus, "GPUs", quantile_interval(sizes, 0.5), _SHARE),
        ("mean length", published.mean_s, "s", _mean(jobs.run_s), _WIDE),
        ("median length", published.median_s, "s", quantile_interval(jobs.run_s, 0.5), _SHARE),
        ("jobs that complete", published.completed, "", _ended(jobs, Ending.COMPLETED), _SHARE),
        ("jobs cancelled", published.cancelled, "", _ended(jobs, Ending.CANCELLED), _SHARE),
        ("GPU time completed", published.time_completed, "", _time(jobs, Ending.COMPLETED), _WIDE),
        ("GPU time cancelled", published.time_cancelled, "", _time(jobs, Ending.CANCELLED), _WIDE),
    ):
        yield near(Claim(f"{label}: {name}", value, unit, ACME), found, ratio=ratio, n=n)


def _count(wanted: Flags) -> Interval:
    return share_interval(float(np.sum(wanted)), len(wanted))


def _ended(jobs: Jobs, ending: Ending) -> Interval:
    return _count(jobs.ending == ending)


def _time(jobs: Jobs, ending: Ending) -> Interval:
    return _of_time(jobs, jobs.ending == ending)


def _mean(values: Floats) -> Interval:
    return mean_interval(values)


def _of_time(jobs: Jobs, wanted: Flags) -> Interval:
    """Return a share of all GPU time, with the interval of a ratio of means (linearised)."""
    time = jobs.gpu_s
    share = float(time[wanted].sum() / time.sum())
    spread = mean_interval((wanted - share) * time / float(time.mean()))
    return Interval(share, share + spread.low, share + spread.high)


def _used(run: play.Played) -> float:
    return run.sums.held / float(run.sums.use.sum())


def _waits_s(rows: Table) -> Floats:
    waits: Floats = rows["begun_s"] - rows["submit_s"]
    return waits[~np.isnan(waits)]
