"""What is owed after a plan has ended: what it took is put back once all is sound again.

Duties are read from the plans' records and the cluster, and kept nowhere else: a new process knows
them as the last one did. Each becomes a plan of its own, guarded and journaled like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.cluster import OWNER, ClusterState, NodeCondition
from core.target import Target
from core.types import (
    Action,
    Incident,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Scalar,
)
from remediation.catalogue import (
    CATALOG,
    REBOOT_NODE,
    UNCORDON,
    VALIDATE_NODE,
    first_obstacle,
    inverse_of,
    make,
)
from remediation.catalogue.subject import job_of, nodes_of
from remediation.catalogue.taken import taken
from remediation.guards import GuardSettings, is_lemon, taken_lately_s
from remediation.running.follow_up import FOLLOW_UP, REPAIR, is_follow_up
from remediation.running.symptoms import symptoms

# Seen to be well for so long, what was taken is put back: a node that passes its checks has them
# done in 15 min to an hour (dcgmi diag -r 3).
QUIET_S = 1800.0
# What could not be put back is tried again after so long, and after twice as long each time.
RETRY_S = 1800.0
LIFE_S = 3600.0
_BACK = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.REVERTED})

Step = tuple[str, Target, Mapping[str, Scalar]]


@dataclass(frozen=True, slots=True)
class Duty:
    """What is to be put back.

    record: the plan that took it; since_s: when
    action: what puts it back
    repairs: a reboot is to mend the node: it is made at once, and only once
    """

    record: PlanRecord
    action: Action
    since_s: float
    repairs: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is looked at: the cluster, the plans and the incidents that are known.

    incidents: open ones and those resolved lately
    """

    state: ClusterState
    records: Sequence[PlanRecord]
    incidents: Sequence[Incident]
    guards: GuardSettings
    now_s: float


def duties(look: Look) -> tuple[Duty, ...]:
    """Return what is owed, oldest first; what others have put back or taken over is not."""
    found = [
        duty for duty in (*_of_nodes(look), *_of_kinds(look)) if not _is_with_people(duty, look)
    ]
    return tuple(sorted(found, key=lambda duty: (duty.since_s, duty.action.key)))


def due(look: Look, *, new_id: str) -> Plan | None:
    """Return a plan for the first duty that can be done now."""
    for duty in duties(look):
        ready = duty.repairs or _is_sound(duty, look)
        if not ready or _is_busy(duty, look) or not _had_its_pause(duty, look):
            continue
        plan = _plan(duty, look, new_id)
        if first_obstacle(plan.actions, look.state) is None:
            return plan
    return None


def _of_nodes(look: Look) -> Iterable[Duty]:
    """Yield the nodes out by our hand that a plan, now ended, took out and that are no lemons."""
    for node in look.state.out_by(OWNER):
        took = [
            (outcome.ended_s, record)
            for record in look.records
            if record.state.final
            for outcome in record.outcomes
            if node.name in taken(outcome.action) and _may_have_worked(outcome)
        ]
        if not took:
            continue
        since_s, record = max(took, key=lambda item: (item[0], item[1].plan.id))
        times = taken_lately_s(node.name, look.records, look.guards, now_s=look.now_s)
        if not is_lemon(node, times, look.guards):
            action = make(UNCORDON, Target(node=node.name), {}, plan_id=record.plan.id, step=0)
            yield Duty(record, action, since_s, _is_to_be_repaired(node.name, record, look))


def _is_to_be_repaired(node: str, record: PlanRecord, look: Look) -> bool:
    """Say whether a plan that took the node out asked for a reboot, which was not tried yet."""
    asked = any(
        outcome.action.param(REPAIR) is True and node in taken(outcome.action)
        for outcome in record.outcomes
    )
    tried = any(
        outcome.action.kind == REBOOT_NODE and outcome.action.target.node == node
        for later in look.records
        if is_follow_up(later.plan) and later.plan.made_at_s >= record.plan.made_at_s
        for outcome in later.outcomes
    )
    return asked and not tried


def _of_kinds(look: Look) -> Iterable[Duty]:
    """Yield the other lasting changes of plans that have ended: sizes, clocks, limits."""
    for record in look.records:
        for step, outcome in enumerate(record.outcomes if record.state.final else ()):
            kind = CATALOG[outcome.action.kind]
            worked = outcome.status is OutcomeStatus.SUCCEEDED
            if not (kind.lasting and worked) or kind.takes_out:
                continue
            back = inverse_of(outcome.action, plan_id=record.plan.id, step=step)
            if back is None or _is_settled(back, outcome, look):
                continue
            yield Duty(record, back, outcome.ended_s)


def _is_with_people(duty: Duty, look: Look) -> bool:
    """Say whether a person turned such a plan down, or took over what it handled."""
    return any(
        record.state in (PlanState.DENIED, PlanState.OVERRIDDEN)
        and record.plan.incident_id == duty.record.plan.incident_id
        and any(_share(duty.action, action) for action in record.plan.actions)
        for record in look.records
    )


def _share(one: Action, other: Action) -> bool:
    """Say whether two actions handle a node in common, or the same job."""
    job = job_of(one)
    return bool({*nodes_of(one)} & {*nodes_of(other)}) or (job != "" and job == job_of(other))


def _may_have_worked(outcome: Outcome) -> bool:
    return outcome.status in (OutcomeStatus.SUCCEEDED, OutcomeStatus.TIMED_OUT)


def _is_settled(back: Action, outcome: Outcome, look: Look) -> bool:
    """Say whether it was put back since, by whomever, or its subject is gone."""
    if CATALOG[back.kind].done(back, look.state, outcome.ended_s):
        return True
    if back.target.job and look.state.job(back.target.job) is None:
        return True
    return any(
        later.status in _BACK
        and later.ended_s >= outcome.ended_s
        and (later.action.key == back.key or (is_follow_up(record.plan) and _same(later, back)))
        for record in look.records
        for later in record.outcomes
    )


def _same(later: Outcome, back: Action) -> bool:
    return (later.action.kind, later.action.target) == (back.kind, back.target)


def _is_sound(duty: Duty, look: Look) -> bool:
    """Say whether nothing has been wrong for long enough where the duty puts something back."""
    names = set(nodes_of(duty.action))
    for name in names:
        node = look.state.node(name)
        if node is None or node.condition is NodeCondition.DOWN:
            return False
    job = job_of(duty.action)
    seen = [
        symptom.seen_s
        for incident in look.incidents
        for symptom in symptoms(incident)
        if symptom.target.node in names or (job and symptom.target.job == job)
    ]
    quiet_since_s = max([duty.since_s, *seen])
    return look.now_s - quiet_since_s >= QUIET_S


def _is_busy(duty: Duty, look: Look) -> bool:
    """Say whether a plan that lives handles what the duty is about."""
    return any(
        _share(duty.action, action)
        for record in look.records
        if not record.state.final
        for action in record.plan.actions
    )


def _had_its_pause(duty: Duty, look: Look) -> bool:
    """Say whether a try that failed is long enough ago: twice as long after each."""
    tries = [
        record.since_s
        for record in look.records
        if is_follow_up(record.plan)
        and record.plan.made_at_s >= duty.since_s
        and duty.action.target in [action.target for action in record.plan.actions]
    ]
    pause_s = RETRY_S * 2.0 ** (len(tries) - 1)
    return not tries or look.now_s - max(tries) >= pause_s


def _plan(duty: Duty, look: Look, plan_id: str) -> Plan:
    steps = [(duty.action.kind, duty.action.target, dict(duty.action.params))]
    node = look.state.node(duty.action.target.node)
    looked_s = None if node is None or node.finding else node.checked_s
    checked = looked_s is not None and looked_s >= duty.since_s
    if duty.action.kind == UNCORDON and not checked:
        steps.insert(0, (VALIDATE_NODE, duty.action.target, {}))
    if duty.repairs:
        steps.insert(0, (REBOOT_NODE, duty.action.target, {}))
    actions = tuple(
        make(kind, target, params, plan_id=plan_id, step=number)
        for number, (kind, target, params) in enumerate(steps)
    )
    before = duty.record.plan
    return Plan(
        id=plan_id,
        incident_id=before.incident_id,
        made_at_s=look.now_s,
        expires_s=look.now_s + LIFE_S,
        cause=before.cause,
        actions=actions,
        rationale=f"plan {before.id} did it for {before.cause.fault} on {before.cause.target}, and "
        + (
            f"a reboot of {duty.action.target} is likely to mend it."
            if duty.repairs
            else f"{duty.action.target} has been well for {QUIET_S / 60:.0f} min."
        ),
        lost_gpu_s_with=sum(CATALOG[a.kind].cost(a, look.state) for a in actions),
        lost_gpu_s_without=0.0,
        policy=FOLLOW_UP,
        policy_version="1",
    )
