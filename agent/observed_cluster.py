"""A cluster known from its readings alone: what gpumedic sees where no scheduler is connected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agent.history import History
from core.clock import Clock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.errors import ActionFailed
from core.target import Target, TargetKind
from core.topology import Topology, flat_topology
from core.types import Action
from core.units import CATALOG
from remediation.catalogue import PAGE_PERSON

# A rank that has said nothing for so long has ended.
RANK_LASTS_S = 300.0
_Rank = tuple[int, str, str, str]  # number, name, node, GPU


@dataclass(slots=True)
class ObservedCluster:
    """Nodes, GPUs and jobs as the labels of their readings name them; acting is refused.

    It lets the policy say what it would do before any scheduler is trusted to gpumedic. A page
    needs no hands: its message is all there is to it.
    """

    history: History
    clock: Clock
    name: str = "readings"
    _known: tuple[tuple[Target, ...], ...] = ()
    _shape: "_Shape | None" = None
    _paged_s: dict[Target, float] = field(default_factory=dict)
    _pages: set[str] = field(default_factory=set)

    async def state(self) -> ClusterState:
        """Return every node with readings as ready, and every job with ranks as running.

        A node without a job, where jobs are known, passes for a spare.
        """
        known = tuple(self._lately(metric) for metric in self.history.metrics())
        if self._shape is None or known != self._known:
            self._known, self._shape = known, _shape_of(t for each in known for t in each)
        now_s, shape = self.clock.now_s(), self._shape
        paged = self._paged_s
        jobs = tuple(
            replace(_job(job, ranks, now_s), paged_s=paged.get(Target(job=job)))
            for job, ranks in shape.ranks.items()
        )
        nodes = tuple(
            replace(node, paged_s=paged[Target(node=node.name)])
            if Target(node=node.name) in paged
            else node
            for node in shape.nodes
        )
        return ClusterState(now_s, shape.topology, nodes, jobs)

    async def perform(self, action: Action) -> None:
        """Note a page, and refuse anything else: readings have no hands."""
        if action.kind == PAGE_PERSON:
            if action.key not in self._pages:
                self._pages.add(action.key)
                self._paged_s[action.target] = self.clock.now_s()
            return
        raise ActionFailed(
            f"Doing {action.kind} on {action.target}: no scheduler is connected, only readings. "
            "Connect one, or leave the autonomy of its actions at observe."
        )

    def _lately(self, metric: str) -> tuple[Target, ...]:
        """Return the metric's series; a rank's only while it reports, for jobs end every day."""
        targets = self.history.targets(metric)
        if CATALOG[metric].scope is not TargetKind.RANK:
            return targets
        now_s = self.clock.now_s()
        window = self.history.window(metric, start_s=now_s - RANK_LASTS_S, end_s=now_s)
        return tuple(
            window.targets[row] for row in np.flatnonzero(np.isfinite(window.value).any(axis=1))
        )


@dataclass(frozen=True, slots=True)
class _Shape:
    """What changes seldom of a look at the cluster."""

    topology: Topology
    nodes: tuple[NodeState, ...]
    ranks: Mapping[str, Sequence[_Rank]]


def _shape_of(targets: Iterable[Target]) -> _Shape:
    placed = sorted({(t.node, t.gpu, t.job, t.rank) for t in targets if t.node})
    gpus_of: dict[str, list[str]] = {node: [] for node, *_ in placed}
    # A GPU under two names of one node counts once: sources may name nodes differently.
    home = {gpu: node for node, gpu, *_ in reversed(placed) if gpu}
    for gpu, node in sorted(home.items()):
        gpus_of[node].append(gpu)
    ranks: dict[str, list[_Rank]] = {}
    for _, gpu, job, rank in placed:
        if gpu and job and rank:
            number = int(rank) if rank.isdecimal() else -1
            ranks.setdefault(job, []).append((number, rank, home[gpu], gpu))
    jobs = {job: sorted(members) for job, members in sorted(ranks.items())}
    busy = {node for members in jobs.values() for _, _, node, _ in members}
    nodes = tuple(
        NodeState(name, NodeCondition.READY, spare=bool(busy and gpus) and name not in busy)
        for name, gpus in gpus_of.items()
    )
    gpus_of_job = {job: [gpu for *_, gpu in members] for job, members in jobs.items()}
    return _Shape(flat_topology(gpus_of, gpus_of_job), nodes, jobs)


def _job(job: str, ranks: Sequence[_Rank], now_s: float) -> JobState:
    nodes = tuple(sorted({node for _, _, node, _ in ranks}))
    return JobState(job, JobPhase.RUNNING, nodes, len(ranks), since_s=now_s)
