"""Orders about nodes. A node is ours by its reason; what somebody else holds is left to them."""

from collections.abc import Awaitable, Callable, Mapping

from agent.act.slurm.desk import Desk, said
from agent.act.slurm.holding import take_out
from agent.act.slurm.orders_jobs import REQUEUE_ONLY_BATCH, requeue
from agent.act.slurm.picture import (
    can_requeue,
    held_by,
    is_over,
    is_silent,
    on_nodes,
    reason_of,
)
from core.cluster import OWNER, NodeCondition
from core.errors import ActionFailed
from core.types import Action
from remediation.catalogue.asked import number

# So slurmctld calls a node that comes back by itself once it answers (ReturnToService=1).
_NOT_RESPONDING = "Not responding"


async def _cordon(desk: Desk, action: Action) -> None:
    await take_out(desk, action, action.target.node)


async def _uncordon(desk: Desk, action: Action) -> None:
    """Give a node that is ours back, with the reason that it had before."""
    node = desk.node(action.target.node)
    held = held_by(node)
    if held.owner != OWNER:
        raise ActionFailed(
            f"{said(action)}: {held.owner or 'nobody'} keeps it out of service "
            f"({held.reason or 'it is down'}); only what gpumedic took out it gives back."
        )
    before = desk.kept.nodes[node.name].reason if node.name in desk.kept.nodes else ""
    down = "DOWN" in node.state
    if down and not is_silent(node):
        await desk.update_node(action, node.name, "State=RESUME")
    else:
        await desk.update_node(action, node.name, "State=UNDRAIN")
    before = before or (_NOT_RESPONDING if down and is_silent(node) else "")
    if before:
        await desk.update_node(action, node.name, f"Reason={before}")
    desk.note_node(node.name, reason="", finding="", checked_s=None)


async def _drain(desk: Desk, action: Action) -> None:
    """Take a node out and send its jobs back to the queue; they start on others at once."""
    name = action.target.node
    there = [job for job in desk.look.jobs if on_nodes(job) and name in job.nodes]
    jobs = [job for job in there if not is_over(job, desk.look.at_s)]
    fixed = [job for job in jobs if not can_requeue(job) and "COMPLETING" not in job.state]
    if fixed:
        ids = ", ".join(str(job.id) for job in fixed)
        raise ActionFailed(f"{said(action)}: job {ids} is on it. {REQUEUE_ONLY_BATCH}")
    await take_out(desk, action, name)
    ready = {node.name for node in desk.state.nodes if node.condition is NodeCondition.READY}
    for job in jobs:
        # It keeps its other nodes: Slurm chooses only one in this one's place.
        await requeue(desk, action, job, nodes=[n for n in job.nodes if n != name and n in ready])


async def _reboot(desk: Desk, action: Action) -> None:
    """Have Slurm reboot a node that is drained; it comes back drained."""
    if not desk.config.get("RebootProgram"):
        raise ActionFailed(
            f"{said(action)}: this site has no RebootProgram. Set one in slurm.conf, such as "
            "RebootProgram=/usr/sbin/reboot."
        )
    node = desk.node(action.target.node)
    reason = f"reason={reason_of('reboot', action.key)}"
    # Without ASAP, which would put the node back into service by itself.
    await desk.calls.order("scontrol", "reboot", reason, node.name, why=said(action))


async def _quarantine(desk: Desk, action: Action) -> None:
    text = str(action.param("reason") or "failed again and again")
    reason = f"Reason={reason_of(text, action.key, lemon=True)}"
    await desk.update_node(action, action.target.node, "State=DRAIN", reason)


async def _keep_as_spare(desk: Desk, action: Action) -> None:
    await desk.spares.keep(desk.node(action.target.node).name)


async def _release_spare(desk: Desk, action: Action) -> None:
    await desk.spares.release(desk.node(action.target.node).name)


async def _validate(desk: Desk, action: Action) -> None:
    """Run the site's checks: what they write is the finding where they do not end with 0."""
    ending = await desk.programs.run(action)
    finding = "" if ending.code == 0 else ending.said or f"the checks ended with {ending.code}"
    now_s = desk.returning.clock.now_s()
    desk.note_node(action.target.node, checked_s=now_s, finding=finding)


async def _by_program(desk: Desk, action: Action) -> None:
    """Have the site's program do it; ActionFailed where it does not end with 0."""
    await _well_done(desk, action)
    now_s, node = desk.returning.clock.now_s(), action.target.node
    match action.kind:
        case "reset_gpu":
            desk.note_node(node, reset_s=now_s)
        case "limit_clocks":
            desk.note_node(node, clocks=number(action, "share"))
        case "limit_power":
            desk.note_node(node, power_watts=number(action, "watts") or None)


async def _page(desk: Desk, action: Action) -> None:
    """Note that a person was called: the message itself goes out by the site's receivers.

    A program of the site is run as well where there is one.
    """
    if action.kind in desk.programs:
        await _well_done(desk, action)
    now_s = desk.returning.clock.now_s()
    if action.target.node:
        desk.note_node(action.target.node, paged_s=now_s)
    else:
        desk.note_job(desk.job(action).id, paged_s=now_s)


async def _well_done(desk: Desk, action: Action) -> None:
    ending = await desk.programs.run(action)
    if ending.code:
        raise ActionFailed(
            f"{said(action)}: the site's program ended with {ending.code}: {ending.said!r}."
        )


BY_PROGRAM = frozenset({"validate_node", "reset_gpu", "limit_clocks", "limit_power"})
KINDS: Mapping[str, Callable[[Desk, Action], Awaitable[None]]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "drain": _drain,
    "reboot_node": _reboot,
    "quarantine": _quarantine,
    "keep_as_spare": _keep_as_spare,
    "release_spare": _release_spare,
    "validate_node": _validate,
    "page_person": _page,
    **dict.fromkeys(sorted(BY_PROGRAM - {"validate_node"}), _by_program),
}
