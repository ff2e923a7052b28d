"""Orders about nodes. A node is ours by our mark; what somebody else holds is left to them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent.act.kubernetes.desk import Desk, marks_of, said, taints_of
from agent.act.kubernetes.marks import HELD, NOTED, Taken, with_note, written
from agent.act.kubernetes.picture import held_by
from agent.act.kubernetes.records import KubeNode, KubePod, node_in, pod_in
from core.cluster import OWNER
from core.errors import ActionFailed
from core.types import Action
from remediation.catalogue.asked import number

MIRROR = "kubernetes.io/config.mirror"  # a kubelet's own pod, which nobody else can end


async def take_out(desk: Desk, action: Action, *, mark: str = "") -> None:
    """Close a node to new pods in our name; one that somebody holds already stays theirs."""
    text = str(action.param("reason") or action.kind.replace("_", " "))

    def change(node: Any) -> Mapping[str, Any] | None:
        held = held_by(_read(node))
        if held and held.owner != OWNER:
            return None
        ours = {"reason": text[:200], "key": action.key, "mark": mark}
        kept = {} if held and not mark else {HELD: written(ours)}
        notes = {**desk.ordered(node, action), **kept}
        return {"metadata": {"annotations": notes}, "spec": {"unschedulable": True}}

    await desk.change_node(action, change)


async def _cordon(desk: Desk, action: Action) -> None:
    await take_out(desk, action)


async def _uncordon(desk: Desk, action: Action) -> None:
    """Open a node that is ours; whoever else holds it, by then or before, keeps it."""

    def change(node: Any) -> Mapping[str, Any] | None:
        found = _read(node)
        held = held_by(found)
        if held is None or held.owner != OWNER:
            who = held.owner if held else "nobody"
            why = held.reason if held else "it is open" if found.ready else "it is down"
            raise ActionFailed(
                f"{said(action)}: {who} keeps it out of service ({why}); only what gpumedic took "
                "out it gives back."
            )
        notes = {
            **desk.ordered(node, action),
            HELD: None,
            NOTED: with_note(marks_of(node), finding="", checked_s=None),
        }
        return {"metadata": {"annotations": notes}, "spec": {"unschedulable": None}}

    await desk.change_node(action, change)


async def _drain(desk: Desk, action: Action) -> None:
    """Close a node and have its pods leave in order, as disruption budgets allow."""
    await take_out(desk, action)
    await _empty(desk, action)


async def _finish_drain(desk: Desk, action: Action, _: Taken) -> None:
    """Have those pods leave that have not been asked to, unless somebody opened the node since."""
    if desk.node(action.target.node).closed:
        await _empty(desk, action)


async def _empty(desk: Desk, action: Action) -> None:
    name = action.target.node
    down = desk.look.away(name)
    for pod in await desk.calls.on_node(name):
        found = pod_in(pod, gpu="")
        notes = (pod.metadata.annotations if pod.metadata else None) or {}
        if found.owner_kind == "DaemonSet" or MIRROR in notes or found.over:
            continue
        if down and _is_of_job(desk, found):
            await desk.calls.delete(
                found.name, found.namespace, found.uid, why=said(action), force=True
            )
        elif not found.leaving:
            await desk.evictions.evict(found, why=said(action), within_s=action.deadline_s)


def _is_of_job(desk: Desk, pod: KubePod) -> bool:
    """Say whether a pod is a training's: its kin is told apart from an orphan by its rendezvous.

    A StatefulSet's pod on a node that does not answer may still be alive, and no second may be.
    """
    return any(pod.uid == own.uid for pods in desk.look.pods_of.values() for own in pods)


async def _quarantine(desk: Desk, action: Action) -> None:
    await take_out(desk, action, mark="lemon")


async def _keep_as_spare(desk: Desk, action: Action) -> None:
    """Keep pods off a node that do not tolerate the spares' taint."""

    def change(node: Any) -> Mapping[str, Any] | None:
        taints = taints_of(node)
        if any(taint["key"] == desk.spare for taint in taints):
            return None
        spare = {"key": desk.spare, "effect": "NoSchedule"}
        return {
            "metadata": {"annotations": desk.ordered(node, action)},
            "spec": {"taints": [*taints, spare]},
        }

    await desk.change_node(action, change)


async def _release_spare(desk: Desk, action: Action) -> None:
    await desk.release(action, action.target.node)


async def _validate(desk: Desk, action: Action) -> None:
    """Run the site's checks: what they write is the finding where they do not end with 0."""
    ending = await desk.programs.run(action)
    finding = "" if ending.code == 0 else ending.said or f"the checks ended with {ending.code}"
    await _note(desk, action, checked_s=desk.clock.now_s(), finding=finding)


async def _by_program(desk: Desk, action: Action) -> None:
    """Have the site's program do it; ActionFailed where it does not end with 0."""
    await _well_done(desk, action)
    match action.kind:
        case "reset_gpu":
            await _note(desk, action, reset_s=desk.clock.now_s())
        case "limit_clocks":
            await _note(desk, action, clocks=number(action, "share"))
        case "limit_power":
            await _note(desk, action, power_watts=number(action, "watts") or None)
        case _:
            await _note(desk, action)


async def _page(desk: Desk, action: Action) -> None:
    """Note that a person was called: the message itself goes out by the site's receivers.

    A program of the site is run as well where there is one.
    """
    if action.kind in desk.programs:
        await _well_done(desk, action)
    await _note(desk, action, paged_s=desk.clock.now_s())


async def _note(desk: Desk, action: Action, **changes: Any) -> None:
    def change(thing: Any) -> Mapping[str, Any]:
        note = with_note(marks_of(thing), **changes)
        return {"metadata": {"annotations": {**desk.ordered(thing, action), NOTED: note}}}

    if action.target.node:
        await desk.change_node(action, change)
    else:
        await desk.change_job(action, change)


async def _well_done(desk: Desk, action: Action) -> None:
    ending = await desk.programs.run(action)
    if ending.code:
        raise ActionFailed(
            f"{said(action)}: the site's program ended with {ending.code}: {ending.said!r}."
        )


def _read(node: Any) -> KubeNode:
    return node_in(node, gpu="", group_label="")


BY_PROGRAM = frozenset({"validate_node", "reset_gpu", "limit_clocks", "limit_power", "reboot_node"})
KINDS: Mapping[str, Callable[[Desk, Action], Awaitable[None]]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "drain": _drain,
    "quarantine": _quarantine,
    "keep_as_spare": _keep_as_spare,
    "release_spare": _release_spare,
    "validate_node": _validate,
    "page_person": _page,
    **dict.fromkeys(sorted(BY_PROGRAM - {"validate_node"}), _by_program),
}
# Of orders that are on the node before all of them is done: what an earlier process has left.
FINISH: Mapping[str, Callable[[Desk, Action, Taken], Awaitable[None]]] = {"drain": _finish_drain}
