"""When each GPU and node last got another job: what it did before is no measure for what it does.

``HELD_S`` after that, what is new counts as what the series does (``detectors.anomaly.series``).
"""

import numpy as np

from core.target import Target
from core.topology import Topology
from detectors.anomaly.series import HELD_S

# The scheduler says late that a job has gone; its readings have fallen already.
SAID_LATE_S = 120.0


class Turnover:
    """Remembers the job of each GPU, and when that changed; not over a restart."""

    def __init__(self) -> None:
        """Begin without memory: the first look tells no change."""
        self._last: Topology | None = None
        self._job: dict[str, str] = {}
        self._changed_s: dict[str, float] = {}

    def note(self, topology: Topology | None, now_s: float) -> None:
        """See which GPUs have another job than at the last look."""
        if topology is None or (self._last is not None and _same(topology, self._last)):
            return
        job = _jobs(topology)
        if self._last is not None:
            node = dict(zip(topology.gpus, topology.gpu_node.tolist(), strict=True))
            for gpu in {*job, *self._job}:
                if job.get(gpu) != self._job.get(gpu):
                    self._changed_s[gpu] = now_s
                    if gpu in node:
                        self._changed_s[topology.nodes[node[gpu]]] = now_s
        self._changed_s = {
            name: at_s for name, at_s in self._changed_s.items() if now_s - at_s <= 2 * HELD_S
        }
        self._last, self._job = topology, job

    def explains(self, target: Target, onset_s: float) -> bool:
        """Say whether what began then on a target began with another job."""
        at_s = self._changed_s.get(target.gpu or target.node, -np.inf)
        return at_s - SAID_LATE_S <= onset_s <= at_s + HELD_S


def _jobs(topology: Topology) -> dict[str, str]:
    pairs = zip(topology.rank_gpu.tolist(), topology.rank_job.tolist(), strict=True)
    return {topology.gpus[gpu]: topology.jobs[job] for gpu, job in pairs}


def _same(one: Topology, other: Topology) -> bool:
    return one is other or (
        one.jobs == other.jobs
        and one.gpus == other.gpus
        and np.array_equal(one.rank_gpu, other.rank_gpu)
        and np.array_equal(one.rank_job, other.rank_job)
    )
