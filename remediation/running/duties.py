"""What is owed after a plan has ended: what it took is put back once all is sound, or handed over.

Duties are read from the plans' records and the cluster, and kept nowhere else: a new process knows
them as the last one did. Each becomes a plan of its own, guarded and journaled like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.cluster import OWNER, ClusterState, NodeCondition, NodeState
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
    QUARANTINE,
    REBOOT_NODE,
    RESET_GPU,
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
from remediation.running.upkeep import is_upkeep

# What could not be put back is tried again after so long, and after twice as long each time.
RETRY_S = 1800.0
LIFE_S = 3600.0
_MEND = {REBOOT_NODE: "reboot", RESET_GPU: "reset"}
# What a reset of the GPU clears, by NVIDIA's table of immediate actions: Xid 64, 95 and 140
# (memory), 46, 62 and 109 (it stopped working).
_RESETS = frozenset({"gpu_ecc_uncorrectable", "gpu_hang", "gpu_row_remap"})
_BACK = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.REVERTED})

Step = tuple[str, Target, Mapping[str, Scalar]]


@dataclass(frozen=True, slots=True)
class Duty:
    """What is to be put back, or handed to people.

    record: the plan that took it; since_s: when
    action: what puts it back
    repair: what is to mend the node before that: it is made at once, and only once
    """

    record: PlanRecord
    action: Action
    since_s: float
    repair: Action | None = None

    @property
    def at_once(self) -> bool:
        """Say whether nobody waits until all has been well for a while."""
        return self.repair is not None or self.action.kind == QUARANTINE


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
        ready = duty.at_once or _is_sound(duty, look)
        if not ready or _is_busy(duty, look) or not _had_its_pause(duty, look):
            continue
        plan = _plan(duty, look, new_id)
        if first_obstacle(plan.actions, look.state) is None:
            return plan
    return None


def _of_nodes(look: Look) -> Iterable[Duty]:
    """Yield the nodes out by our hand that a plan, now ended, took out.

    A lemon is not put back: it is handed to people, and then it is theirs.
    """
    for node in look.state.out_by(OWNER):
        took = [
            (outcome.ended_s, record)
            for record in look.records
            if record.state.final
            for outcome in record.outcomes
            if node.name in taken(outcome.action) and _may_have_worked(outcome)
        ]
        if not took or node.mark:
            continue
        since_s, record = max(took, key=lambda item: (item[0], item[1].plan.id))
        times = taken_lately_s(node.name, look.records, look.guards, now_s=look.now_s)
        lemon = is_lemon(node, times, look.guards)
        kind, of = QUARANTINE if lemon else UNCORDON, record.plan.id
        action = make(kind, Target(node=node.name), {}, plan_id=of, step=0)
        yield Duty(record, action, since_s, None if lemon else _repair(node, record, look))


def _repair(node: NodeState, record: PlanRecord, look: Look) -> Action | None:
    """Return what is to mend a node where the plan that took it out asked for that.

    A reset of the GPU where that may be enough; a reboot where it was not, or cannot be.
    """
    asked = any(
        outcome.action.param(REPAIR) is True and node.name in taken(outcome.action)
        for outcome in record.outcomes
    )
    tried = {
        outcome.action.kind: outcome.status
        for later in look.records
        if is_follow_up(later.plan) and later.plan.made_at_s >= record.plan.made_at_s
        for outcome in later.outcomes
        if outcome.action.kind in _MEND and outcome.action.target.node == node.name
    }
    mended = tried.get(RESET_GPU) is OutcomeStatus.SUCCEEDED and not node.finding
    if not asked or mended or REBOOT_NODE in tried:
        return None
    cause, of = record.plan.cause, record.plan.id
    if cause.fault in _RESETS and cause.target.node == node.name and RESET_GPU not in tried:
        reset = make(RESET_GPU, cause.target, {}, plan_id=of, step=0)
        if CATALOG[RESET_GPU].obstacle(reset, look.state) is None:
            return reset
    return make(REBOOT_NODE, Target(node=node.name), {}, plan_id=of, step=0)


def _of_kinds(look: Look) -> Iterable[Duty]:
    """Yield the other lasting changes of plans that have ended: sizes, clocks, limits.

    What was better though nothing was broken stays.
    """
    for record in look.records:
        if is_upkeep(record.plan):
            continue
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
    if any(_is_worked_on(name, look) for name in names):
        return False
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
    return look.now_s - quiet_since_s >= look.guards.quiet_s


def _is_worked_on(node: str, look: Look) -> bool:
    """Say whether people are at work there by the settings; it is put back once they are done."""
    return any(
        window.start_s <= look.now_s < window.end_s and window.covers(node)
        for window in look.guards.maintenance
    )


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
    if duty.repair is not None:
        steps.insert(0, (duty.repair.kind, duty.repair.target, {}))
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
        + _why(duty, look),
        lost_gpu_s_with=sum(CATALOG[a.kind].cost(a, look.state) for a in actions),
        lost_gpu_s_without=0.0,
        policy=FOLLOW_UP,
        policy_version="1",
    )


def _why(duty: Duty, look: Look) -> str:
    if duty.repair is not None:
        return f"a {_MEND[duty.repair.kind]} of {duty.repair.target} is likely to mend it."
    if duty.action.kind == QUARANTINE:
        return f"{duty.action.target} was taken out again and again: people must look at it."
    return f"{duty.action.target} has been well for {look.guards.quiet_s / 60:.0f} min."
