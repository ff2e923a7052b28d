"""The Kubernetes cluster as a port: its state, orders to it, and what changed of nodes and jobs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightkube import AsyncClient
from lightkube.resources.core_v1 import Node, Pod

from agent.act.kubernetes import orders_jobs, orders_nodes
from agent.act.kubernetes.calls import Calls, KubernetesAccess, client_of
from agent.act.kubernetes.desk import Desk, Evictions, said
from agent.act.kubernetes.happenings import happenings
from agent.act.kubernetes.kinds import KINDS as JOB_KINDS
from agent.act.kubernetes.kinds import JobKind
from agent.act.kubernetes.lease import ANSWER_S, Leadership
from agent.act.kubernetes.marks import Marks, Taken
from agent.act.kubernetes.picture import Look, Slot, look_at, picture, places_of
from agent.act.kubernetes.records import KubeJob, KubeNode, KubePod, job_in, node_in, pod_in
from agent.act.kubernetes.watched import Watched
from agent.act.programs import Programs
from agent.act.saved import Saved
from core.clock import Clock
from core.cluster import ClusterState
from core.errors import ActionFailed, SourceUnavailable
from core.types import Action, Event
from remediation.catalogue import CATALOG
from remediation.catalogue.subject import job_of

KINDS = {**orders_nodes.KINDS, **orders_jobs.KINDS}
EVERYWHERE = "*"
_JOB_NAMES = frozenset(kind.name for kind in JOB_KINDS)
# Action kind -> what would make it possible.
_SCHEDULED = "its scheduler lets the more urgent pods have the place of the less urgent. Give the "
_SUBMIT = "the training keeps its settings to itself. Its owner must submit it anew"
_SERVICES = "gpumedic knows no services there. Scale them by a HorizontalPodAutoscaler"
_ELSEWHERE: Mapping[str, str] = {
    "restart_in_place": "a container ends and begins again only by itself. Order restart_job",
    "rollback_job": "the job's script chooses its checkpoint. Move the newer ones away by hand and "
    "order restart_job",
    "move_job": "its scheduler places ranks. Say where in the job's own template",
    "borrow_node": f"{_SCHEDULED}job a higher PriorityClass",
    "preempt_job": f"{_SCHEDULED}other job a higher PriorityClass",
    "reboot_under_job": "a job's other pods do not wait. Order drain, reboot_node and uncordon",
    "set_checkpoint_interval": "the training keeps its interval to itself. Its owner must submit "
    "it anew",
    "tune_job": _SUBMIT,
    "set_compression": _SUBMIT,
    "scale_service": _SERVICES,
    "set_service_batch": _SERVICES,
    "shift_canary": _SERVICES,
    "set_cache": _SERVICES,
    "stop_rollout": "drivers are rolled out by the site's operator. Stop it there",
}


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """How the site wants it.

    gpu: the resource that GPUs are counted as
    spares: key of the taint that keeps spare nodes
    group_label: label of nodes whose value is their group
    programs: of the site, for what Kubernetes cannot do
    lease, lease_namespace: of the Lease whose holder alone acts
    """

    gpu: str = "nvidia.com/gpu"
    spares: str = "gpumedic/spare"
    group_label: str = "node.kubernetes.io/instance-type"
    programs: Programs = field(default_factory=lambda: Programs(setting="kubernetes.programs"))
    lease: str = "gpumedic"
    lease_namespace: str = "gpumedic"


class KubernetesCluster:
    """Cluster and EventSource of a Kubernetes site; what it keeps is on the objects themselves."""

    name = "kubernetes"

    def __init__(
        self,
        access: KubernetesAccess,
        *,
        clock: Clock,
        settings: KubernetesSettings = KubernetesSettings(),
        client: AsyncClient | None = None,
    ) -> None:
        self.settings = settings
        client = client or client_of(access)
        quick = replace(access, timeout_s=min(access.timeout_s, ANSWER_S))
        named = (settings.lease, settings.lease_namespace)
        self.lease = Leadership(Calls(quick, client), clock, *named)
        self.calls = Calls(access, client, self.lease.check)
        self._clock = clock
        self._nodes = self._watch(Node, "", self._node)
        spaces = access.namespaces or (EVERYWHERE,)
        self._pods = [self._watch(Pod, space, self._pod) for space in spaces]
        self._jobs = [
            self._watch(kind.resource, space, self._job(kind))
            for kind in JOB_KINDS
            for space in spaces
        ]
        self._evictions = Evictions(self.calls, clock, set())
        self._saved = Saved(clock)
        self._had: dict[str, dict[Slot, str]] = {}
        self._taken: set[str] = set()
        self._last: Look | None = None
        self._told: Look | None = None
        self._one_at_a_time = asyncio.Lock()
        lacking = orders_nodes.BY_PROGRAM - set(settings.programs.argv_of)
        self._unable = {**_ELSEWHERE, **{kind: _program(kind) for kind in lacking}}

    async def state(self) -> ClusterState:
        """Return the cluster as its API server says it; SourceUnavailable where it does not."""
        return await self._picture(await self._look())

    async def events(self) -> tuple[Event, ...]:
        """Return what has changed since the last call; nothing with the first."""
        look = await self._look() if self._last is None or self._last is self._told else self._last
        before, self._told = self._told, look
        return () if before is None else happenings(before, look)

    async def perform(self, action: Action) -> None:
        """Order an action, checked against this moment; a key that was taken does nothing again.

        ActionFailed where Kubernetes cannot or will not, SourceUnavailable where it does not
        answer, NotLeader where another process acts: then nothing, or a part, was done, and the
        same key may be given again.
        """
        async with self._one_at_a_time:
            if action.key in self._taken:
                return
            self._check_possible(action)
            await self.lease.require(said(action))
            desk = await self._desk()
            if (before := self._before(action, desk.look)) is not None:
                finish = orders_nodes.FINISH.get(action.kind, orders_jobs.finish)
                await finish(desk, action, before)
            else:
                if no := CATALOG[action.kind].obstacle(action, desk.state):
                    raise ActionFailed(f"{said(action)}: {no.reason} {no.remedy}")
                await KINDS[action.kind](desk, action)
            self._taken.add(action.key)

    async def close(self) -> None:
        """Stop following, let the next process act and close the connections."""
        await self._evictions.close()
        await self.lease.close()
        await asyncio.gather(*(each.close() for each in self._followed()))
        await self.calls.client.close()

    def _check_possible(self, action: Action) -> None:
        if action.kind in self._unable:
            instead = self._unable[action.kind]
            raise ActionFailed(f"{said(action)}: not on Kubernetes: {instead}.")
        if action.kind not in KINDS:
            known = ", ".join(sorted(KINDS))
            raise ActionFailed(f"{said(action)}: no such action here; it performs {known}.")

    def _before(self, action: Action, look: Look) -> Taken | None:
        """Return the order where an earlier process took it, as its node or job says."""
        node, job = look.nodes.get(action.target.node), look.jobs.get(job_of(action))
        marks: list[Marks] = [each.marks for each in (node, job) if each is not None]
        found = [mark.orders[action.key] for mark in marks if action.key in mark.orders]
        # evict_rank is on its node first and is done once it is on its job as well.
        whole = action.kind != "evict_rank" or len(found) == len(marks)
        return found[-1] if found and whole else None

    async def _desk(self) -> Desk:
        look = await self._look()
        return Desk(
            look=look,
            state=await self._picture(look),
            calls=self.calls,
            took=self._took,
            evictions=self._evictions,
            programs=self.settings.programs,
            clock=self._clock,
            spare=self.settings.spares,
        )

    async def _look(self) -> Look:
        within_s = self.calls.access.timeout_s
        waits = [each.up_to_date(within_s=within_s) for each in self._followed()]
        try:
            await asyncio.gather(self.calls.answers(), *waits)
        except SourceUnavailable as error:
            raise self._stale(error) from error
        look = look_at(
            self._clock.now_s(),
            self._nodes.all(),
            [pod for each in self._pods for pod in each.all()],
            [job for each in self._jobs for job in each.all()],
            spare=self.settings.spares,
            had=self._had,
        )
        self._remember(look)
        self._last = look
        return look

    def _stale(self, error: SourceUnavailable) -> SourceUnavailable:
        if self._last is None:
            return error
        age_s = self._clock.now_s() - self._last.at_s
        return SourceUnavailable(
            f"{error} What is known is {age_s:.0f} s old; nothing is done on it."
        )

    def _remember(self, look: Look) -> None:
        """Note on which node each pod of a job runs, to know where one was that is gone."""
        had = {job_id: slots for job_id, slots in self._had.items() if job_id in look.jobs}
        for job_id, job in look.jobs.items():
            seen = {p.slot: p.node for p in places_of(job, look) if p.pod is not None and p.node}
            if seen:
                had[job_id] = {**had.get(job_id, {}), **seen}
        self._had = had

    async def _picture(self, look: Look) -> ClusterState:
        folders = {job.says.checkpoint for job in look.jobs.values()} - {""}
        found = picture(look, saved_at=await self._saved.within(folders))
        return replace(found, unable=tuple(self._unable.items()))

    def _took(self, thing: Any) -> None:
        """Take in what was changed just now, before it is heard of."""
        meta = thing.metadata
        for each in self._followed():
            if isinstance(thing, each.kind) and each.namespace in ("", EVERYWHERE, meta.namespace):
                each.put(thing)

    def _followed(self) -> list[Watched[Any]]:
        return [self._nodes, *self._pods, *self._jobs]

    def _watch(self, kind: type[Any], space: str, read: Any) -> Watched[Any]:
        return Watched(self.calls.client, kind, space, read, self._clock)

    def _node(self, node: Node) -> KubeNode:
        return node_in(node, gpu=self.settings.gpu, group_label=self.settings.group_label)

    def _pod(self, pod: Pod) -> KubePod | None:
        """Read a pod that may be a job's or has GPUs; thousands of others are of no interest."""
        found = pod_in(pod, gpu=self.settings.gpu)
        return found if found.gpus or found.owner_kind in _JOB_NAMES else None

    def _job(self, kind: JobKind) -> Any:
        def read(thing: Any) -> KubeJob:
            return job_in(thing.to_dict(), kind, gpu=self.settings.gpu)

        return read


def _program(kind: str) -> str:
    return (
        f"Kubernetes itself cannot. Name a program of the site as kubernetes.programs.{kind}, such "
        'as ["ssh", "{node}", "..."]'
    )
