"""Makes room for a job that waits: small jobs move together, then spares, then less urgent jobs.

What goes on elsewhere is moved before anything is stopped, and of what is stopped as few GPUs as
will do, of the lowest priorities that are enough. Nothing as urgent as the job that waits is
touched.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition
from core.target import Target
from core.types import Action, Scalar
from remediation.catalogue import (
    CATALOG,
    MOVE_JOB,
    PREEMPT_JOB,
    RELEASE_SPARE,
    SHRINK_JOB,
    first_obstacle,
    make,
)
from remediation.catalogue.asked import jobs_on
from remediation.catalogue.job_obstacles import free_gpus, free_nodes
from remediation.catalogue.subject import gpus_on

Step = tuple[str, Target, dict[str, Scalar]]


@dataclass(frozen=True, slots=True)
class Room:
    """How a job that waits can be given its nodes.

    actions: in order, all of which can be done one after the other; none where it fits already
    moved_gpus: of jobs that go on elsewhere; stopped_gpus: taken from jobs that shrink or wait
    reason:  why there is no way; "" where there is
    """

    actions: tuple[Action, ...] = ()
    moved_gpus: int = 0
    stopped_gpus: int = 0
    reason: str = ""


def room_for(state: ClusterState, job_id: str, *, plan_id: str, spares_kept: int = 0) -> Room:
    """Return how the job that waits can start; ``spares_kept`` ready spares stay."""
    job = state.job(job_id)
    if job is None or job.phase is not JobPhase.PENDING:
        return Room(reason=f"job {job_id} is {'unknown' if job is None else job.phase}")
    if _fits(state, job):
        return Room()
    steps: list[Step] = []
    moved = stopped = 0
    after = state
    for source in (_together, _spares):
        for group in source(after, job, spares_kept):
            if _lacks(after, job) <= 0:
                break
            after = _projected(group, after, plan_id)
            steps += group
            moved += sum(_gpus(after, step) for step in group)
    if _lacks(after, job) > 0:
        taken = _from_others(after, job)
        steps += [step for step, _ in taken]
        stopped = sum(gpus for _, gpus in taken)
        after = _projected([step for step, _ in taken], after, plan_id)
    if not _fits(after, job):
        return Room(reason=_short(state, after, job))
    actions = _made(steps, plan_id)
    if found := first_obstacle(actions, state):
        return Room(reason=found.reason)
    return Room(actions, moved, stopped)


def _together(state: ClusterState, job: JobState, _: int) -> list[list[Step]]:
    """Return, node by node, the moves of small jobs to others that have room; fewest GPUs first."""
    partly = [name for name in _usable(state) if 0 < free_gpus(state, name) < gpus_on(state, name)]
    partly.sort(key=lambda name: (gpus_on(state, name) - free_gpus(state, name), name))
    room = {name: free_gpus(state, name) for name in partly}
    emptied: set[str] = set()
    received: set[str] = set()
    found: list[list[Step]] = []
    for name in partly:
        holders = jobs_on(state, name)
        if name in received or any(not _may_move(holder, job) for holder in holders):
            continue
        left = {other: free for other, free in room.items() if other not in {*emptied, name}}
        moves = _packed(holders, left)
        if moves is None:
            continue
        emptied.add(name)
        received |= {place for _, place in moves}
        room = left
        found.append(
            [(MOVE_JOB, Target(job=holder.id), {"nodes": place}) for holder, place in moves]
        )
    return found


def _packed(holders: Sequence[JobState], room: dict[str, int]) -> list[tuple[JobState, str]] | None:
    """Place jobs, the largest first, where they leave least free; ``room`` becomes what is left."""
    found = []
    for holder in sorted(holders, key=lambda item: (-item.gpus, item.id)):
        places = [(free, name) for name, free in room.items() if free >= holder.gpus]
        if not places:
            return None
        _, name = min(places)
        room[name] -= holder.gpus
        found.append((holder, name))
    return found


def _may_move(holder: JobState, job: JobState) -> bool:
    """Say whether a job that has a part of a node may be moved for another one."""
    steady = holder.phase is JobPhase.RUNNING and len(holder.nodes) == 1
    return steady and holder.service is None and holder.priority <= job.priority


def _spares(state: ClusterState, _: JobState, kept: int) -> list[list[Step]]:
    """Return the release of spares beyond those kept, of the zones that have most of them first."""
    ready = [node for node in state.nodes if node.spare and node.condition is NodeCondition.READY]
    many = {zone: sum(node.zone == zone for node in ready) for zone in {n.zone for n in ready}}
    ready.sort(key=lambda node: (-many[node.zone], node.zone, node.name))
    return [
        [(RELEASE_SPARE, Target(node=node.name), {})] for node in ready[: max(len(ready) - kept, 0)]
    ]


def _from_others(state: ClusterState, job: JobState) -> list[tuple[Step, int]]:
    """Return what less urgent jobs give: the lowest priorities that are enough, fewest GPUs."""
    need = _lacks(state, job)
    below = [
        other
        for other in state.jobs
        if other.priority < job.priority
        and other.phase is JobPhase.RUNNING
        and other.service is None
        and other.nodes
        and all(free_gpus(state, name, other.id) == gpus_on(state, name) for name in other.nodes)
    ]
    for level in sorted({other.priority for other in below}):
        found = _fewest([other for other in below if other.priority <= level], state, need)
        if found is not None:
            return found
    return []


def _fewest(
    others: Sequence[JobState], state: ClusterState, need: int
) -> list[tuple[Step, int]] | None:
    """Choose what each job gives, at least ``need`` nodes in all with fewest GPUs; None: no way.

    ``best[n]`` is the cheapest way to free n nodes or more, built up job by job.
    """
    best: list[tuple[int, list[tuple[Step, int]]] | None] = [None] * (need + 1)
    best[0] = (0, [])
    for other in others:
        options = _options(other, state)
        new = list(best)
        for have, so_far in enumerate(best):
            if so_far is None:
                continue
            for nodes, gpus, step in options:
                at, total = min(need, have + nodes), so_far[0] + gpus
                known = new[at]
                if known is None or total < known[0]:
                    new[at] = (total, [*so_far[1], (step, gpus)])
        best = new
    found = best[need]
    return None if found is None else found[1]


def _options(other: JobState, state: ClusterState) -> list[tuple[int, int, Step]]:
    """Return (nodes freed, GPUs taken, step) of each way in which a job can give nodes."""
    nodes, each = len(other.nodes), gpus_on(state, other.nodes[0])
    ready = [state.node(name) for name in other.nodes]
    if any(node is None or node.condition is not NodeCondition.READY for node in ready):
        return []
    target = Target(job=other.id)
    found: list[tuple[int, int, Step]] = [
        (nodes - count, each * (nodes - count), (SHRINK_JOB, target, {"nodes": count}))
        for count in range(max(other.least_nodes, 1), nodes)
        if other.least_nodes and count % max(other.unit_nodes, 1) == 0
    ]
    return [*found, (nodes, other.gpus, (PREEMPT_JOB, target, {}))]


def _fits(state: ClusterState, job: JobState) -> bool:
    return _lacks(state, job) <= 0


def _lacks(state: ClusterState, job: JobState) -> int:
    """Return how many whole nodes are missing for the job."""
    if job.asked_nodes == 0:
        enough = [name for name in _usable(state) if free_gpus(state, name) >= job.gpus]
        return 0 if enough else 1
    return job.asked_nodes - len(free_nodes(state))


def _usable(state: ClusterState) -> list[str]:
    return [
        node.name
        for node in state.nodes
        if node.condition is NodeCondition.READY and not node.spare and gpus_on(state, node.name)
    ]


def _gpus(state: ClusterState, step: Step) -> int:
    """Return the GPUs of the job that a step moves."""
    job = state.job(step[1].job)
    return 0 if job is None else job.gpus


def _made(steps: Sequence[Step], plan_id: str) -> tuple[Action, ...]:
    return tuple(
        make(kind, target, params, plan_id=plan_id, step=number)
        for number, (kind, target, params) in enumerate(steps)
    )


def _projected(steps: Sequence[Step], state: ClusterState, plan_id: str) -> ClusterState:
    for action in _made(steps, plan_id):
        state = CATALOG[action.kind].project(action, state)
    return state


def _short(state: ClusterState, after: ClusterState, job: JobState) -> str:
    lacks = _lacks(after, job)
    what = f"{job.asked_nodes} nodes" if job.asked_nodes else f"{job.gpus} GPUs of one node"
    gives = math.inf if not job.asked_nodes else job.asked_nodes - lacks
    found = "" if math.isinf(gives) else f", {gives} can be had"
    return (
        f"job {job.id} waits for {what}: {len(free_nodes(state))} nodes are free{found} by moving "
        f"small jobs, releasing spares and stopping jobs of a priority below {job.priority}"
    )
