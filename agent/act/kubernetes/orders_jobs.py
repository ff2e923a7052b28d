"""Orders about jobs: what makes a job's pods puts others in their place when some are deleted.

Where those go is said in the job's template first, where it may be changed; the job goes on from
its newest checkpoint by its own script.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from agent.act.kubernetes.desk import Desk, marks_of, said
from agent.act.kubernetes.kinds import at, nested
from agent.act.kubernetes.marks import PLACED, Placed, Taken, written
from agent.act.kubernetes.orders_nodes import take_out
from agent.act.kubernetes.picture import Placed as Place
from agent.act.kubernetes.picture import places_of
from agent.act.kubernetes.placing import node_affinity
from agent.act.kubernetes.records import KubeJob, KubePod
from core.errors import ActionFailed
from core.types import Action
from remediation.catalogue.asked import number
from remediation.catalogue.subject import names_in

AFFINITY = ("template", "spec", "affinity", "nodeAffinity")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to become of a job.

    nodes: by role, where its pods are wanted; avoid: nodes that it is to stay off
    pods: that must go; spares: that are given free first
    count: nodes that it is to have; 0: as many as it has
    """

    nodes: Mapping[str, Sequence[str]]
    pods: Sequence[KubePod]
    spares: Sequence[str] = ()
    avoid: Sequence[str] = ()
    count: int = 0


async def bring(desk: Desk, action: Action, job: KubeJob, wanted: Wanted) -> None:
    """Change a job, and have those of its pods go that must."""
    taken = Taken(desk.clock.now_s(), tuple(pod.uid for pod in wanted.pods), tuple(wanted.spares))

    def change(row: Any) -> Mapping[str, Any]:
        body: dict[str, Any] = {"metadata": {"annotations": desk.ordered(row, action, taken)}}
        if job.kind.template_may_change:
            body = _merged(body, _placed(desk, job, row, wanted))
        if wanted.count:
            others = sum(role.count for role in job.roles[:-1] if role.gpus)
            path = job.kind.count_path(_written(job, job.roles[-1].name))
            body = _merged(body, nested(path, wanted.count - others))
        return body

    await desk.change_job(action, change)
    await finish(desk, action, taken)


async def finish(desk: Desk, action: Action, taken: Taken) -> None:
    """Do what an order that was taken has yet to do; what is done already stays as it is."""
    for name in taken.spares:
        await desk.release(action, name)
    of_uid = {pod.uid: pod for pods in desk.look.pods_of.values() for pod in pods}
    for uid in taken.pods:
        if (pod := of_uid.get(uid)) is not None:
            force = bool(pod.node) and desk.look.away(pod.node)
            await desk.calls.delete(pod.name, pod.namespace, uid, why=said(action), force=force)


def _placed(desk: Desk, job: KubeJob, row: Any, wanted: Wanted) -> dict[str, Any]:
    """Return what says where the job's pods are wanted, and the note of it."""
    before = marks_of(row).placed
    notes: dict[str, Any] = {}
    body: dict[str, Any] = {}
    for role in job.roles:
        if not role.gpus:
            continue
        hosts = tuple(desk.node(name).host for name in wanted.nodes.get(role.name, ()))
        avoid = tuple(desk.node(name).host for name in wanted.avoid)
        path = (*job.kind.role_path(_written(job, role.name)), *AFFINITY)
        now = node_affinity(
            at(row, path) or {}, before.get(role.name, Placed()), Placed(hosts, avoid)
        )
        body = _merged(body, nested(path, now))
        notes[role.name] = {"prefer": hosts, "avoid": avoid}
    return _merged(body, {"metadata": {"annotations": {PLACED: written(notes)}}})


def _written(job: KubeJob, role: str) -> str:
    """Return a role's name as its job writes it."""
    return next(name for name in job.kind.roles if name.lower() == role)


async def _restart(desk: Desk, action: Action) -> None:
    """Start a job again on the nodes that it has, or had."""
    job = desk.job(action)
    await bring(desk, action, job, Wanted(_nodes(desk, job, {}), _all_pods(desk, job)))


async def _swap(desk: Desk, action: Action) -> None:
    await _exchange(desk, action, {action.target.node: str(action.param("spare") or "")})


async def _swaps(desk: Desk, action: Action) -> None:
    pairs = zip(names_in(action, "nodes"), names_in(action, "spares"), strict=True)
    await _exchange(desk, action, dict(pairs))


async def _exchange(desk: Desk, action: Action, other: Mapping[str, str]) -> None:
    """Have the pods leave some nodes for the spares; the other pods stay where they are."""
    job = desk.job(action)
    pods = [pod for pod in desk.look.pods_of.get(job.id, ()) if pod.node in other]
    nodes, spares = _nodes(desk, job, other), tuple(other.values())
    await bring(desk, action, job, Wanted(nodes, pods, spares, avoid=tuple(other)))


async def _evict(desk: Desk, action: Action) -> None:
    """Take a straggler's node out, and the job to a spare, or to one node less."""
    job, name = desk.job(action), action.target.node
    spare = str(action.param("spare") or "")
    await take_out(desk, action)
    if spare:
        await _exchange(desk, action, {name: spare})
        return
    count = len(places_of(job, desk.look)) - 1
    await _resize(desk, action, job, count, leave=(name,))


async def _shrink(desk: Desk, action: Action) -> None:
    job, count = desk.job(action), int(number(action, "nodes"))
    await _resize(desk, action, job, count, leave=names_in(action, "leave"))


async def _grow(desk: Desk, action: Action) -> None:
    job, count = desk.job(action), int(number(action, "nodes"))
    await _resize(desk, action, job, count, leave=())


async def _resize(
    desk: Desk, action: Action, job: KubeJob, count: int, *, leave: Sequence[str]
) -> None:
    """Give a job another size; its pods know theirs from their start, unless it is elastic."""
    live = job.says.live or job.elastic[1] > 0
    pods = desk.look.pods_of.get(job.id, ())
    gone = [pod for pod in pods if pod.node in leave] if live else _all_pods(desk, job)
    nodes = {
        role: [name for name in names if name not in leave]
        for role, names in _nodes(desk, job, {}).items()
    }
    await bring(desk, action, job, Wanted(nodes, gone, avoid=tuple(leave), count=count))


async def _checkpoint(desk: Desk, action: Action) -> None:
    """Ask the job's first pod to save, as its owner says."""
    job = desk.job(action)
    port, path = job.says.save
    first = next((each.pod for each in places_of(job, desk.look) if each.pod is not None), None)
    if first is None or not first.address:
        raise ActionFailed(f"{said(action)}: its first pod has no address yet. Try again later.")
    host = f"[{first.address}]" if ":" in first.address else first.address
    timeout_s = desk.calls.access.timeout_s
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=timeout_s) as client:
            answer = await client.post(f"http://{host}:{port}{path}")
    except httpx2.HTTPError as error:
        found = str(error) or type(error).__name__
        raise ActionFailed(
            f"{said(action)}: pod {first.name} does not answer at port {port}: {found}. See "
            "whether it listens there, and whether a network policy lets gpumedic in."
        ) from error
    if not answer.is_success:
        raise ActionFailed(
            f"{said(action)}: pod {first.name} answered {answer.status_code} at port {port}."
        )
    await desk.change_job(
        action, lambda row: {"metadata": {"annotations": desk.ordered(row, action)}}
    )


def _nodes(desk: Desk, job: KubeJob, other: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the nodes of each role's pods, with others in the place of some."""
    found: dict[str, list[str]] = {}
    place: Place
    for place in places_of(job, desk.look):
        name = other.get(place.node, place.node)
        if name in desk.look.nodes:
            found.setdefault(place.slot[0], []).append(name)
    return found


def _all_pods(desk: Desk, job: KubeJob) -> list[KubePod]:
    return [pod for pod in desk.look.pods_of.get(job.id, ()) if not pod.over]


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, the second's word in the last place where they have the same names."""
    found = dict(first)
    for name, value in second.items():
        old = found.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[name] = _merged(old, value) if both and isinstance(old, Mapping) else value
    return found


KINDS: Mapping[str, Callable[[Desk, Action], Awaitable[None]]] = {
    "restart_job": _restart,
    "swap_node": _swap,
    "swap_nodes": _swaps,
    "evict_rank": _evict,
    "shrink_job": _shrink,
    "grow_job": _grow,
    "checkpoint_now": _checkpoint,
}
