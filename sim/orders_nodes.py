"""Orders about nodes: in and out of service, checks, reboots, clocks, power, drivers.

A hold on a node belongs to who set it: a person's is never taken off or taken over by an action.
"""

from collections.abc import Callable, Mapping

import numpy as np

from core.cluster import NodeCondition
from core.errors import ActionFailed
from core.types import Action
from sim.engine import repair, verbs
from sim.engine.thermal import SLOWEST_CLOCK
from sim.engine.words import NONE, Effect, Hold, Phase, Purpose
from sim.observe import NO_NOTE, nodes_of, owner_of
from sim.orders_desk import (
    Desk,
    check_placed,
    condition_of,
    cordon,
    id_of,
    live_job,
    needed,
    node_of,
    uncordon,
)

_RESET_S = 30.0  # of a GPU: 5 to 30 s (assumption)
_CHECKS_AT = 64  # where the random numbers of a node's checks begin, behind those of the site's


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
    note = desk.people.notes.get(node, NO_NOTE)
    if note.mark:
        raise ActionFailed(
            f"uncordon {action.target}: it is quarantined as a {note.mark}; people return it."
        )
    uncordon(desk.w, desk.people, node)


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


def _validate_node(desk: Desk, action: Action) -> None:
    """Run a node's checks, which take the site's time and find a fault by their recall."""
    node = _empty_and_held(desk, action)
    w, note = desk.w, desk.people.notes.get(node, NO_NOTE)
    found, fault = [], int(w.nodes[node]["fault"])
    while fault != NONE:
        effect = w.classes[w.faults[fault]["class"]]["effect"]
        plain = effect in (Effect.GPU_LOST, Effect.NODE_DOWN)  # no check can miss it
        lane = _CHECKS_AT + note.checks % _CHECKS_AT
        luck = repair.lucky(w, fault, lane, Purpose.CHECK)
        if plain or luck < w.site[0]["check_recall"]:
            found.append(desk.names.classes[int(w.faults[fault]["class"])])
        fault = int(w.faults[fault]["next"])
    ends_s = float(w.core[0]["now_s"] + w.site[0]["validate_s"])
    desk.people.note(
        node, checked_s=ends_s, finding=", ".join(sorted(found)), checks=note.checks + 1
    )


def _reset_gpu(desk: Desk, action: Action) -> None:
    """Reset a GPU of a node on which no job runs; what a boot would mend of it is mended."""
    node = node_of(desk, action)
    places = {desk.names.gpu(node, at): at for at in range(int(desk.w.nodes[node]["gpus"]))}
    if action.target.gpu not in places:
        raise ActionFailed(
            f"reset_gpu {action.target}: {desk.names.nodes[node]} has no such GPU; name one of "
            f"{', '.join(places)}."
        )
    job = _running_on(desk, node)
    if job != NONE or condition_of(desk, node) is NodeCondition.DOWN:
        found = "it is down" if job == NONE else f"job {id_of(desk, job)} runs on it"
        raise ActionFailed(f"reset_gpu {action.target}: {found}; it must be up and idle.")
    verbs.reset_gpu(desk.w, node, places[action.target.gpu], _RESET_S)
    desk.people.note(node, reset_s=float(desk.w.core[0]["now_s"]) + _RESET_S)


def _quarantine(desk: Desk, action: Action) -> None:
    """Mark a node that is out for people, who find out what is wrong with it for good."""
    node = _empty_and_held(desk, action)
    desk.people.note(node, mark="lemon")
    desk.w.nodes[node]["frailty"] = 1.0  # what made it fail again and again is replaced


def _empty_and_held(desk: Desk, action: Action) -> int:
    """Return the order's node, which is up, has no job and is kept out by who orders."""
    node = node_of(desk, action)
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    if owner != desk.by:
        raise ActionFailed(
            f"{action.kind} {action.target}: it is held by {owner or 'nobody'}; cordon it first."
        )
    if desk.w.nodes[node]["free"] < desk.w.nodes[node]["gpus"]:
        job = id_of(desk, int(desk.w.nodes[node]["held_by"]))
        raise ActionFailed(f"{action.kind} {action.target}: job {job} has it; swap or drain it.")
    if not desk.w.nodes[node]["up"]:
        raise ActionFailed(f"{action.kind} {action.target}: it is down; wait for it.")
    return node


def _keep_as_spare(desk: Desk, action: Action) -> None:
    node = node_of(desk, action)
    row = desk.w.nodes[node]
    if row["pool"] or row["free"] < row["gpus"] or condition_of(desk, node) != "ready":
        found = "a spare already" if row["pool"] else str(condition_of(desk, node))
        raise ActionFailed(
            f"keep_as_spare {action.target}: it is {found}, with {row['free']} of {row['gpus']} "
            "GPUs free; name a ready node without jobs."
        )
    verbs.keep_as_spare(desk.w, node)


def _release_spare(desk: Desk, action: Action) -> None:
    node = node_of(desk, action)
    if not desk.w.nodes[node]["pool"]:
        raise ActionFailed(f"release_spare {action.target}: it is no spare; name one.")
    verbs.release_spare(desk.w, node)


def _page_person(desk: Desk, action: Action) -> None:
    """Call a person, who comes after the site's mean time and mends what is broken there."""
    w = desk.w
    node = node_of(desk, action) if action.target.node else NONE
    job = live_job(desk, action) if node == NONE else int(w.nodes[node]["held_by"])
    verbs.call_people(w, node, job, float(w.site[0]["people_s"]))
    if node == NONE:
        desk.people.paged[int(w.jobs[job]["number"])] = float(w.core[0]["now_s"])
    else:
        desk.people.note(node, paged_s=float(w.core[0]["now_s"]))


def _limit_power(desk: Desk, action: Action) -> None:
    """Let each of a node's GPUs draw so much; 0: as much as its board allows."""
    node = node_of(desk, action)
    kind = desk.w.types[desk.w.nodes[node]["type"]]
    watts = needed(action, "watts", 0.0, float(kind["watts"]))
    if 0 < watts < float(kind["idle_watts"]):
        raise ActionFailed(
            f"limit_power {action.target}: {watts:g} W; a GPU draws {kind['idle_watts']:g} W idle, "
            "name more, or 0 for no limit."
        )
    if condition_of(desk, node) is NodeCondition.DOWN:
        raise ActionFailed(
            f"limit_power {action.target}: it is down, and a boot would free its power again; "
            "order it when the node is up."
        )
    verbs.limit_power(desk.w, node, watts)


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
    "validate_node": _validate_node,
    "reboot_node": _reboot_node,
    "reset_gpu": _reset_gpu,
    "quarantine": _quarantine,
    "keep_as_spare": _keep_as_spare,
    "release_spare": _release_spare,
    "page_person": _page_person,
    "limit_power": _limit_power,
    "limit_clocks": _limit_clocks,
    "stop_rollout": _stop_rollout,
}


def _running_on(desk: Desk, node: int) -> int:
    """Return a job whose processes are on the node, or NONE."""
    for job in np.unique(desk.w.nodes[node]["job"]).tolist():
        if job != NONE and desk.w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
            return int(job)
    return NONE
