"""A rank or GPU that differs from those that do the same work at the same time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.topology import Topology
from core.types import Anomaly, Ints, Severity, Window
from core.units import CATALOG, Bad
from detectors.detector import Symptoms
from detectors.progress import roles
from detectors.progress.ranks import by_size, recent
from detectors.robust import robust_z, row_median
from detectors.words import amount, subject

DETECTOR = "peer"
ALONE = -1


@dataclass(frozen=True, slots=True)
class Rule:
    """Compare a metric among peers; ``effect``: least relative difference worth a word."""

    metric: str
    effect: float


# Of a rank's own step time ``detectors.progress.Stragglers`` knows more than its peers do.
RULES = (
    Rule("rank_data_wait_s", 0.50),
    Rule("gpu_sm_clock_hz", 0.10),
    # Places in a chassis differ by up to 10 degrees in steady air; 20 % of 65 is clear of that.
    Rule("gpu_temperature_celsius", 0.20),
    Rule("gpu_memory_temperature_celsius", 0.20),
)


@dataclass(frozen=True, slots=True)
class Peers:
    """Finds series that are off from their peers in the bad direction.

    Peers are the ranks of one job, or the GPUs that one job uses (of one node, for idle GPUs).
    When many of them differ, the group is split by role or by load and nobody is blamed.

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
                found += self._odd_ones(late, rule, _groups(window, topology))
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
            which = roles.odd(sign * value[members], effect=rule.effect, sigmas=self.sigmas)
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
    """Return (S,) a number for each series, the same for peers; -1 for one without."""
    job_of = _job_of_gpu(topology)
    codes: dict[tuple[str, str], int] = {}
    return np.array(
        [
            codes.setdefault((job, "") if job else ("", target.node), len(codes))
            if (job := target.job or job_of.get(target.gpu, "")) or target.node
            else ALONE
            for target in window.targets
        ],
        dtype=np.int64,
    )


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
