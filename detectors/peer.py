"""A rank or GPU that differs from those that do the same work at the same time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.topology import Topology
from core.types import Anomaly, Floats, Ints, Severity, Window
from core.units import CATALOG, Bad
from detectors.detector import Symptoms
from detectors.load import BUSY, LOAD, mean_load
from detectors.progress import roles
from detectors.progress.ranks import by_size, recent
from detectors.robust import robust_z, row_median
from detectors.words import amount, subject

DETECTOR = "peer"
ALONE = -1
# Shares of time with a kernel running that differ by less are the same load (assumed; a slow rank
# is busy for longer than its peers, who wait for it, by its slowness).
SAME_LOAD = 0.25


@dataclass(frozen=True, slots=True)
class Rule:
    """Compare a metric among peers.

    effect: least relative difference worth a word; least: the same in the metric's unit
    """

    metric: str
    effect: float
    least: float = 0.0


# Of a rank's own step time ``detectors.progress.Stragglers`` knows more than its peers do.
RULES = (
    Rule("rank_data_wait_s", 0.50),
    Rule("gpu_sm_clock_hz", 0.10),
    # Places in a chassis differ by up to 10 degrees in steady air, and loads that are taken for the
    # same by some more.
    Rule("gpu_temperature_celsius", 0.20, 15.0),
    Rule("gpu_memory_temperature_celsius", 0.20, 15.0),
)


@dataclass(frozen=True, slots=True)
class Peers:
    """Finds series that are off from their peers in the bad direction.

    Peers are the ranks of one job, or the GPUs that one job uses (of one node, where no job is
    known). When many of them differ, the group is split by role or by load and nobody is blamed. A
    GPU that was busier is warmer, one that idles has a slow clock: neither is a fault.

    span_s: each series counts with the median of its last ``span_s``
    sigmas: robust deviations from the median of the peers; 5 leaves 1 in 3 million to chance
    """

    span_s: float = 120.0
    sigmas: float = 5.0
    rules: tuple[Rule, ...] = RULES

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each odd one."""
        found: list[Anomaly] = []
        for rule in self.rules:
            window = windows.get(rule.metric)
            if window is None or len(window.targets) < roles.MIN_PEERS:
                continue
            late = _since(window, now_s - self.span_s)
            if late.value.size:
                group = _groups(window, topology)
                if LOAD in windows and rule.metric.startswith("gpu_"):
                    usual, newest = (
                        mean_load(windows[LOAD], window.targets, since_s)
                        for since_s in (-np.inf, now_s - self.span_s)
                    )
                    group = _alike(group, usual, newest, slow=CATALOG[rule.metric].bad is Bad.LOW)
                found += self._odd_ones(late, rule, group)
        return Symptoms(anomalies=tuple(found))

    def _odd_ones(self, window: Window, rule: Rule, group: Ints) -> Iterator[Anomaly]:
        sign = -1.0 if CATALOG[rule.metric].bad is Bad.LOW else 1.0
        value = recent(window.value, window.time_s, -np.inf)
        usable = np.flatnonzero(np.isfinite(value) & (group != ALONE))
        for places in by_size(group[usable], usable):
            members = usable[places]
            if members.shape[1] < roles.MIN_PEERS:
                continue
            # Bad is up from here on; a difference stays relative to the same median.
            against = sign * value[members]
            which = roles.odd(against, effect=rule.effect, sigmas=self.sigmas)
            which &= against - row_median(against)[:, None] >= rule.least
            for at in zip(*np.nonzero(which & roles.few(which)[:, None]), strict=True):
                peers = value[members[at[0]]]
                median = float(row_median(peers[None])[0])
                z = float(np.abs(robust_z(peers[None])[0, at[1]]))
                band = median * (1 + sign * rule.effect)
                score = min(1.0, z / (2 * self.sigmas))
                yield _anomaly(window, int(members[at]), (median, band), score)


def _since(window: Window, start_s: float) -> Window:
    keep = window.time_s >= start_s
    return Window(window.metric, window.targets, window.time_s[keep], window.value[:, keep])


def _groups(window: Window, topology: Topology | None) -> Ints:
    """Return (S,) a number for each series, the same for peers; -1 for one without.

    Where it is known which GPUs a job has, the others have no peers: some have just been busy.
    """
    job_of = _job_of_gpu(topology)
    codes: dict[tuple[str, str], int] = {}
    return np.array(
        [
            codes.setdefault((job, "") if job else ("", target.node), len(codes))
            if (job := target.job or job_of.get(target.gpu, "")) or (target.node and not job_of)
            else ALONE
            for target in window.targets
        ],
        dtype=np.int64,
    )


def _alike(group: Ints, usual: Floats, newest: Floats, *, slow: bool) -> Ints:
    """Return the groups without those whose load explains what they show.

    usual, newest: (S,) the load in the whole window and lately
    slow: a lesser load explains it, and idling; else a greater one
    """
    out = group.copy()
    if slow:
        out[newest < BUSY] = ALONE
    for load in (usual, newest):
        usable = np.flatnonzero((group != ALONE) & np.isfinite(load))
        for places in by_size(group[usable], usable):
            members = usable[places]
            over = load[members] - row_median(load[members])[:, None]
            out[members[(-over if slow else over) > SAME_LOAD]] = ALONE
    return out


def _job_of_gpu(topology: Topology | None) -> Mapping[str, str]:
    if topology is None:
        return {}
    pairs = zip(topology.rank_gpu.tolist(), topology.rank_job.tolist(), strict=True)
    return {topology.gpus[gpu]: topology.jobs[job] for gpu, job in pairs}


def _anomaly(window: Window, row: int, band: tuple[float, float], score: float) -> Anomaly:
    target, metric = window.targets[row], CATALOG[window.metric]
    known = np.flatnonzero(np.isfinite(window.value[row]))
    value = float(row_median(window.value[row : row + 1])[0])
    low = metric.bad is Bad.LOW
    return Anomaly(
        target=target,
        metric=window.metric,
        start_s=float(window.time_s[known[0]]),
        end_s=float(window.time_s[known[-1]]),
        value=value,
        lower=band[1] if low else metric.low,
        upper=metric.high if low else band[1],
        score=score,
        detector=DETECTOR,
        severity=Severity.WARNING,
        text=f"{subject(window.metric)} of {target} is {amount(value, window.metric)}, "
        f"its peers' median is {amount(band[0], window.metric)}",
    )
