"""Orders about which nodes a job has: swaps, sizes, moves, loans, and giving way."""

from collections.abc import Callable, Mapping

import numpy as np

from core.cluster import NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from sim.checks import nearest
from sim.engine import verbs
from sim.engine.words import NONE, Hold, JobKind, Phase
from sim.observe import nodes_of, owner_of
from sim.orders_desk import (
    Desk,
    check_all_may_start,
    check_may_start,
    check_placed,
    condition_of,
    cordon,
    count_of,
    how,
    id_of,
    job_of,
    live_job,
    node_of,
)


def _swap_node(desk: Desk, action: Action) -> None:
    """Give the job a spare for the node, which is cordoned and a spare itself once uncordoned."""
    node = node_of(desk, action)
    job = _whole_job_on(desk, action, node)
    _swap(desk, job, [node], [_spare(desk, action, str(action.param("spare") or ""))])


def _swap_nodes(desk: Desk, action: Action) -> None:
    """Do the same for several nodes of a job in one stop."""
    job = job_of(desk, action)
    nodes, spares = _named_nodes(desk, action, "nodes"), _named_nodes(desk, action, "spares")
    if len(nodes) != len(spares):
        raise ActionFailed(
            f"swap_nodes {action.target}: {len(nodes)} nodes and {len(spares)} spares are named; "
            "name a spare for each node."
        )
    for node in nodes:
        if int(desk.w.nodes[node]["held_by"]) != job or node not in nodes_of(desk.w, job):
            raise ActionFailed(
                f"swap_nodes {action.target}: {desk.names.nodes[node]} is none of its nodes; look "
                "at the cluster's state again."
            )
    _swap(desk, job, nodes, [_spare(desk, action, desk.names.nodes[spare]) for spare in spares])


def _swap(desk: Desk, job: int, nodes: list[int], spares: list[int]) -> None:
    for other in nodes_of(desk.w, job):
        if other not in nodes:
            check_may_start(desk, _about(desk, job), other)
    verbs.stop(desk.w, job)
    for node, spare in zip(nodes, spares, strict=True):
        verbs.exchange(desk.w, job, node, spare)
    verbs.begin(desk.w, job, 0.0)
    for node in nodes:
        cordon(
            desk.w, desk.people, node, by=desk.by, reason=f"swapped out of job {id_of(desk, job)}"
        )


def _evict_rank(desk: Desk, action: Action) -> None:
    """Take a node out of its job: a spare comes in its place, or the job does without."""
    node = node_of(desk, action)
    job = _whole_job_on(desk, action, node)
    if named := str(action.param("spare") or ""):
        _swap(desk, job, [node], [_spare(desk, action, named)])
        return
    size = len(nodes_of(desk.w, job)) - 1
    _check_size(desk, action, job, size)
    for other in nodes_of(desk.w, job):
        if other != node:
            check_may_start(desk, action, other)
    verbs.do_without(desk.w, job, node, True)
    cordon(desk.w, desk.people, node, by=desk.by, reason=f"evicted from job {id_of(desk, job)}")


def _borrow_node(desk: Desk, action: Action) -> None:
    """Put another job's node, or a free one, in the node's place; the lender shrinks or waits."""
    node = node_of(desk, action)
    job = _whole_job_on(desk, action, node)
    lent = _named_nodes(desk, action, "spare")
    if len(lent) != 1:
        raise ActionFailed(f"borrow_node {action.target}: name one node as spare.")
    for other in (*lent, *(at for at in nodes_of(desk.w, job) if at != node)):
        check_may_start(desk, action, other)
    lender, named = int(desk.w.nodes[lent[0]]["held_by"]), str(action.param("lender") or "")
    found = "" if lender == NONE else id_of(desk, lender)
    if found != named:
        raise ActionFailed(
            f"borrow_node {action.target}: {desk.names.nodes[lent[0]]} is held by "
            f"{found or 'nobody'}, not by {named or 'nobody'}; look at the cluster's state again."
        )
    if lender == NONE:
        _swap(desk, job, [node], lent)
        return
    given = desk.w.jobs[lender]["given"] >= desk.w.nodes[lent[0]]["gpus"]
    if not given or desk.w.jobs[lender]["priority"] >= desk.w.jobs[job]["priority"]:
        raise ActionFailed(
            f"borrow_node {action.target}: job {found} has no whole node to lend to a job that is "
            "more urgent; name a node of a job of lower priority."
        )
    verbs.borrow(desk.w, job, node, lender, lent[0])
    cordon(desk.w, desk.people, node, by=desk.by, reason=f"replaced in job {id_of(desk, job)}")


def _shrink_job(desk: Desk, action: Action) -> None:
    """Let a job run on fewer nodes: it writes its state first and starts anew."""
    job = live_job(desk, action)
    size = count_of(action, "nodes", 1, len(desk.w.nodes))
    _check_size(desk, action, job, size)
    nodes, leave = nodes_of(desk.w, job), action.param("leave")
    if not size < (len(nodes) or _wanted(desk, job)):
        raise ActionFailed(f"shrink_job {action.target}: it has {len(nodes)} nodes; name fewer.")
    left = _named_nodes(desk, action, "leave") if leave else []
    if not set(left) <= set(nodes):
        raise ActionFailed(
            f"shrink_job {action.target}: it does not have {leave}; name a node that it has."
        )
    unready = [n for n in nodes if condition_of(desk, n) is not NodeCondition.READY]
    if len(set(unready) | set(left)) > max(len(nodes) - size, 0) and nodes:
        check_all_may_start(desk, action, job)
    if left:
        verbs.part_with(desk.w, job, left[0])
    if not left or len(nodes) - 1 > size:
        verbs.resize(desk.w, job, size)


def _grow_job(desk: Desk, action: Action) -> None:
    """Let a job run on more nodes: it writes its state first and starts anew."""
    job = live_job(desk, action)
    size = count_of(action, "nodes", 1, len(desk.w.nodes))
    _check_size(desk, action, job, size)
    nodes, free = nodes_of(desk.w, job), int(desk.w.core[0]["free_nodes"])
    if not size > (len(nodes) or _wanted(desk, job)):
        raise ActionFailed(f"grow_job {action.target}: it has {len(nodes)} nodes; name more.")
    if nodes and size - len(nodes) > free:
        raise ActionFailed(
            f"grow_job {action.target}: it has {len(nodes)} nodes and {free} are free beside the "
            f"spares; name at most {len(nodes) + free}, or make room first."
        )
    if nodes:
        check_all_may_start(desk, action, job)
    verbs.resize(desk.w, job, size)


def _check_size(desk: Desk, action: Action, job: int, size: int) -> None:
    """Refuse a size out of the job's bounds, and any of a job that has none."""
    row, each = desk.w.jobs[job], int(desk.w.nodes[0]["gpus"])
    if row["kind"] not in (JobKind.ELASTIC, JobKind.TRAINING) or row["gpus"] < each:
        kind = JobKind(int(row["kind"])).name.lower()
        raise ActionFailed(
            f"{action.kind} {action.target}: it is a job of kind {kind!r} on {row['gpus']} GPUs; "
            "only an elastic job or a training on whole nodes can have another size."
        )
    least, most = -(-int(row["least_gpus"]) // each), int(row["most_gpus"]) // each
    if not least <= size <= most or size * each % max(int(row["unit"]), 1):
        raise ActionFailed(
            f"{action.kind} {action.target}: {size} nodes; it runs on {least} to {most}, in units "
            f"of {row['unit']} GPUs."
        )


def _wanted(desk: Desk, job: int) -> int:
    """Return how many nodes a job that waits is to have."""
    row = desk.w.jobs[job]
    return int(row["ordered"] or row["gpus"]) // int(desk.w.nodes[0]["gpus"])


def _reboot_under_job(desk: Desk, action: Action) -> None:
    """Stop a job in order, reboot one of its nodes and start it again once that can be up."""
    node = node_of(desk, action)
    job = _whole_job_on(desk, action, node)
    if condition_of(desk, node) is NodeCondition.DOWN:
        raise ActionFailed(f"reboot_under_job {action.target}: it is down already; wait for it.")
    for other in nodes_of(desk.w, job):
        if other != node:
            check_may_start(desk, action, other)
    more_s = verbs.halt(desk.w, job)
    verbs.reboot(desk.w, node)
    verbs.begin(desk.w, job, more_s + float(desk.w.site[0]["reboot_hi_s"]))


def _preempt_job(desk: Desk, action: Action) -> None:
    """Let a job save its state and wait in the queue."""
    job = live_job(desk, action)
    check_placed(desk, action, job)
    verbs.preempt(desk.w, job)


def _drain(desk: Desk, action: Action) -> None:
    """Keep jobs off a node and move those it has, in order: to spares, free nodes or the queue."""
    node = node_of(desk, action)
    owner, reason = owner_of(desk.w, node, desk.people.holds)
    if owner not in ("", desk.by, "site"):
        raise ActionFailed(
            f"drain {action.target}: {owner} keeps it out of service ({reason}) and moves its jobs."
        )
    cordon(
        desk.w,
        desk.people,
        node,
        by=desk.by,
        reason=str(action.param("reason") or "drained by action"),
    )
    verbs.drain(desk.w, node, Hold.AGENT)


def _move_job(desk: Desk, action: Action) -> None:
    """Start a job on other nodes, named in rank order: ``nodes`` = "node-03,node-04"."""
    job = live_job(desk, action)
    wanted = _named_nodes(desk, action, "nodes")
    has = nodes_of(desk.w, job)
    if wanted == has:
        raise ActionFailed(f"{action.kind} {action.target}: it runs on these already; name others.")
    each, row = int(desk.w.nodes[0]["gpus"]), desk.w.jobs[job]
    count = len(has) or max(int(row["ordered"] or row["gpus"]) // each, 1)
    if len(wanted) != count:
        raise ActionFailed(
            f"{action.kind} {action.target}: {len(wanted)} nodes are named and it needs {count}; "
            "name as many, or let it shrink or grow first."
        )
    for node in wanted:
        _check_can_have(desk, action, job, node)
    _place_again(desk, job, has, wanted)


def _place_again(desk: Desk, job: int, before: list[int], wanted: list[int]) -> None:
    """Move a job; for each spare that it takes a node that it leaves is a spare."""
    nodes = desk.w.nodes
    spares = sum(bool(nodes[node]["pool"]) for node in wanted)
    more_s = verbs.leave(desk.w, job)
    for node in wanted:
        verbs.take(desk.w, job, node)
    left = [
        node for node in before if node not in wanted and nodes[node]["free"] == nodes[node]["gpus"]
    ]
    for node in left[:spares]:
        verbs.keep_as_spare(desk.w, node)
    verbs.begin(desk.w, job, more_s)


def _named_nodes(desk: Desk, action: Action, name: str) -> list[int]:
    """Return the nodes that a parameter names with commas."""
    value = action.param(name)
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    if not names or len(set(names)) < len(names):
        raise ActionFailed(
            f"{action.kind} {action.target}: {name} is {value!r}; name each node once, with "
            f"commas: {','.join(desk.names.nodes[:2])}."
        )
    for one in names:
        if one not in desk.names.node_index:
            raise ActionFailed(
                f"{action.kind} {action.target}: the cluster has no node {one!r}; "
                f"{nearest(one, desk.names.nodes)}"
            )
    return [desk.names.node_index[one] for one in names]


def _check_can_have(desk: Desk, action: Action, job: int, node: int) -> None:
    """Refuse a node that is out of service, or on which others leave too few GPUs."""
    name, row = desk.names.nodes[node], desk.w.nodes[node]
    found = condition_of(desk, node)
    if found is not NodeCondition.READY:
        owner, _ = owner_of(desk.w, node, desk.people.holds)
        raise ActionFailed(
            f"{action.kind} {action.target}: {name} is {found}{f' by {owner}' if owner else ''}; "
            "name nodes that are ready."
        )
    wanted = min(int(desk.w.jobs[job]["gpus"]), int(row["gpus"]))
    free = int(((row["job"][: row["gpus"]] == NONE) | (row["job"][: row["gpus"]] == job)).sum())
    if free < wanted:
        other = next(j for j in row["job"].tolist() if j not in (NONE, job))
        raise ActionFailed(
            f"{action.kind} {action.target}: {name} has {free} free GPUs and it needs {wanted} "
            f"there; job {id_of(desk, other)} has the others; name nodes that have them free."
        )


def _whole_job_on(desk: Desk, action: Action, node: int) -> int:
    """Return the job that has a whole node; ActionFailed where it is not the one named."""
    job, wanted = int(desk.w.nodes[node]["held_by"]), action.param("job")
    if job == NONE or (wanted and wanted != id_of(desk, job)):
        held = "no job" if job == NONE else f"job {id_of(desk, job)}"
        raise ActionFailed(
            f"{action.kind} {action.target}: it holds {held}, not job {wanted or '(any)'}; look at "
            "the cluster's state again."
        )
    if desk.w.jobs[job]["given"] < desk.w.nodes[node]["gpus"]:
        raise ActionFailed(
            f"{action.kind} {action.target}: job {id_of(desk, job)} has "
            f"{desk.w.jobs[job]['given']} of its GPUs and no whole node to swap; order move_job."
        )
    if desk.w.jobs[job]["phase"] == Phase.PENDING:
        raise ActionFailed(f"{action.kind} {action.target}: its job is {how(desk, job)}.")
    return job


def _about(desk: Desk, job: int) -> Action:
    """Return what a refusal about a job's other nodes is said of."""
    return Action("", "starting", Target(job=id_of(desk, job)), (), 0.0, "")


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "swap_node": _swap_node,
    "swap_nodes": _swap_nodes,
    "evict_rank": _evict_rank,
    "borrow_node": _borrow_node,
    "reboot_under_job": _reboot_under_job,
    "shrink_job": _shrink_job,
    "grow_job": _grow_job,
    "preempt_job": _preempt_job,
    "drain": _drain,
    "move_job": _move_job,
}


def _spare(desk: Desk, action: Action, named: str) -> int:
    """Return the node to put in: the one that is named, or the first that is free."""
    if named and named not in desk.names.node_index:
        raise ActionFailed(f"{action.kind} {action.target}: the cluster has no node {named!r}.")
    nodes = desk.w.nodes
    free = nodes["pool"] & nodes["up"] & (nodes["hold"] == Hold.NOBODY)
    free &= (nodes["job"] == NONE).all(axis=1)
    choice = [desk.names.node_index[named]] if named else np.flatnonzero(free).tolist()
    if choice and free[choice[0]]:
        return int(choice[0])
    found = "no spare is free" if not named else f"{named} is {_why_not(desk, choice[0])}"
    raise ActionFailed(
        f"{action.kind} {action.target}: {found}; name a node that is a spare, ready and has no "
        "job."
    )


def _why_not(desk: Desk, node: int) -> str:
    job = int(desk.w.nodes[node]["held_by"])
    if job != NONE:
        return f"given to job {id_of(desk, job)}"
    if not desk.w.nodes[node]["pool"]:
        return "not a spare"
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    return f"{condition_of(desk, node)} ({owner or 'by itself'})"
