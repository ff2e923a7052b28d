"""A cluster known from its readings alone: what gpumedic sees where no scheduler is connected."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.history import History
from core.clock import Clock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.errors import ActionFailed
from core.target import Target
from core.topology import flat_topology
from core.types import Action


@dataclass(slots=True)
class ObservedCluster:
    """Nodes, GPUs and jobs as the labels of their readings name them; acting is refused.

    It lets the policy say what it would do before any scheduler is trusted to gpumedic.
    """

    history: History
    clock: Clock
    name: str = "readings"

    async def state(self) -> ClusterState:
        """Return every node with readings as ready, and every job with ranks as running."""
        now_s = self.clock.now_s()
        targets = set(self._targets())
        gpus_of: dict[str, list[str]] = {
            node: [] for node in sorted({t.node for t in targets} - {""})
        }
        for gpu in sorted(target for target in targets if target.gpu and not target.rank):
            gpus_of[gpu.node].append(gpu.gpu)
        ranks_of: dict[str, list[Target]] = {}
        for rank in targets:
            if rank.rank and rank.gpu in gpus_of.get(rank.node, ()):
                ranks_of.setdefault(rank.job, []).append(rank)
        placed = {
            job: [rank.gpu for rank in sorted(ranks, key=_rank_number)]
            for job, ranks in sorted(ranks_of.items())
        }
        jobs = tuple(_job(job, ranks_of[job], now_s) for job in placed)
        nodes = tuple(NodeState(name, NodeCondition.READY) for name in gpus_of)
        return ClusterState(now_s, flat_topology(gpus_of, placed), nodes, jobs)

    async def perform(self, action: Action) -> None:
        """Refuse: readings have no hands."""
        raise ActionFailed(
            f"Doing {action.kind} on {action.target}: no scheduler is connected, only readings. "
            "Connect one, or leave the autonomy of its actions at observe."
        )

    def _targets(self) -> Iterator[Target]:
        for metric in self.history.metrics():
            for target in self.history.targets(metric):
                if target.gpu and target.node:
                    yield Target(node=target.node, gpu=target.gpu, job=target.job, rank=target.rank)
                elif target.node:
                    yield Target(node=target.node)


def _job(job: str, ranks: list[Target], now_s: float) -> JobState:
    nodes = tuple(sorted({rank.node for rank in ranks}))
    return JobState(job, JobPhase.RUNNING, nodes, len(ranks), since_s=now_s)


def _rank_number(rank: Target) -> tuple[int, str]:
    return (int(rank.rank) if rank.rank.isdecimal() else -1, rank.rank)
