"""What would be better though nothing is broken: each a short plan, with why and what it saves.

- demand: more GPUs will be wanted than are in service, at least 15 minutes ahead
- spares: fewer are ready than there should be, and nodes are free that nothing is foreseen for
- room: a job waits though as many GPUs are free as it asks for, in pieces
- planned: people are about to work on nodes that jobs have
- power: a training could draw less, and hardly take longer
- interval: a job saves its state far too often, or far too seldom, for how often jobs fail here
"""

import math
from collections.abc import Iterable, Sequence

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition
from core.target import Target
from core.types import Action
from remediation.capacity.look import Need, NewId, Outlook
from remediation.capacity.planned import planned_work
from remediation.capacity.power import power_to_spare
from remediation.capacity.provision import AHEAD_S, provision
from remediation.capacity.rebalance import Room, room_for
from remediation.catalogue import (
    CATALOG,
    CHECKPOINT_NOW,
    MOVE_JOB,
    RELEASE_SPARE,
    SET_CHECKPOINT_INTERVAL,
    first_obstacle,
    make,
)
from remediation.catalogue.job_obstacles import free_gpus
from remediation.policies.interval import best_interval_s, lost_share

DEMAND, SPARES, ROOM = "demand_ahead", "few_spares", "no_room"
INTERVAL = "checkpoint_interval"
# A scheduler places what fits within moments; what still waits after so long does not fit.
WAITED_S = 300.0
# An interval is left alone within this ratio of the best one, or where less is to be had by it.
OFF, LEAST_GAIN = 1.5, 0.01
# Before, the rate of faults is what somebody else's cluster had.
LEAST_WATCHED_DAYS = 1.0
# However seldom jobs fail: rates are of few failures, and nobody wants a day to be lost (assumed).
LONGEST_S = 4 * 3600.0
_DAY_S = 86_400.0
_ROUNDED_S = 10.0


def needs(look: Outlook, *, new_id: NewId) -> tuple[Need, ...]:
    """Return what would be better now, the most urgent first; each has a plan id of its own."""
    found = (planned_work, _demand, _room, _intervals, power_to_spare)
    return tuple(need for each in found for need in each(look, new_id))


def _demand(look: Outlook, new_id: NewId) -> Iterable[Need]:
    plan_id = new_id()
    late = [at for at in look.ahead if at.lead_s >= AHEAD_S]
    prices = look.wishes.prices
    found = provision(look.state, late, prices, plan_id=plan_id, site=look.site)
    if not found.actions:
        return
    gpus = sum(len(look.state.topology.gpus_of_node(a.target.node)) for a in found.actions)
    fault, title, reason = DEMAND, "more GPUs will be wanted than are in service", found.reason
    if not reason:  # nothing is short
        fault, title = SPARES, "fewer spares are ready than there should be"
        reason = f"{prices.spares} ready spares are asked for; nothing foreseen wants these nodes."
    saved = gpus * prices.waiting * AHEAD_S
    yield Need(plan_id, fault, Target(), title, found.actions, reason, saved)


def _room(look: Outlook, new_id: NewId) -> Iterable[Need]:
    """Yield what gives a job its nodes that waits, as far as the site wants it.

    Pieces are moved together; then spares beyond those to be kept; then others shrink or wait.
    """
    state, wishes = look.state, look.wishes
    waiting = [
        job
        for job in state.jobs
        if job.phase is JobPhase.PENDING and look.now_s - job.since_s >= WAITED_S
    ]
    free = sum(free_gpus(state, name) for name in _usable(state)) if waiting else 0
    spares = sum(node.spare for node in state.nodes)
    kept = wishes.prices.spares_kept if wishes.use_spares else spares
    for job in sorted(waiting, key=lambda job: (-job.priority, job.since_s, job.id)):
        in_pieces = 0 < job.gpus <= free
        if not (in_pieces or wishes.use_spares or wishes.stop_others):
            continue
        plan_id = new_id()
        found = room_for(state, job.id, plan_id=plan_id, spares_kept=kept)
        if not found.actions or (found.stopped_gpus and not wishes.stop_others):
            continue
        yield Need(
            plan_id=plan_id,
            fault=ROOM,
            target=Target(job=job.id),
            title=f"job {job.id} waits for room",
            actions=_saved_first(found.actions, state, plan_id),
            reason=f"Job {job.id} waits for {job.gpus} GPUs and {free} are free, {_how(found)}.",
            saved_gpu_s=job.gpus * _DAY_S,
        )


def _how(found: Room) -> str:
    """Say in words what gives a job its room."""
    spares = sum(action.kind == RELEASE_SPARE for action in found.actions)
    parts = [
        f"in pieces: {found.moved_gpus} GPUs of other jobs move together"
        if found.moved_gpus
        else "",
        f"spares are released: {spares}" if spares else "",
        f"less urgent jobs give {found.stopped_gpus}" if found.stopped_gpus else "",
    ]
    return "; ".join(part for part in parts if part)


def _saved_first(
    actions: Sequence[Action], state: ClusterState, plan_id: str
) -> tuple[Action, ...]:
    """Return the actions, before them the saves of jobs that have nothing to resume from yet."""
    moved = [state.job(action.target.job) for action in actions if action.kind == MOVE_JOB]
    unsaved = [job.id for job in moved if job is not None and job.checkpoint_s is None]
    steps = [
        *((CHECKPOINT_NOW, Target(job=job), ()) for job in unsaved),
        *((action.kind, action.target, action.params) for action in actions),
    ]
    return tuple(
        make(kind, target, dict(params), plan_id=plan_id, step=number)
        for number, (kind, target, params) in enumerate(steps)
    )


def _usable(state: ClusterState) -> list[str]:
    ready = NodeCondition.READY
    return [node.name for node in state.nodes if node.condition is ready and not node.spare]


def _intervals(look: Outlook, new_id: NewId) -> Iterable[Need]:
    if look.watched_days < LEAST_WATCHED_DAYS:
        return
    for job in look.state.jobs:
        if job.phase is not JobPhase.RUNNING or not job.interval_s or not job.stall_s:
            continue
        failure_s = _failure_s(job, look)
        best_s = round(best_interval_s(job.stall_s, failure_s) / _ROUNDED_S) * _ROUNDED_S
        best_s = min(max(best_s, _ROUNDED_S), LONGEST_S)
        off = job.interval_s / best_s
        gain = lost_share(job.interval_s, job.stall_s, failure_s)
        gain -= lost_share(best_s, job.stall_s, failure_s)
        if 1 / OFF <= off <= OFF or gain <= LEAST_GAIN:
            continue
        plan_id, params = new_id(), {"interval_s": best_s}
        action = make(SET_CHECKPOINT_INTERVAL, Target(job=job.id), params, plan_id=plan_id, step=0)
        if first_obstacle((action,), look.state) is not None:
            continue
        reason = (
            f"Job {job.id} saves its state every {job.interval_s:.0f} s, which holds it up for "
            f"{job.stall_s:.0f} s, and something fails it every {failure_s / 3600:.1f} h: every "
            f"{best_s:.0f} s would lose {100 * gain:.1f} % less of its time (Young, Daly)."
        )
        often = "seldom" if off > 1 else "often"
        title = f"job {job.id} saves its state too {often}"
        yield Need(
            plan_id=plan_id,
            fault=INTERVAL,
            target=Target(job=job.id),
            title=title,
            actions=(action,),
            reason=reason,
            saved_gpu_s=gain * job.gpus * _DAY_S,
        )


def _failure_s(job: JobState, look: Outlook) -> float:
    """Return the mean time between what fails the job: the cluster's faults, by its share of it."""
    gpus = max(1, len(look.state.topology.gpus))
    a_day = look.faults_a_day * min(1.0, job.gpus / gpus)
    return _DAY_S / a_day if a_day > 0 else math.inf


def cost_of(need: Need, state: ClusterState) -> float:
    """Return what the plan is expected to lose, GPU-seconds."""
    lost = 0.0
    for action in need.actions:
        lost += CATALOG[action.kind].cost(action, state)
        state = CATALOG[action.kind].project(action, state)
    return lost
