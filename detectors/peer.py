"""A rank or GPU that differs from those that do the same work at the same time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.topology import Topology
from core.types import Anomaly, Ints, Severity, Window
from core.units import CATALOG, Bad
from detectors.robust import robust_z, row_median
from detectors.words import amount, subject

DETECTOR = "peer"
# Fewer peers have no majority that one can differ from.
MIN_PEERS = 4
# When more than this share of a group differ, the group is split by role (a slower pipeline stage)
# or by load, and blaming each of the many would be wrong. One is always allowed.
MAX_SHARE = 0.2
ALONE = -1


@dataclass(frozen=True, slots=True)
class Rule:
    """Compare a metric among peers; ``effect``: least relative difference worth a word."""

    metric: str
    effect: float


RULES = (
    # FALCON (ATC'25) and Megatron's sniff test take 10 % of step time as the least that counts.
    Rule("rank_step_time_s", 0.10),
    Rule("rank_data_wait_s", 0.50),
    Rule("gpu_sm_clock_hz", 0.10),
    # Places in a chassis differ by up to 10 degrees in steady air; 20 % of 65 is clear of that.
    Rule("gpu_temperature_celsius", 0.20),
    Rule("gpu_memory_temperature_celsius", 0.20),
)


def detect(
    windows: Mapping[str, Window],
    *,
    topology: Topology | None,
    now_s: float,
    span_s: float,
    threshold: float,
) -> tuple[Anomaly, ...]:
    """Return the series that are off from their peers in the bad direction.

    Peers are the ranks of one job, or the GPUs that one job uses (of one node, for idle GPUs).
    span_s:    each series counts with the median of its last ``span_s``
    threshold: robust sigmas from the median of the peers
    """
    found: list[Anomaly] = []
    for rule in RULES:
        window = windows.get(rule.metric)
        if window is not None and len(window.targets) >= MIN_PEERS:
            recent = _recent(window, now_s - span_s)
            if recent.value.size:
                found += _odd_ones(recent, rule, _groups(window, topology), threshold)
    return tuple(found)


def _recent(window: Window, start_s: float) -> Window:
    keep = window.time_s >= start_s
    return Window(window.metric, window.targets, window.time_s[keep], window.value[:, keep])


def _odd_ones(window: Window, rule: Rule, group: Ints, threshold: float) -> Iterator[Anomaly]:
    value = row_median(window.value)
    sign = -1.0 if CATALOG[rule.metric].bad is Bad.LOW else 1.0
    for members in _by_size(group, np.isfinite(value)):
        peers = value[members]
        median = row_median(peers)[:, None]
        z = sign * robust_z(peers)
        with np.errstate(invalid="ignore"):
            odd = (z >= threshold) & (sign * (peers - median) >= rule.effect * np.abs(median))
        few = odd.sum(axis=1) <= max(1, int(MAX_SHARE * members.shape[1]))
        for at in zip(*np.nonzero(odd & few[:, None]), strict=True):
            band = float(median[at[0], 0]) * (1 + sign * rule.effect)
            score = min(1.0, float(z[at]) / (2 * threshold))
            yield _anomaly(window, int(members[at]), (float(median[at[0], 0]), band), score)


def _by_size(
    group: Ints, usable: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Iterator[Ints]:
    """Yield (G, n) rows of all groups of one size n, so that numpy is called once for each size."""
    rows = np.flatnonzero(usable & (group != ALONE))
    rows = rows[np.argsort(group[rows], kind="stable")]
    _, first, size = np.unique(group[rows], return_index=True, return_counts=True)
    for n in np.unique(size[size >= MIN_PEERS]):
        starts = first[size == n]
        yield rows[starts[:, None] + np.arange(n)]


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
