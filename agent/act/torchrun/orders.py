"""Orders to launches: asked of the one that has the job or the node, or done by a program."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from agent.act.programs import Programs
from agent.act.torchrun.kept import Kept
from agent.act.torchrun.picture import LEMON, Look, phase_of
from agent.act.torchrun.records import Launch
from agent.launch.asking import act
from agent.launch.plan import Asked
from core.cluster import OWNER, ClusterState, JobPhase
from core.errors import ActionFailed, SourceUnavailable
from core.types import Action
from remediation.catalogue.asked import number
from remediation.catalogue.subject import job_of, names_in

# Action kind -> what would make it possible.
UNABLE: Mapping[str, str] = {
    "rollback_job": "a launch goes on from its newest state; move newer checkpoints away by hand "
    "and start it again",
    "borrow_node": "launches share no nodes; shrink the other and start a supervisor of this one",
    "preempt_job": "launches have no queue; end one by hand",
    "move_job": "a launch places its ranks itself; swap_node names a node and its spare",
    "reboot_under_job": "order swap_node or shrink_job, then reboot_node",
    "tune_job": "the training keeps its settings to itself; its owner must start it anew",
    "set_compression": "the training keeps its settings to itself; its owner must start it anew",
    "scale_service": "launches are trainings; run services under Kubernetes",
    "set_service_batch": "launches are trainings; run services under Kubernetes",
    "set_cache": "launches are trainings; run services under Kubernetes",
    "shift_canary": "launches are trainings; run services under Kubernetes",
    "stop_rollout": "launches roll no drivers out; stop it in the site's provisioning",
}
BY_PROGRAM = frozenset(
    {"validate_node", "reset_gpu", "limit_clocks", "limit_power", "reboot_node", "restart_job"}
)


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom an order comes to, with the look that it was checked against; now_s: of the order."""

    look: Look
    state: ClusterState
    kept: Kept
    now_s: float
    programs: Programs = field(default_factory=Programs)

    async def ask(self, action: Action, launch: Launch, kind: str, **more: str) -> None:
        """Ask a launch; ActionFailed where it says no, SourceUnavailable where it may later."""
        part = more.pop("part", "")
        asked = Asked(key=f"{action.key}{part}", kind=kind, **more)
        answer = await asyncio.to_thread(act, launch.control, asked)
        if answer.get("later"):
            raise SourceUnavailable(f"{said(action)}: {answer['text']}.")
        if not answer["ok"]:
            raise ActionFailed(f"{said(action)}: the launch says no: {answer['text']}.")

    def launch(self, action: Action) -> Launch:
        """Return the launch of the action's job, or else of its node."""
        job, node = job_of(action), action.target.node
        found = self.look.of_job(job) if job else self.look.of_node(node)
        if found is None:
            raise ActionFailed(f"{said(action)}: no launch has {job or node!r}.")
        return found


def said(action: Action) -> str:
    """Return what was attempted, for messages."""
    return f"{action.kind} {action.target}"


async def _hold(desk: Desk, action: Action, why: str = "") -> None:
    """Keep ranks off a node; one that somebody keeps off already is theirs, and is off."""
    name = action.target.node
    node = desk.state.node(name)
    if node is not None and node.owner not in ("", OWNER):
        return
    reason = why or str(action.param("reason") or action.key)
    launch = desk.launch(action)
    await desk.ask(action, launch, "hold", target=name, by=OWNER, why=reason, part="/hold")


async def _release(desk: Desk, action: Action) -> None:
    node = desk.state.node(action.target.node)
    if node is None or node.owner != OWNER:
        holder = "nobody" if node is None or not node.owner else node.owner
        raise ActionFailed(
            f"{said(action)}: {holder} keeps it out of service "
            f"({node.reason if node else 'it is unknown'}); only what gpumedic took out it gives "
            "back."
        )
    await desk.ask(action, desk.launch(action), "release", target=node.name)
    desk.kept.note_node(node.name, finding="", checked_s=None)


async def _drain(desk: Desk, action: Action) -> None:
    """Take a node out; its ranks go to a spare, or the job goes on with one node less."""
    await _hold(desk, action)
    launch = desk.launch(action)
    if action.target.node in launch.nodes_used():
        await _without(desk, action, launch)


async def _evict(desk: Desk, action: Action) -> None:
    await _hold(desk, action)
    await _without(desk, action, desk.launch(action))


async def _without(desk: Desk, action: Action, launch: Launch) -> None:
    """Let a job go on without a node."""
    name, spare = action.target.node, str(action.param("spare") or "")
    spares = [node.name for node in desk.state.nodes if node.spare]
    if spare or any(desk.look.of_node(each) is launch for each in spares):
        await desk.ask(action, launch, "swap_node", target=name, spare=spare, part="/move")
        return
    size = str(len(launch.nodes_used()) - 1)
    await desk.ask(action, launch, "resize", target=size, leave=name, part="/move")


async def _quarantine(desk: Desk, action: Action) -> None:
    reason = str(action.param("reason") or "failed again and again")
    await desk.ask(action, desk.launch(action), "release", target=action.target.node, part="/old")
    await _hold(desk, action, f"{LEMON}: {reason}")


async def _swap(desk: Desk, action: Action) -> None:
    spare = str(action.param("spare") or "")
    await desk.ask(action, desk.launch(action), "swap_node", target=action.target.node, spare=spare)


async def _swaps(desk: Desk, action: Action) -> None:
    pairs = zip(names_in(action, "nodes"), names_in(action, "spares"), strict=True)
    for node, spare in pairs:
        await desk.ask(
            action, desk.launch(action), "swap_node", target=node, spare=spare, part=f"/{node}"
        )


async def _resize(desk: Desk, action: Action) -> None:
    size, leave = str(int(number(action, "nodes"))), str(action.param("leave") or "")
    await desk.ask(action, desk.launch(action), "resize", target=size, leave=leave)


async def _restart(desk: Desk, action: Action) -> None:
    """Give every rank to a fresh process; a launch that has ended is started by a program."""
    launch = desk.launch(action)
    begun = desk.programs.has_begun(action)  # then what lives is what it has started
    if phase_of(launch, desk.look) is not JobPhase.STOPPED and not begun:
        await desk.ask(action, launch, "restart")
        return
    if "restart_job" not in desk.programs:
        raise ActionFailed(
            f"{said(action)}: its launch has ended. Start it again by hand, or name a program that "
            'does as torchrun.programs.restart_job, such as ["systemctl", "restart", "{job}"].'
        )
    await _well_done(desk, action, "restart_job")


async def _checkpoint(desk: Desk, action: Action) -> None:
    await desk.ask(action, desk.launch(action), "checkpoint")


async def _interval(desk: Desk, action: Action) -> None:
    seconds = f"{number(action, 'interval_s'):g}"
    await desk.ask(action, desk.launch(action), "checkpoint_interval", target=seconds)


async def _keep_as_spare(desk: Desk, action: Action) -> None:
    desk.kept.note_node(action.target.node, free=False)


async def _release_spare(desk: Desk, action: Action) -> None:
    desk.kept.note_node(action.target.node, free=True)


async def _validate(desk: Desk, action: Action) -> None:
    """Run the site's checks: what they write is the finding where they do not end with 0."""
    ending = await desk.programs.run(action)
    finding = "" if ending.code == 0 else ending.said or f"the checks ended with {ending.code}"
    desk.kept.note_node(action.target.node, checked_s=desk.now_s, finding=finding)


async def _by_program(desk: Desk, action: Action) -> None:
    await _well_done(desk, action, action.kind)
    node = action.target.node
    match action.kind:
        case "reset_gpu":
            desk.kept.note_node(node, reset_s=desk.now_s)
        case "limit_clocks":
            desk.kept.note_node(node, clocks=number(action, "share"))
        case "limit_power":
            desk.kept.note_node(node, power_watts=number(action, "watts") or None)


async def _page(desk: Desk, action: Action) -> None:
    """Note that a person was called; the message itself goes out by the site's receivers."""
    if action.target.node:
        desk.kept.note_node(action.target.node, paged_s=desk.now_s)
    else:
        desk.kept.note_job(action.target.job, paged_s=desk.now_s)


async def _well_done(desk: Desk, action: Action, kind: str) -> None:
    """Run a program of the site, once for each key; ActionFailed where it does not end with 0."""
    if f"{action.key}/{kind}" in desk.kept.orders:
        return
    ending = await desk.programs.run(action)
    if ending.code:
        raise ActionFailed(
            f"{said(action)}: the site's program ended with {ending.code}: {ending.said!r}."
        )
    desk.kept.orders[f"{action.key}/{kind}"] = desk.now_s


KINDS: Mapping[str, Callable[[Desk, Action], Awaitable[None]]] = {
    "cordon": _hold,
    "uncordon": _release,
    "drain": _drain,
    "quarantine": _quarantine,
    "evict_rank": _evict,
    "swap_node": _swap,
    "swap_nodes": _swaps,
    "shrink_job": _resize,
    "grow_job": _resize,
    "restart_in_place": _restart,
    "restart_job": _restart,
    "checkpoint_now": _checkpoint,
    "set_checkpoint_interval": _interval,
    "keep_as_spare": _keep_as_spare,
    "release_spare": _release_spare,
    "page_person": _page,
    "validate_node": _validate,
    "reboot_node": _by_program,
    "reset_gpu": _by_program,
    "limit_clocks": _by_program,
    "limit_power": _by_program,
}
