"""The runbook policy: a known fault has a known answer, anything else is left to people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.choice import Choice
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition
from core.target import Target
from core.types import Action, Cause, Diagnosis, Incident, Plan, Scalar
from remediation.catalogue import (
    CATALOG,
    CHECKPOINT_NOW,
    CORDON,
    RESTART_JOB,
    SWAP_NODE,
    make,
)
from remediation.costs import recompute_s, restart_s
from remediation.policy import Decision, Past
from remediation.subject import gpus_on

# A proposal older than this describes a cluster that is gone; a person who was away sees a new one.
PROPOSAL_LIFE_S = 3600.0
# What trouble costs where nobody acts: a silent hang takes more than 5400 s to be found by hand
# (ByteRobust); a slow machine slows its job for 72 min in the mean (FALCON, jobs of 512 GPUs and
# more); the collective's time-out of 600 s passes before a crash is noticed (PyTorch's default).
UNATTENDED_HANG_S = 5400.0
UNATTENDED_SLOW_S = 72 * 60.0
UNATTENDED_CRASH_S = 600.0
# Share of a job's speed that one hot node takes away: at 87 °C and above an H100 runs at about
# two thirds of its clock (assumption, to be measured).
SLOW_SHARE = 1 / 3

Step = tuple[str, Target, Mapping[str, Scalar]]


@dataclass(frozen=True, slots=True)
class Case:
    """What a runbook looks at: the likeliest cause's node and the job there, with the cluster."""

    cause: Cause
    node: str
    job: JobState | None
    state: ClusterState


@dataclass(frozen=True, slots=True)
class Runbook:
    """The answer to one fault.

    steps(case): what to do; none where this case does not call for it
    unattended_s: how long the job would stand still, or as good as, were nothing done, seconds
    why: the reason, as the end of a sentence
    """

    steps: Callable[[Case], tuple[Step, ...]]
    unattended_s: float
    why: str


class RulesPolicy:
    """Looks the likeliest cause up in the runbook.

    Proposes nothing where it is likelier that the cause is unknown, or that nothing is broken.
    """

    name = "rules"
    version = "1"

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> Decision:
        """Return the runbook's plan; none where there is no rule or nothing to be done."""
        cause = diagnosis.likeliest
        runbook = None if cause is None else RUNBOOKS.get(cause.fault)
        if cause is None or runbook is None:
            return Decision(Choice.WAIT, None)
        case = _case(cause, state)
        steps = runbook.steps(case) if case.node else ()
        if not steps:
            return Decision(Choice.WAIT, None)
        actions = tuple(
            make(kind, target, params, plan_id=plan_id, step=number)
            for number, (kind, target, params) in enumerate(steps)
        )
        plan = Plan(
            id=plan_id,
            incident_id=incident.id,
            made_at_s=now_s,
            expires_s=now_s + PROPOSAL_LIFE_S,
            cause=cause,
            actions=actions,
            rationale=_rationale(case, runbook, actions),
            lost_gpu_s_with=_lost_with(actions, state),
            lost_gpu_s_without=_lost_without(case, runbook, now_s),
            policy=self.name,
            policy_version=self.version,
        )
        return Decision(_choice_of(actions), plan)


def _choice_of(actions: tuple[Action, ...]) -> Choice:
    kinds = {action.kind for action in actions}
    return Choice.RESTART if RESTART_JOB in kinds else Choice.SWAP


def spare_for(node: str, state: ClusterState) -> str:
    """Choose the spare nearest to the node: same switch, same rack, then by name; "" if none fits.

    A spare fits when it is ready, has no job and as many GPUs.
    """
    busy = {name for job in state.jobs if job.phase is not JobPhase.COMPLETED for name in job.nodes}
    topology, gpus = state.topology, gpus_on(state, node)
    fitting = (
        other.name
        for other in state.nodes
        if other.spare
        and other.condition is NodeCondition.READY
        and other.name not in busy
        and gpus_on(state, other.name) == gpus
    )
    switch, rack = topology.switch_of(node), topology.rack_of(node)

    def distance(name: str) -> tuple[bool, bool, str]:
        return (topology.switch_of(name) != switch, topology.rack_of(name) != rack, name)

    return min(fitting, key=distance, default="")


def _case(cause: Cause, state: ClusterState) -> Case:
    node = state.topology.node_of(cause.target)
    jobs = [
        job
        for job in state.jobs
        if node in job.nodes and job.phase not in (JobPhase.PENDING, JobPhase.COMPLETED)
    ]
    largest = max(jobs, key=lambda job: (job.gpus, job.id), default=None)
    return Case(cause, node, largest, state)


def _take_away(case: Case) -> tuple[Step, ...]:
    """Cordon the node; where a job is on it, save what can be saved and put a spare in its place.

    Without a fitting spare the swap names none, and the guards say what is missing.
    """
    node, job = Target(node=case.node), case.job
    steps: list[Step] = [(CORDON, node, {"reason": f"{case.cause.fault} on {case.cause.target}"})]
    if job is None:
        return tuple(steps) if _takes_jobs(case) else ()
    if job.phase is JobPhase.RUNNING:
        steps.append((CHECKPOINT_NOW, Target(job=job.id), {}))
    spare = spare_for(case.node, case.state)
    steps.append((SWAP_NODE, node, {"job": job.id, "spare": spare}))
    return tuple(steps)


def _takes_jobs(case: Case) -> bool:
    node = case.state.node(case.node)
    return node is not None and node.condition is NodeCondition.READY


def _take_away_if_down(case: Case) -> tuple[Step, ...]:
    """Believe a silent node to be gone only when the scheduler says so too: exporters die alone."""
    node = case.state.node(case.node)
    if node is None or node.condition is not NodeCondition.DOWN or case.job is None:
        return ()
    return _take_away(case)


def _start_afresh(case: Case) -> tuple[Step, ...]:
    """Save the job and start it again where it is, before its memory is full."""
    if case.job is None:
        return ()
    job = Target(job=case.job.id)
    if case.job.phase is JobPhase.RUNNING:
        return ((CHECKPOINT_NOW, job, {}), (RESTART_JOB, job, {}))
    return ((RESTART_JOB, job, {}),)


_BROKEN = Runbook(_take_away, UNATTENDED_HANG_S, "the hardware does not heal by itself")
_HOT = Runbook(_take_away, UNATTENDED_SLOW_S * SLOW_SHARE, "a hot node slows every rank of its job")
_DOWN = Runbook(_take_away_if_down, UNATTENDED_HANG_S, "the scheduler calls it down")
_LEAK = Runbook(_start_afresh, UNATTENDED_CRASH_S, "a restart frees the memory before it runs out")

RUNBOOKS: Mapping[str, Runbook] = {
    "gpu_fallen_off_bus": _BROKEN,
    "gpu_ecc_uncorrectable": _BROKEN,
    "gpu_power_fault": _BROKEN,
    **dict.fromkeys(
        ("node_silent", "host_machine_check", "kernel_panic", "power_lost", "node_taken_down"),
        _DOWN,
    ),
    "cooling_degraded": _HOT,
    "memory_leak": _LEAK,
    "gpu_memory_leak": _LEAK,
}


def _rationale(case: Case, runbook: Runbook, actions: tuple[Action, ...]) -> str:
    does = ", ".join(action.kind for action in actions)
    on = f" under job {case.job.id}" if case.job else ""
    return (
        f"{case.cause.fault} on {case.cause.target}{on} (probability "
        f"{case.cause.probability:.2f}): {does}, because {runbook.why}."
    )


def _lost_with(actions: tuple[Action, ...], state: ClusterState) -> float:
    lost = 0.0
    for action in actions:
        kind = CATALOG[action.kind]
        lost += kind.cost(action, state)
        state = kind.project(action, state)
    return lost


def _lost_without(case: Case, runbook: Runbook, now_s: float) -> float:
    """Weigh by the cause's probability what the job would lose until somebody helps it."""
    job = case.job
    if job is None:
        return 0.0
    again_s = 0.0 if runbook is _HOT else restart_s(job.gpus) + recompute_s(job, now_s=now_s)
    return case.cause.probability * job.gpus * (runbook.unattended_s + again_s)
