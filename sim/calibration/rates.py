"""How often things break: rates by class and in total, Llama 3's counts, MTTF against job size."""

from collections.abc import Iterator

import numpy as np

from core.figures import Row
from sim.calibration import play
from sim.calibration.claims import LLAMA3, RSC, Claim, about, between, within
from sim.calibration.statistics import (
    LEVEL,
    Interval,
    bonferroni,
    poisson_interval,
    variance_to_mean,
)
from sim.catalogue import PROFILES
from sim.catalogue_file import Profile
from sim.engine.tables import Table
from sim.scenario import JobSpec, Scenario

PER_1000 = 1000.0
_DAYS = 54  # of Llama 3's snapshot
_NODES = 2048
_SPARES = 64
_RSC_RATE = 6.5e-3  # failures per node and day in jobs of more than 128 GPUs (HPCA 2025)
# Published times between failures, hours, by GPUs of the job (HPCA 2025): 1.8 h at 16,384 is the
# paper's own projection, the others are 1 / (N r_f). What it measured at 8 (47.7 days) and 1,024
# GPUs (7.9 h) counts other failures, too: 21 to 24 per 1,000 node-days.
_CLOSE = 0.10  # where thousands of failures make the interval narrower than the model is good
_GPUS = (8, 64, 256, 1024, 4096, 16384)


def rate_rows(*, quick: bool) -> Iterator[Row]:
    """Yield the rates of the profiles in total, and of Llama 3's and RSC-1's by class."""
    for name, source in (("llama3", LLAMA3), ("rsc1", RSC), ("rsc2", RSC)):
        runs = [*play.plays(_full(name), seeds=1 if quick else 4, days=_DAYS)]
        by = PROFILES[name]
        yield _total(by, runs, source)
        yield from _classes(by, runs, source)
        if name == "llama3":
            yield from _counts(by, runs)


def size_rows(*, quick: bool) -> Iterator[Row]:
    """Yield the mean time to failure of jobs of each size on a cluster that fails as RSC-1."""
    clusters = (
        play.filled((1, 512), (8, 64), (32, 16), (128, 4)),
        play.filled((512, 4)),
        play.filled((2048, 1)),
    )
    found: dict[int, list[tuple[float, float]]] = {}
    for jobs in clusters:
        for run in play.plays(_full("rsc1", jobs), seeds=1 if quick else 3, days=_DAYS):
            for gpus in np.unique(run.jobs["gpus"]):
                rows = run.jobs[run.jobs["gpus"] == gpus]
                seen = (float(_failures(run, rows)), float(play.running_s(rows).sum()))
                found.setdefault(int(gpus), []).append(seen)
    for gpus in _GPUS:
        failures, running_s = (sum(part) for part in zip(*found[gpus], strict=True))
        yield _mttf(gpus, failures, running_s / 3600)


def dispersed(count: float, dispersion: float, *, level: float = LEVEL) -> Interval:
    """Return a count's interval where counts scatter so many times as widely as Poisson's."""
    wide = max(dispersion, 1.0)
    exact = poisson_interval(count / wide, level=level)
    return Interval(count, wide * exact.low, wide * exact.high)


def _full(profile: str, jobs: tuple[JobSpec, ...] | None = None) -> Scenario:
    """Return a cluster whose every node but the spares has a job, with a profile's faults."""
    return Scenario(
        f"{profile}-rates",
        nodes=_NODES + _SPARES,
        racks=(_NODES + _SPARES) // 16,
        spares=_SPARES,
        jobs=jobs or play.filled((128, 16)),
        site=play.TENDED,
        profile=profile,
    )


def _failures(run: play.Played, jobs: Table) -> int:
    """Return how many faults interrupted some jobs; a bug that lasts is one, however often."""
    planned = {name for row in PROFILES["rsc1"].rows if row.planned for name in row.classes}
    faults = run.faults[run.faults["interrupted"] > 0]
    faults = faults[~np.isin(faults, run.named(planned))]
    return int(np.isin(faults["number"], jobs["number"]).sum())


def _mttf(gpus: int, failures: float, hours: float) -> Row:
    published_h = 24 / (gpus / 8 * _RSC_RATE)
    count = poisson_interval(failures)
    found = Interval(*(hours / part if part else np.inf for part in (count[0], count[2], count[1])))
    claim = Claim(f"MTTF of {gpus:,} GPUs", published_h, "h", f"{RSC}: 1 / (N r_f)")
    note = "n: failures; Poisson's interval; what was set aside before a job died of it is none"
    return about(claim, found, ratio=_CLOSE, n=int(failures), note=note)


def _total(by: Profile, runs: list[play.Played], source: str) -> Row:
    unexpected = _unexpected(by)
    found = _rate(runs, unexpected, level=LEVEL)
    claim = Claim(f"{by.name} faults per 1,000 node-days", by.unexpected, "1/1000 d", source)
    return within(claim, found, n=len(runs), note="planned work left out")


def _classes(by: Profile, runs: list[play.Played], source: str) -> Iterator[Row]:
    rates = by.rates
    level = bonferroni(len(rates))
    for name in sorted(rates, key=rates.__getitem__, reverse=True):
        found = _rate(runs, {name}, level=level)
        claim = Claim(f"{by.name} {name} per 1,000 node-days", rates[name], "1/1000 d", source)
        yield within(claim, found, n=len(runs), note=f"interval for all {len(rates)} at once")


def _rate(runs: list[play.Played], classes: set[str], *, level: float) -> Interval:
    """Return faults of some classes per 1,000 node-days; its interval by how nodes scatter."""
    rows = [run.named(classes) for run in runs]
    count, node_days = float(sum(map(len, rows))), sum(run.node_days for run in runs)
    by_node = np.concatenate([run.by_node(part) for run, part in zip(runs, rows, strict=True)])
    spread = variance_to_mean(by_node) if by_node.any() else 1.0
    found = dispersed(count, spread, level=level)
    return Interval(*(PER_1000 * part / node_days for part in found))


def _counts(by: Profile, runs: list[play.Played]) -> Iterator[Row]:
    """Yield the mean counts of 54 days against the Poisson intervals of Llama 3's own."""
    groups = _groups(by)
    level = bonferroni(len(groups))
    for names, (label, count) in groups.items():
        # The cluster has spares beyond the 2,048 nodes that the published counts come from.
        counts = np.array([len(run.named(set(names))) * _NODES / run.nodes for run in runs])
        mean = float(counts.mean())
        interval = poisson_interval(mean * len(runs))
        found = Interval(mean, interval.low / len(runs), interval.high / len(runs))
        held = poisson_interval(count, level=level)
        claim = Claim(f"Llama 3: {label} in 54 days", count, "", LLAMA3)
        yield between(
            claim,
            found,
            low=held.low,
            high=held.high,
            n=len(runs),
            note=f"its Poisson interval, for all {len(groups)} at once",
        )


def _groups(by: Profile) -> dict[tuple[str, ...], tuple[str, float]]:
    """Return the printed rows by the classes that make them up; those that share a class as one."""
    groups: dict[tuple[str, ...], tuple[str, float]] = {}
    for row in by.rows:
        names = tuple(sorted(row.classes))
        label, count = groups.get(names, ("", 0.0))
        groups[names] = (f"{label} + {row.name}" if label else row.name, count + row.count)
    return groups


def _unexpected(by: Profile) -> set[str]:
    return {name for row in by.rows if not row.planned for name in row.classes}
