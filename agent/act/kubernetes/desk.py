"""What an order is carried out with, and what several orders need."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from lightkube.resources.core_v1 import Node

from agent.act.kubernetes.calls import Calls, NotNow
from agent.act.kubernetes.marks import ORDERS, Marks, Taken, marks_in, with_order
from agent.act.kubernetes.picture import Look
from agent.act.kubernetes.records import KubeJob, KubeNode, KubePod
from agent.act.programs import Programs
from core.clock import Clock
from core.cluster import ClusterState
from core.errors import ActionFailed, NotLeader, SourceUnavailable
from core.types import Action
from remediation.catalogue.subject import job_of

log = structlog.get_logger()

PAUSE_S = 2.0  # between two askings for an eviction that a disruption budget does not allow yet


@dataclass(slots=True)
class Evictions:
    """Evictions that wait for a disruption budget, also while the API server is away.

    What is left of them ends with this process; the same order given to the next one asks anew.
    """

    calls: Calls
    clock: Clock
    _tasks: set[asyncio.Task[None]]

    async def evict(self, pod: KubePod, *, why: str, within_s: float) -> None:
        """Evict a pod, or go on asking for it for so long."""
        try:
            await self.calls.evict(pod.name, pod.namespace, why=why)
        except NotNow as error:
            log.info("an eviction waits", pod=f"{pod.namespace}/{pod.name}", problem=str(error))
            task = asyncio.create_task(self._go_on(pod, why, within_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ask no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(self, pod: KubePod, why: str, within_s: float) -> None:
        until_s = self.clock.monotonic_s() + within_s
        while self.clock.monotonic_s() < until_s:
            await self.clock.sleep(PAUSE_S)
            try:
                await self.calls.evict(pod.name, pod.namespace, why=why)
            except (NotNow, NotLeader, SourceUnavailable):
                continue
            except ActionFailed as error:
                log.warning("a pod stays", pod=f"{pod.namespace}/{pod.name}", problem=str(error))
            return


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom an order comes to, with the look at the cluster that it was checked against.

    took: takes in an object that was changed just now
    spare: the taint that keeps spare nodes
    """

    look: Look
    state: ClusterState
    calls: Calls
    took: Callable[[Any], None]
    evictions: Evictions
    programs: Programs
    clock: Clock
    spare: str

    def node(self, name: str) -> KubeNode:
        """Return the node of that name; the catalogue has seen that there is one."""
        found = self.look.nodes.get(name)
        if found is None:
            raise ActionFailed(f"node {name[:80]!r}: there is no node with GPUs of that name.")
        return found

    def job(self, action: Action) -> KubeJob:
        """Return the action's job."""
        name = job_of(action)
        found = self.look.jobs.get(name)
        if found is None:
            known = ", ".join(list(self.look.jobs)[:12]) or "none"
            raise ActionFailed(
                f"{said(action)}: {name[:80]!r} is no training known here; those are {known}."
            )
        return found

    async def change_node(
        self,
        action: Action,
        change: Callable[[Any], Mapping[str, Any] | None],
        *,
        name: str = "",
    ) -> None:
        """Change the action's node, or the named one, as it is at this moment."""
        wanted = name or action.target.node
        self.took(await self.calls.change(Node, wanted, change, why=said(action)))

    async def change_job(
        self, action: Action, change: Callable[[Any], Mapping[str, Any] | None]
    ) -> None:
        """Change the action's job as it is at this moment."""
        job = self.job(action)
        changed = await self.calls.change(
            job.kind.resource, job.name, change, why=said(action), namespace=job.namespace
        )
        self.took(changed)

    def ordered(self, thing: Any, action: Action, taken: Taken | None = None) -> dict[str, str]:
        """Return the annotation that keeps the order with what it changes."""
        taken = taken or Taken(self.clock.now_s())
        return {ORDERS: with_order(marks_of(thing), action.key, taken)}

    async def release(self, action: Action, name: str) -> None:
        """Let pods onto a spare; one that is none stays as it is."""

        def change(node: Any) -> Mapping[str, Any] | None:
            taints = taints_of(node)
            left = [taint for taint in taints if taint["key"] != self.spare]
            return {"spec": {"taints": left or None}} if len(left) < len(taints) else None

        await self.change_node(action, change, name=name)


def marks_of(thing: Any) -> Marks:
    """Return what gpumedic has written on an object."""
    return marks_in(thing.metadata.annotations)


def taints_of(node: Any) -> list[dict[str, Any]]:
    """Return a node's taints as they are written."""
    return [taint.to_dict() for taint in node.spec.taints or ()]


def said(action: Action) -> str:
    """Return what was attempted, for messages."""
    return f"{action.kind} {action.target}"
