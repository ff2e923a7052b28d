"""What each choice comes to as a plan: steps of the catalogue's kinds."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from core.choice import Choice
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.situation import Remedy
from core.target import Target
from core.types import Cause, Diagnosis, Plan, Scalar
from remediation.catalogue import (
    BORROW_NODE,
    CHECKPOINT_NOW,
    CORDON,
    KEEP_AS_SPARE,
    LIMIT_CLOCKS,
    PAGE_PERSON,
    REBOOT_NODE,
    REBOOT_UNDER_JOB,
    RESTART_IN_PLACE,
    RESTART_JOB,
    ROLLBACK_JOB,
    SCALE_SERVICE,
    SET_CACHE,
    SET_COMPRESSION,
    SET_SERVICE_BATCH,
    SHIFT_CANARY,
    SHRINK_JOB,
    STOP_ROLLOUT,
    SWAP_NODE,
    SWAP_NODES,
    TUNE_JOB,
    UNCORDON,
    make,
)
from remediation.catalogue.subject import gpus_on
from remediation.deciding.remedies import of_cause
from remediation.deciding.situations import Subject
from remediation.running.follow_up import REPAIR

# A proposal older than this describes a cluster that is gone; a person who was away sees a new one.
PROPOSAL_LIFE_S = 3600.0
# GPU clocks may be limited to this share: a tenth of its speed at most is what a job gives for it.
LEAST_CLOCKS = 0.9
_MORE_REPLICAS = 1.5  # a rush of 1.8 to 3 times the requests is served in two or three turns
# Of a service that has all its replicas: a larger batch answers more in all, and a cache each
# request sooner; both together help most (docs/healing.md). At most 256 together, as vLLM did by
# default for long.
_CACHE, _MOST_TOGETHER = 0.4, 256.0
_MOST_LOADERS = 4.0  # times as many as it was submitted with: then it is not the loaders

# A person may be called, and what has failed started again, though no cause has a name.
_ON_ANY_GROUND = (Choice.RESTART, Choice.ESCALATE)

# What new processes end in the containers that the job has: nothing is scheduled anew, which takes
# 0.6 of the time (catalogue.costs). One restart for an incident; the next is whole.
_OF_PROCESSES = frozenset(
    {"data_loader_failed", "file_handle_leak", "gpu_memory_leak", "job_hang", "memory_leak"}
    | {"software_error"}
)

Step = tuple[str, Target, Mapping[str, Scalar]]
Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What a plan is called, for which incident, when it was made and by which policy."""

    plan_id: str
    incident_id: str
    now_s: float
    policy: str
    version: str


def plan_of(
    choice: Choice, subject: Subject, diagnosis: Diagnosis, state: ClusterState, *, made: Made
) -> Plan | None:
    """Return what the choice comes to; None where that is nothing, or nobody knows how.

    Whether it can be done is another question; ``reasons.explained`` adds why, and at what loss.
    """
    build = _BUILD.get(choice)
    cause = _cause_of(choice, subject, diagnosis, state)
    steps = () if build is None else build(subject, diagnosis, state)
    if cause is None or not steps:
        return None
    return Plan(
        id=made.plan_id,
        incident_id=made.incident_id,
        made_at_s=made.now_s,
        expires_s=made.now_s + PROPOSAL_LIFE_S,
        cause=cause,
        actions=tuple(
            make(kind, target, params, plan_id=made.plan_id, step=number)
            for number, (kind, target, params) in enumerate(steps)
        ),
        rationale="",
        lost_gpu_s_with=0.0,
        lost_gpu_s_without=0.0,
        policy=made.policy,
        policy_version=made.version,
    )


def _cause_of(
    choice: Choice, subject: Subject, diagnosis: Diagnosis, state: ClusterState
) -> Cause | None:
    """Return the cause that the choice is about: of its node or knob, or else the likeliest.

    That of a choice about nodes is as likely as that the fault lies there, whichever fault it is.
    """
    causes = diagnosis.causes
    if choice is Choice.TUNE:
        return _tunable(diagnosis)
    if Choice.REBOOT <= choice <= Choice.BORROW:
        there = (cause for cause in causes if state.topology.node_of(cause.target) == subject.node)
        sure = subject.blamed + (subject.other_blamed if choice is Choice.SWAP_BOTH else 0.0)
        first = next(there, None)
        return None if first is None else replace(first, probability=min(1.0, sure))
    if choice in _ON_ANY_GROUND and not causes:
        return Cause(_called_to(subject), "unknown", diagnosis.unknown)
    return causes[0] if causes else None


def spare_for(node: str, state: ClusterState, *, but: Collection[str] = ()) -> str:
    """Choose a spare for the node; without one, a ready node without a job; "" if none fits.

    The nearest is taken: same switch, same rack, then by name. It fits when it is ready, has no job
    and as many GPUs. but: those that are taken already, or may not be put in
    """
    busy = {name for job in state.jobs if job.phase is not JobPhase.COMPLETED for name in job.nodes}
    topology, gpus = state.topology, gpus_on(state, node)
    fitting = (
        other
        for other in state.nodes
        if other.condition is NodeCondition.READY
        and other.name != node
        and other.name not in busy
        and other.name not in but
        and gpus_on(state, other.name) == gpus
    )
    switch, rack = topology.switch_of(node), topology.rack_of(node)

    def distance(other: NodeState) -> tuple[bool, bool, bool, str]:
        name = other.name
        far = (topology.switch_of(name) != switch, topology.rack_of(name) != rack)
        return (not other.spare, *far, name)

    nearest = min(fitting, key=distance, default=None)
    return "" if nearest is None else nearest.name


def _kept_for(spares: Iterable[str], state: ClusterState) -> Steps:
    """Return the steps that keep those for swaps which are no spares yet."""
    known = (state.node(name) for name in spares)
    return tuple(
        (KEEP_AS_SPARE, Target(node=node.name), {})
        for node in known
        if node is not None and not node.spare
    )


def _save(job: JobState) -> Steps:
    """Return the step that saves a running job before it is stopped, if it can be told to."""
    able = job.phase is JobPhase.RUNNING and job.saves
    return ((CHECKPOINT_NOW, Target(job=job.id), {}),) if able else ()


def _cordon(node: str, diagnosis: Diagnosis, state: ClusterState) -> Step:
    at = next((c for c in diagnosis.causes if state.topology.node_of(c.target) == node), None)
    why = "" if at is None else f"{at.fault} on {at.target}"
    return (CORDON, Target(node=node), {"reason": why})


def _cordons(nodes: Sequence[str], diagnosis: Diagnosis, state: ClusterState) -> Steps:
    """Take the nodes out, but of those after the first what an earlier plan has out already."""
    first, *rest = nodes
    ours = {node.name for node in state.out_by(OWNER)}
    return tuple(
        _cordon(name, diagnosis, state) for name in (first, *(n for n in rest if n not in ours))
    )


def _checkpoint(subject: Subject, _: Diagnosis, __: ClusterState) -> Steps:
    return () if subject.job is None else _save(subject.job)


def _restart(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    """Start the job again: in its containers at first, where only its processes are to blame."""
    job = subject.job
    if job is None:
        return ()
    fault = diagnosis.causes[0].fault if diagnosis.causes else ""
    in_place = fault in _OF_PROCESSES and not subject.restarted
    in_place = in_place and not state.instead_of(RESTART_IN_PLACE)
    kind = RESTART_IN_PLACE if in_place else RESTART_JOB
    return (*_save(job), (kind, Target(job=job.id), {}))


def _reboot(subject: Subject, _: Diagnosis, __: ClusterState) -> Steps:
    job, node = subject.job, Target(node=subject.node)
    if job is None or not subject.node:
        return ()
    return (*_save(job), (REBOOT_UNDER_JOB, node, {"job": job.id}))


def _swap(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    """Take the node away; one without a job is only kept from getting any."""
    known = state.node(subject.node)
    if known is None:
        return ()
    away = _cordon(subject.node, diagnosis, state)
    if subject.job is None:
        return (away,) if known.condition is NodeCondition.READY else ()
    if down := _down_beside(subject, state):
        return _swap_all(subject, (subject.node, *down), diagnosis, state)
    spare = spare_for(subject.node, state, but=subject.unfit)
    params = {"job": subject.job.id, "spare": spare}
    put: Step = (SWAP_NODE, Target(node=subject.node), params)
    return (*_kept_for([spare], state), away, *_save(subject.job), put)


def _down_beside(subject: Subject, state: ClusterState) -> tuple[str, ...]:
    """Return the other nodes on which the job cannot start: they are down."""
    names = () if subject.job is None else subject.job.nodes
    there = ((name, state.node(name)) for name in names if name != subject.node)
    return tuple(n for n, at in there if at is not None and at.condition is NodeCondition.DOWN)


def _swap_all(
    subject: Subject, nodes: Sequence[str], diagnosis: Diagnosis, state: ClusterState
) -> Steps:
    """Take nodes away from the job in one stop, each for a spare of its own."""
    if subject.job is None:
        return ()
    spares: list[str] = []
    for node in nodes:
        spares.append(spare_for(node, state, but={*subject.unfit, *spares}))
    params = {"nodes": ",".join(nodes), "spares": ",".join(spares)}
    return (
        *_kept_for(spares, state),
        *_cordons(nodes, diagnosis, state),
        *_save(subject.job),
        (SWAP_NODES, Target(job=subject.job.id), params),
    )


def _swap_and_repair(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    """Swap; the node's reboot and return are a plan of their own, once the job is well again.

    A node without a job is rebooted at once.
    """
    steps, node = _swap(subject, diagnosis, state), Target(node=subject.node)
    if not steps or subject.job is None:
        return (*steps, (REBOOT_NODE, node, {}), (UNCORDON, node, {})) if steps else ()
    kind, target, params = steps[-1]
    return (*steps[:-1], (kind, target, {**params, REPAIR: True}))


def _swap_both(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    if not subject.node or not subject.other:
        return ()
    return _swap_all(subject, (subject.node, subject.other), diagnosis, state)


def _shrink(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    job = subject.job
    if job is None or not subject.node or not job.least_nodes:
        return ()
    leaving = (subject.node, *_down_beside(subject, state))
    size = len(job.nodes) - math.ceil(len(leaving) / job.unit_nodes) * job.unit_nodes
    if size < job.least_nodes:
        return ()
    params: Mapping[str, Scalar] = {"nodes": size, "leave": subject.node}
    away = _cordons(leaving, diagnosis, state)
    return (*away, *_save(job), (SHRINK_JOB, Target(job=job.id), params))


def _borrow(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    """Take a node from the job that matters least, below this one's priority.

    Of these one that can shrink, then the smallest; the first of its nodes that fits.
    """
    job, node = subject.job, subject.node
    if job is None or not node:
        return ()
    fitting = {
        other.name
        for other in state.nodes
        if other.condition is NodeCondition.READY
        and other.name not in subject.unfit
        and gpus_on(state, other.name) == gpus_on(state, node)
    }
    lenders = [
        (other.priority, not _can_shrink(other), other.gpus, other.id, name)
        for other in state.jobs
        if other.priority < job.priority and other.phase is JobPhase.RUNNING
        for name in other.nodes
        if name in fitting
    ]
    if not lenders:
        return ()
    *_, lender, lent = min(lenders)
    params = {"job": job.id, "lender": lender, "spare": lent}
    away = _cordon(node, diagnosis, state)
    return (away, *_save(job), (BORROW_NODE, Target(node=node), params))


def _can_shrink(job: JobState) -> bool:
    return 0 < job.least_nodes <= len(job.nodes) - job.unit_nodes


def _roll_back(subject: Subject, _: Diagnosis, __: ClusterState) -> Steps:
    job = subject.job
    return () if job is None else ((ROLLBACK_JOB, Target(job=job.id), {}),)


def _called_to(subject: Subject) -> Target:
    """Return what a person is called to: the job, or else the node that is blamed or shows it."""
    if subject.job is not None:
        return Target(job=subject.job.id)
    return Target(node=subject.node or subject.shown)


def _escalate(subject: Subject, _: Diagnosis, __: ClusterState) -> Steps:
    target = _called_to(subject)
    return ((PAGE_PERSON, target, {}),) if target != Target() else ()


def _tune(subject: Subject, diagnosis: Diagnosis, state: ClusterState) -> Steps:
    cause = _tunable(diagnosis)
    return () if cause is None else KNOBS[cause.fault][0](subject, cause, state)


def _tunable(diagnosis: Diagnosis) -> Cause | None:
    """Return the cause that a knob most likely ends."""
    known = [cause for cause in diagnosis.causes if cause.fault in KNOBS]
    return max(
        known, key=lambda cause: cause.probability * of_cause(cause)[Remedy.TUNE], default=None
    )


def _more_loaders(subject: Subject, _: Cause, __: ClusterState) -> Steps:
    job = subject.job
    if job is None or job.settings.loaders >= _MOST_LOADERS:
        return ()
    more = min(_MOST_LOADERS, 2 * job.settings.loaders)
    return ((TUNE_JOB, Target(job=job.id), {"loaders": more}),)


def _smaller_batch(subject: Subject, _: Cause, __: ClusterState) -> Steps:
    job = subject.job
    if job is None:
        return ()
    params = {"batch": job.settings.batch / 2, "accumulate": job.settings.accumulate * 2}
    return ((TUNE_JOB, Target(job=job.id), params),)


def _compress(subject: Subject, _: Cause, __: ClusterState) -> Steps:
    job = subject.job
    if job is None or job.settings.compressed:
        return ()
    return ((SET_COMPRESSION, Target(job=job.id), {"on": True}),)


def _serve_more(_: Subject, cause: Cause, state: ClusterState) -> Steps:
    """Let a service answer more: by replicas; where it has all, by what it answers together."""
    job = state.job(cause.target.job)
    if job is None or job.service is None:
        return ()
    service, target = job.service, Target(job=job.id)
    if service.replicas < service.most:
        wanted = math.ceil(service.replicas * _MORE_REPLICAS)
        return ((SCALE_SERVICE, target, {"replicas": min(service.most, wanted)}),)
    steps: list[Step] = []
    if service.cache < _CACHE:
        steps.append((SET_CACHE, target, {"cache": _CACHE}))
    if service.batch < _MOST_TOGETHER:
        together = min(2 * service.batch, _MOST_TOGETHER)
        steps.append((SET_SERVICE_BATCH, target, {"batch": together}))
    return tuple(step for step in steps if not state.instead_of(step[0]))


def _no_canary(_: Subject, cause: Cause, state: ClusterState) -> Steps:
    job = state.job(cause.target.job)
    if job is None or job.service is None or job.service.canary <= 0:
        return ()
    return ((SHIFT_CANARY, Target(job=job.id), {"share": 0.0}),)


def _stop_rollout(_: Subject, __: Cause, state: ClusterState) -> Steps:
    return ((STOP_ROLLOUT, Target(), {}),) if state.rollouts else ()


def _lower_clocks(_: Subject, cause: Cause, state: ClusterState) -> Steps:
    node = state.node(state.topology.node_of(cause.target))
    if node is None or node.clocks <= LEAST_CLOCKS:
        return ()
    return ((LIMIT_CLOCKS, Target(node=node.name), {"share": LEAST_CLOCKS}),)


Knob = Callable[[Subject, Cause, ClusterState], Steps]
# The knob of each fault that has one, and why.
KNOBS: Mapping[str, tuple[Knob, str]] = {
    "data_loading_slow": (_more_loaders, "more loaders read ahead"),
    "gpu_memory_leak": (_smaller_batch, "a smaller batch leaves memory, and the step is the same"),
    "network_slow": (_compress, "compressed gradients are a fifth as much to send"),
    "inference_overload": (_serve_more, "more is answered at a time"),
    "bad_release": (_no_canary, "the old version answers again"),
    "driver_rollout": (_stop_rollout, "what is not rolled out yet stays as it was"),
    "power_capped": (_lower_clocks, "lower clocks hold the limit evenly, so that no rank is late"),
    "cooling_degraded": (_lower_clocks, "cooler at a tenth of its speed, and not throttled"),
    "gpu_heat_contact": (_lower_clocks, "cooler at a tenth of its speed, and not throttled"),
}

_BUILD: Mapping[Choice, Callable[[Subject, Diagnosis, ClusterState], Steps]] = {
    Choice.CHECKPOINT: _checkpoint,
    Choice.RESTART: _restart,
    Choice.REBOOT: _reboot,
    Choice.SWAP: _swap,
    Choice.SWAP_AND_REPAIR: _swap_and_repair,
    Choice.SWAP_BOTH: _swap_both,
    Choice.SHRINK: _shrink,
    Choice.BORROW: _borrow,
    Choice.ROLL_BACK: _roll_back,
    Choice.TUNE: _tune,
    Choice.ESCALATE: _escalate,
}
