"""Orders about nodes: in and out of service, swaps, reboots, clocks, drivers.

A hold on a node belongs to who set it: a person's is never taken off or taken over by an action.
"""

from collections.abc import Callable, Mapping

import numpy as np

from core.cluster import OWNER, NodeCondition
from core.errors import ActionFailed
from core.types import Action
from sim.engine import verbs
from sim.engine.tables import Tables
from sim.engine.thermal import SLOWEST_CLOCK
from sim.engine.words import NONE, Hold, Phase
from sim.observe import nodes_of, owner_of
from sim.orders_desk import (
    Desk,
    People,
    check_may_start,
    check_placed,
    condition_of,
    id_of,
    live_job,
    needed,
    node_of,
)


def cordon(w: Tables, people: People, node: int, *, by: str, reason: str) -> None:
    """Keep a node from getting jobs; it keeps the one it has, and an earlier owner."""
    if w.nodes[node]["hold"] == Hold.NOBODY:
        people.holds[node] = (by, reason)
        verbs.take_out(w, node, Hold.AGENT if by == OWNER else Hold.PERSON)


def uncordon(w: Tables, people: People, node: int) -> None:
    """Let a node have jobs again, whoever kept it from them."""
    if w.nodes[node]["hold"] != Hold.NOBODY:
        people.holds.pop(node, None)
        verbs.give_back(w, node)


def _cordon(desk: Desk, action: Action) -> None:
    reason = str(action.param("reason") or "cordoned by action")
    cordon(desk.w, desk.people, node_of(desk, action), by=desk.by, reason=reason)


def _uncordon(desk: Desk, action: Action) -> None:
    node = node_of(desk, action)
    owner, reason = owner_of(desk.w, node, desk.people.holds)
    if owner and owner != desk.by:
        raise ActionFailed(
            f"uncordon {action.target}: {owner} keeps it out of service ({reason}); "
            "only they may return it."
        )
    uncordon(desk.w, desk.people, node)


def _swap_node(desk: Desk, action: Action) -> None:
    """Give the job a spare for the node, which is cordoned and a spare itself once uncordoned."""
    node = node_of(desk, action)
    job, wanted = int(desk.w.nodes[node]["held_by"]), action.param("job")
    if job == NONE or (wanted and wanted != id_of(desk, job)):
        held = "no job" if job == NONE else f"job {id_of(desk, job)}"
        raise ActionFailed(
            f"swap_node {action.target}: it holds {held}, not job {wanted or '(any)'}; look at "
            "the cluster's state again."
        )
    if desk.w.jobs[job]["given"] < desk.w.nodes[node]["gpus"]:
        raise ActionFailed(
            f"swap_node {action.target}: job {id_of(desk, job)} has {desk.w.jobs[job]['given']} of "
            "its GPUs and no whole node to swap; order move_job."
        )
    spare = _spare(desk, action)
    for other in nodes_of(desk.w, job):
        if other != node:
            check_may_start(desk, action, other)
    verbs.swap(desk.w, job, node, spare)
    cordon(desk.w, desk.people, node, by=desk.by, reason=f"swapped out of job {id_of(desk, job)}")


def _reboot_node(desk: Desk, action: Action) -> None:
    node = node_of(desk, action)
    job = _running_on(desk, node)
    if job != NONE:
        raise ActionFailed(
            f"reboot_node {action.target}: job {id_of(desk, job)} runs on it; swap the node first."
        )
    if condition_of(desk, node) is NodeCondition.DOWN:
        raise ActionFailed(f"reboot_node {action.target}: it is down already; wait for it.")
    verbs.reboot(desk.w, node)


def _limit_clocks(desk: Desk, action: Action) -> None:
    """Hold the clocks of a node, or of the nodes that a job has now; 1 frees them."""
    share = needed(action, "share", SLOWEST_CLOCK, 1.0)
    if action.target.node:
        nodes = [node_of(desk, action)]
    else:
        job = live_job(desk, action)
        check_placed(desk, action, job)
        nodes = nodes_of(desk.w, job)
    for node in nodes:
        if condition_of(desk, node) is NodeCondition.DOWN:
            raise ActionFailed(
                f"limit_clocks {action.target}: {desk.names.nodes[node]} is down, and a boot would "
                "free its clocks again; order it when the node is up."
            )
    for node in nodes:
        verbs.limit_clocks(desk.w, node, share)


def _stop_rollout(desk: Desk, action: Action) -> None:
    """Let a driver's roll-out go no further; boot the nodes that have it into the old one.

    Those on which a job runs keep it until they are rebooted, unless ``restart_jobs`` says that
    the jobs wait for it. A node that a person keeps is left alone.
    """
    restart = action.param("restart_jobs") or False
    if not isinstance(restart, bool):
        raise ActionFailed(
            f"stop_rollout {action.target}: restart_jobs is {restart!r}; give true or false."
        )
    nodes = desk.w.nodes
    if not verbs.stop_rollouts(desk.w) and not (restart and (nodes["driver"] != 0).any()):
        raise ActionFailed(
            f"stop_rollout {action.target}: no driver is rolled out; there is nothing to stop."
        )
    bad = [
        node
        for node in np.flatnonzero((nodes["driver"] != 0) & nodes["up"]).tolist()
        if nodes[node]["hold"] != Hold.PERSON
    ]
    waits_s = _halt_on(desk, bad) if restart else {}
    for node in bad:
        if _running_on(desk, node) == NONE:
            verbs.reboot(desk.w, node)
    for job, more_s in waits_s.items():
        verbs.begin(desk.w, job, more_s + float(desk.w.site[0]["reboot_hi_s"]))


def _halt_on(desk: Desk, nodes: list[int]) -> dict[int, float]:
    """Stop the jobs on nodes, in order; return by how much later each starts.

    One that has a node that is out of service runs on, for it could not start again.
    """
    running = (Phase.STARTING, Phase.RUNNING)
    there = np.unique(desk.w.nodes[nodes]["job"])
    jobs = [job for job in there[there != NONE].tolist() if desk.w.jobs[job]["phase"] in running]
    able = [
        job
        for job in jobs
        if all(condition_of(desk, node) is NodeCondition.READY for node in nodes_of(desk.w, job))
    ]
    return {job: verbs.halt(desk.w, job) for job in able}


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "swap_node": _swap_node,
    "reboot_node": _reboot_node,
    "limit_clocks": _limit_clocks,
    "stop_rollout": _stop_rollout,
}


def _running_on(desk: Desk, node: int) -> int:
    """Return a job whose processes are on the node, or NONE."""
    for job in np.unique(desk.w.nodes[node]["job"]).tolist():
        if job != NONE and desk.w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
            return int(job)
    return NONE


def _spare(desk: Desk, action: Action) -> int:
    """Return the node to put in: the one the action names, or the first that is free."""
    named = str(action.param("spare") or "")
    if named and named not in desk.names.node_index:
        raise ActionFailed(f"swap_node {action.target}: the cluster has no node {named!r}.")
    nodes = desk.w.nodes
    free = nodes["pool"] & nodes["up"] & (nodes["hold"] == Hold.NOBODY)
    free &= (nodes["job"] == NONE).all(axis=1)
    choice = [desk.names.node_index[named]] if named else np.flatnonzero(free).tolist()
    if choice and free[choice[0]]:
        return int(choice[0])
    found = "no spare is free" if not named else f"{named} is {_why_not(desk, choice[0])}"
    raise ActionFailed(
        f"swap_node {action.target}: {found}; name a node that is a spare, ready and has no job."
    )


def _why_not(desk: Desk, node: int) -> str:
    job = int(desk.w.nodes[node]["held_by"])
    if job != NONE:
        return f"given to job {id_of(desk, job)}"
    if not desk.w.nodes[node]["pool"]:
        return "not a spare"
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    return f"{condition_of(desk, node)} ({owner or 'by itself'})"
