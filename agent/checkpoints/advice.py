"""How often a job should save, from what its saves cost and how often it fails, as seen here."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from agent.checkpoints.found import Checkpoint
from core.cluster import ClusterState, JobPhase, JobState
from remediation.policies.interval import (
    FAILURES_A_NODE_DAY,
    best_interval_s,
    failure_s,
    lost_share,
)

_DAY_S = 86_400.0
# What was published counts as one failure seen: a site's own two outweigh it.
PRIOR_FAILURES = 1.0
# A job looked at less often than this was not watched in between.
_LONGEST_GAP_S = 3600.0
# Saves are timed over the newest few: a job's interval changes when its settings do.
_NEWEST = 8


@dataclass(frozen=True, slots=True)
class Advice:
    """What would lose least, beside what is done; seconds; shares of the job's time.

    now_s, lost_now: None where the job's own interval is not known
    steps: the best interval in optimiser steps, None where their pace is not known
    """

    save_s: float
    failure_s: float
    best_s: float
    lost_best: float
    steps: int | None
    now_s: float | None
    lost_now: float | None


def advice(checkpoints: Sequence[Checkpoint], mean_failure_s: float) -> Advice | None:
    """Return how often to save; None where no manifest says what a save costs.

    checkpoints: newest first
    """
    costs = [each.save_s for each in checkpoints if each.valid and each.save_s is not None]
    if not costs:
        return None
    save_s = statistics.median(costs[:_NEWEST])
    took = [each.took_s for each in checkpoints if each.valid and each.took_s is not None]
    # A save in the background costs the job little, but the next cannot begin before its end.
    best_s = max(best_interval_s(save_s, mean_failure_s), *took[:1], 0.0)
    now_s, step_s = pace(checkpoints)
    return Advice(
        save_s=save_s,
        failure_s=mean_failure_s,
        best_s=best_s,
        lost_best=_lost(best_s, save_s, mean_failure_s),
        steps=None if step_s is None else max(1, round(best_s / step_s)),
        now_s=now_s,
        lost_now=None if now_s is None else _lost(now_s, save_s, mean_failure_s),
    )


def pace(checkpoints: Sequence[Checkpoint]) -> tuple[float | None, float | None]:
    """Return the seconds from one save to the next and those of a step, medians; None: not known.

    Times are those of manifests, or of files where no manifest is.
    """
    newest = [each for each in checkpoints if each.valid][: _NEWEST + 1]
    gaps, steps = [], []
    for later, earlier in pairwise(newest):
        passed_s = later.saved_s - earlier.saved_s
        if passed_s <= 0 or later.fence != earlier.fence:
            continue  # copied files, or the time a restart took
        gaps.append(passed_s)
        if later.step is not None and earlier.step is not None and later.step > earlier.step:
            steps.append(passed_s / (later.step - earlier.step))
    return (
        statistics.median(gaps) if gaps else None,
        statistics.median(steps) if steps else None,
    )


def _lost(interval_s: float, save_s: float, mean_failure_s: float) -> float:
    if interval_s + save_s <= 0 or math.isinf(interval_s):
        return 0.0
    return lost_share(interval_s, save_s, mean_failure_s)


@dataclass(slots=True)
class FailureRate:
    """How often jobs here fail, a node and day: what was published, moved by what is seen.

    A gamma distribution over the rate: each failure seen counts one, each node-day one.
    """

    failures: float = 0.0
    node_days: float = 0.0
    _seen: dict[str, JobState] = field(default_factory=dict)
    _at_s: float = -math.inf

    @property
    def a_node_day(self) -> float:
        """Return the mean of what is known."""
        prior_days = PRIOR_FAILURES / FAILURES_A_NODE_DAY
        return (PRIOR_FAILURES + self.failures) / (prior_days + self.node_days)

    def mean_failure_s(self, nodes: int) -> float:
        """Return the mean time between failures of a job of so many nodes, seconds."""
        return failure_s(max(1, nodes), self.a_node_day)

    def note(self, state: ClusterState) -> None:
        """Learn from one more look at the cluster."""
        passed_s = state.observed_s - self._at_s
        if 0 < passed_s <= _LONGEST_GAP_S:
            for job in state.jobs:
                self._note_job(job, self._seen.get(job.id), passed_s)
        self._at_s, self._seen = state.observed_s, {job.id: job for job in state.jobs}

    def _note_job(self, job: JobState, before: JobState | None, passed_s: float) -> None:
        if before is None or before.phase is not JobPhase.RUNNING:
            return
        self.node_days += len(before.nodes) * passed_s / _DAY_S
        restarts = max(0, job.restarts - before.restarts)
        self.failures += restarts or (job.phase is JobPhase.STOPPED)

    def state(self) -> Mapping[str, float]:
        """Return what is to be kept over a restart of the process."""
        return {"failures": self.failures, "node_days": self.node_days}

    @classmethod
    def remembering(cls, kept: Mapping[str, float]) -> "FailureRate":
        """Take up what ``state`` returned."""
        failures, days = (float(kept.get(name, 0.0)) for name in ("failures", "node_days"))
        if not (0 <= failures < math.inf and 0 <= days < math.inf):
            return cls()
        return cls(failures, days)


def said(found: Advice) -> str:
    """Say an advice in a line."""
    steps = "" if found.steps is None else f" ({found.steps} steps)"
    now = (
        ""
        if found.now_s is None or found.lost_now is None
        else f"; it saves every {found.now_s:.0f} s and loses {100 * found.lost_now:.2f} %"
    )
    return (
        f"saving every {found.best_s:.0f} s{steps} loses least, {100 * found.lost_best:.2f} % of "
        f"the time, at {found.save_s:.3g} s a save and a failure every "
        f"{found.failure_s / 3600:.3g} h{now}"
    )


def nodes_of(state: ClusterState | None, job: str) -> int:
    """Return how many nodes a job has; 1 where that is not known."""
    found = state.job(job) if state else None
    return max(1, len(found.nodes)) if found else 1
