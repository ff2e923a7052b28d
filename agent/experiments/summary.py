"""What many runs come to: medians with intervals over seeds, and paired differences of policies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agent.experiments.results import RunResult
from core.types import Floats

RESAMPLES = 2000
HOUR_S = 3600.0
Settings = tuple[tuple[str, str], ...]
Key = tuple[Settings, str, str]

MEASURES: Mapping[str, tuple[str, Callable[[RunResult], float]]] = {
    "goodput_ratio": ("ratio", lambda run: run.goodput_ratio),
    "ettr_ratio": ("ratio", lambda run: run.ettr_ratio),
    "lost_gpu_h": ("GPU-hours", lambda run: run.lost_gpu_s / HOUR_S),
    "interruptions": ("", lambda run: run.interruptions),
    "faults_struck": ("", lambda run: run.faults_struck),
    "faults_mended": ("", lambda run: run.faults_mended),
    "actions": ("", lambda run: run.actions),
    "verified": ("", lambda run: run.verified),
    "jobs_done": ("", lambda run: run.jobs_done),
    "jobs_waiting": ("", lambda run: run.jobs_waiting),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The median over ``n`` seeds and its 95 % interval; None: of one seed there is none."""

    median: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one setting and policy, seed by seed; name: in words, apart from the others."""

    settings: Settings
    policy: str
    telemetry: str
    runs: tuple[RunResult, ...]
    name: str

    def of(self, measure: str) -> Floats:
        """Return (runs,) the values of a measure; NaN where it has none."""
        return np.array([MEASURES[measure][1](run) for run in self.runs], dtype=np.float64)

    def estimate(self, measure: str) -> Estimate:
        """Return the median of a measure with its interval."""
        return estimate(self.of(measure))


@dataclass(frozen=True, slots=True)
class Difference:
    """A policy less another on the same seeds, median of the differences seed by seed."""

    settings: Settings
    policy: str
    other: str
    measure: str
    value: Estimate


def grouped(results: Sequence[RunResult]) -> tuple[Group, ...]:
    """Return the runs by setting and policy, in the order in which they were asked for."""
    groups: dict[Key, list[RunResult]] = {}
    for run in results:
        groups.setdefault((run.settings, run.policy, run.telemetry), []).append(run)
    several = len({policy for _, policy, _ in groups}) > 1
    return tuple(
        Group(*key, tuple(runs), in_words(key[0], key[1] if several else ""))
        for key, runs in groups.items()
    )


def in_words(settings: Settings, policy: str) -> str:
    """Say what was set, and the policy unless it is "": ``policy rules, cluster.racks=2``."""
    words = [f"policy {policy}"] if policy else []
    return ", ".join([*words, *(f"{key}={value}" for key, value in settings)])


def estimate(value: Floats) -> Estimate:
    """Return the median of (n,) and its 95 % interval by the percentile bootstrap.

    NaN are left out; the resamples are the same for the same n: two reports never differ.
    """
    value = value[np.isfinite(value)]
    if not value.size:
        return Estimate(float("nan"), None, None, 0)
    median = float(np.median(value))
    if value.size == 1:
        return Estimate(median, None, None, 1)
    drawn = np.random.default_rng(0).integers(len(value), size=(RESAMPLES, len(value)))
    low, high = np.quantile(np.median(value[drawn], axis=1), [0.025, 0.975])
    return Estimate(median, float(low), float(high), len(value))


def differences(groups: Sequence[Group]) -> tuple[Difference, ...]:
    """Return each policy less the first of its setting, seed by seed."""
    first: dict[Settings, Group] = {}
    found = []
    for group in groups:
        other = first.setdefault(group.settings, group)
        if other is not group:
            found += [
                _difference(group, other, measure) for measure in ("goodput_ratio", "lost_gpu_h")
            ]
    return tuple(found)


def _difference(group: Group, other: Group, measure: str) -> Difference:
    value = MEASURES[measure][1]
    theirs = {run.seed: value(run) for run in other.runs}
    both = [value(run) - theirs[run.seed] for run in group.runs if run.seed in theirs]
    estimated = estimate(np.array(both, dtype=np.float64))
    return Difference(group.settings, group.policy, other.policy, measure, estimated)
