"""The scheduler's hands: cordon, uncordon, checkpoint, restart, swap and reboot, as it does them.

An order is taken or refused at once; what it causes takes simulated time and shows in the state.
A cordon belongs to who set it: a person's is never taken off or taken over by an action.
"""

from collections.abc import Callable, Mapping

import numpy as np

from core.cluster import OWNER, JobPhase, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from sim.cluster import NO_JOB
from sim.draws import Purpose, generator
from sim.faults import mend_by_reboot
from sim.jobs import Stage, capture, phase, running_on, stage, start
from sim.state import Hold, State
from sim.thermal import Load

_REBOOT_S = (480.0, 900.0)  # 8-15 min for an 8-GPU HGX node with POST: assumption


def perform(state: State, action: Action, *, by: str = OWNER) -> None:
    """Take an order; the key of one that was taken does nothing again.

    ActionFailed says why the cluster would not.
    """
    if action.key in state.performed:
        return
    if action.kind not in _KINDS:
        raise ActionFailed(
            f"{action.kind} on {action.target}: this cluster has no such action; it performs "
            f"{', '.join(_KINDS)}."
        )
    _KINDS[action.kind](state, action, by)
    state.performed[action.key] = state.now_s


def condition(state: State, node: int) -> NodeCondition:
    """Return whether jobs may start on a node."""
    row = state.nodes.now(np.array([node]))
    return _condition(state.holds[node], up=bool(row["up"][0]), busy=int(row["job"][0]) != NO_JOB)


def conditions(state: State) -> tuple[NodeCondition, ...]:
    """Return whether jobs may start, for every node."""
    rows = state.nodes.now()
    up, busy = rows["up"].tolist(), (rows["job"] != NO_JOB).tolist()
    return tuple(
        _condition(hold, up=is_up, busy=is_busy)
        for hold, is_up, is_busy in zip(state.holds, up, busy, strict=True)
    )


def _condition(hold: Hold, *, up: bool, busy: bool) -> NodeCondition:
    if not up:
        return NodeCondition.DOWN
    if not hold.owner:
        return NodeCondition.READY
    return NodeCondition.CORDONED if busy else NodeCondition.DRAINED


def cordon(state: State, node: int, *, by: str, reason: str) -> None:
    """Keep a node from getting jobs; it keeps the one it has, and an earlier owner."""
    if not state.holds[node].owner:
        state.holds[node] = Hold(by, reason)
        state.node_since[node] = state.now_s


def uncordon(state: State, node: int) -> None:
    """Let a node have jobs again, whoever kept it from them."""
    if state.holds[node].owner:
        state.holds[node] = Hold()
        state.node_since[node] = state.now_s


def on_rebooted(state: State, node: int) -> None:
    """Bring a node up again, with what a reboot repairs repaired."""
    mend_by_reboot(state, node)
    state.change_nodes((node,), up=True)
    state.node_since[node] = state.now_s
    state.tell(state.node_target(node), "node_returned", f"{state.shape.nodes[node]} is up again")


def _cordon(state: State, action: Action, by: str) -> None:
    reason = str(action.param("reason") or "cordoned by action")
    cordon(state, _node(state, action), by=by, reason=reason)


def _uncordon(state: State, action: Action, by: str) -> None:
    node = _node(state, action)
    hold = state.holds[node]
    if hold.owner and hold.owner != by:
        raise ActionFailed(
            f"uncordon {action.target}: {hold.owner} keeps it out of service ({hold.reason}); "
            "only they may return it."
        )
    uncordon(state, node)


def _checkpoint_now(state: State, action: Action, _: str) -> None:
    job = _job(state, action)
    if stage(state, job) is Stage.CAPTURING:
        return
    if stage(state, job) is not Stage.STEPPING:
        raise ActionFailed(
            f"checkpoint_now {action.target}: it is {_how(state, job)} and makes no steps; only a "
            "running job has anything to save."
        )
    capture(state, job)


def _restart_job(state: State, action: Action, _: str) -> None:
    job = _job(state, action)
    if phase(state, job) is JobPhase.STARTING:
        raise ActionFailed(
            f"restart_job {action.target}: it is already starting; wait until it runs or stops."
        )
    for node in state.placement[job]:
        _check_may_start(state, action, node)
    start(state, job, state.placement[job])


def _swap_node(state: State, action: Action, by: str) -> None:
    """Give the job a spare for the node, which is cordoned and a spare itself once uncordoned."""
    node = _node(state, action)
    job = state.job_on(node)
    wanted = action.param("job")
    if job == NO_JOB or (wanted and wanted != state.spec(job).id):
        held = "no job" if job == NO_JOB else f"job {state.spec(job).id}"
        raise ActionFailed(
            f"swap_node {action.target}: it holds {held}, not job {wanted or '(any)'}; look at "
            "the cluster's state again."
        )
    spare = _spare(state, action)
    nodes = tuple(spare if other == node else other for other in state.placement[job])
    for other in nodes:
        _check_may_start(state, action, other)
    start(state, job, nodes)
    state.pool[node] = True
    cordon(state, node, by=by, reason=f"swapped out of job {state.spec(job).id}")


def _reboot_node(state: State, action: Action, _: str) -> None:
    node = _node(state, action)
    job = running_on(state, node)
    if job != NO_JOB:
        raise ActionFailed(
            f"reboot_node {action.target}: job {state.spec(job).id} runs on it; swap the node "
            "first."
        )
    if condition(state, node) is NodeCondition.DOWN:
        raise ActionFailed(f"reboot_node {action.target}: it is down already; wait for it.")
    index = len(state.performed)
    random = generator(state.seed, entity=node, purpose=Purpose.REBOOT, index=index)
    state.change_nodes((node,), up=False, load=Load.IDLE)
    state.node_since[node] = state.now_s
    name = state.shape.nodes[node]
    state.tell(state.node_target(node), "node_reboot", f"{name} reboots")
    state.schedule(random.uniform(*_REBOOT_S), "rebooted", (node,))


_KINDS: Mapping[str, Callable[[State, Action, str], None]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "checkpoint_now": _checkpoint_now,
    "restart_job": _restart_job,
    "swap_node": _swap_node,
    "reboot_node": _reboot_node,
}


def _node(state: State, action: Action) -> int:
    if action.target.node not in state.shape.node_index:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the cluster has no node "
            f"{action.target.node or '(none named)'!r}; name one of {state.shape.nodes[0]} to "
            f"{state.shape.nodes[-1]}."
        )
    return state.shape.node_index[action.target.node]


def _job(state: State, action: Action) -> int:
    ids = [job.id for job in state.scenario.jobs]
    if action.target.job not in ids:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the scheduler has no job "
            f"{action.target.job or '(none named)'!r}; it has {', '.join(ids)}."
        )
    return ids.index(action.target.job)


def _spare(state: State, action: Action) -> int:
    """Return the node to put in: the one the action names, or the first that is free."""
    named = str(action.param("spare") or "")
    if named and named not in state.shape.node_index:
        raise ActionFailed(f"swap_node {action.target}: the cluster has no node {named!r}.")
    choice = [state.shape.node_index[named]] if named else range(len(state.pool))
    for node in choice:
        ready = condition(state, node) is NodeCondition.READY
        if state.pool[node] and ready and state.job_on(node) == NO_JOB:
            return node
    found = "no spare is free" if not named else f"{named} is {_why_not(state, choice[0])}"
    raise ActionFailed(
        f"swap_node {action.target}: {found}; name a node that is a spare, ready and has no job."
    )


def _why_not(state: State, node: int) -> str:
    job = state.job_on(node)
    if job != NO_JOB:
        return f"given to job {state.spec(job).id}"
    if not state.pool[node]:
        return "not a spare"
    return f"{condition(state, node)} ({state.holds[node].owner or 'by itself'})"


def _check_may_start(state: State, action: Action, node: int) -> None:
    """Refuse to start a job on a node that is down or cordoned."""
    found = condition(state, node)
    if found is NodeCondition.READY:
        return
    by = f" by {state.holds[node].owner}" if state.holds[node].owner else ""
    target = Target(node=state.shape.nodes[node])
    raise ActionFailed(
        f"{action.kind} {action.target}: {target} is {found}{by}, and no job may start there; "
        "uncordon it or swap it for a spare."
    )


def _how(state: State, job: int) -> str:
    return "hung" if stage(state, job) is Stage.HUNG else str(phase(state, job))
