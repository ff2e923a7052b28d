"""The guards: pure functions that say no to a plan, or to its next action, and what would allow it.

They bound what any policy may do. A guard blocks taking a node out and stopping a job; it never
blocks putting a node back.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.cluster import OWNER, ClusterState, NodeCondition
from core.types import (
    Action,
    Incident,
    IncidentState,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Refusal,
)
from remediation.catalogue import CATALOG, Effect, first_obstacle
from remediation.course import in_flight
from remediation.subject import job_of, nodes_of
from remediation.symptoms import newest_s

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Maintenance:
    """People work on these nodes from start_s to end_s: gpumedic keeps its hands off."""

    nodes: frozenset[str]
    start_s: float
    end_s: float
    by: str


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The bounds. Times in seconds, ratios of the nodes that gpumedic may act on."""

    max_nodes_out: int = 4
    max_ratio_out: float = 0.1
    max_nodes_out_per_rack: int = 2
    cooldown_s: float = 1800.0
    evidence_max_age_s: float = 300.0
    min_probability: float = 0.6
    max_actions_per_hour: int = 20
    min_spares_left: int = 0
    maintenance: tuple[Maintenance, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GuardContext:
    """What the guards look at.

    records: plans that are live or ended lately (an hour and the cooldown), this one's too or not
    paused: acting is paused
    """

    state: ClusterState
    incident: Incident
    now_s: float
    records: tuple[PlanRecord, ...] = ()
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """May ``actions`` of the plan be done now? All of them at the proposal, then one at a time."""

    plan: Plan
    actions: tuple[Action, ...]

    @property
    def first(self) -> bool:
        """Say whether nothing of the plan has been done yet."""
        return self.actions[0].key == self.plan.actions[0].key

    @property
    def disruptive(self) -> tuple[Action, ...]:
        """Return the actions that take a node out or stop a job."""
        return tuple(action for action in self.actions if CATALOG[action.kind].disruptive)


Guard = Callable[[Question, GuardContext, GuardSettings], Refusal | None]


def check(plan: Plan, context: GuardContext, settings: GuardSettings) -> tuple[Refusal, ...]:
    """Return every guard's no to the whole plan before its first step; empty means go."""
    return _ask(Question(plan, plan.actions), context, settings)


def check_action(
    action: Action, plan: Plan, context: GuardContext, settings: GuardSettings
) -> tuple[Refusal, ...]:
    """Return every guard's no to one action of the plan right before it is done."""
    return _ask(Question(plan, (action,)), context, settings)


def nodes_out_limit(state: ClusterState, settings: GuardSettings) -> int:
    """Return how many nodes may be out by our hand at once: the ratio's floor is one."""
    mine = sum(node.owner in ("", OWNER) for node in state.nodes)
    share = max(1, math.floor(settings.max_ratio_out * mine))
    return min(settings.max_nodes_out, share)


def nodes_out(context: GuardContext, settings: GuardSettings) -> frozenset[str]:
    """Return the nodes out by our hand, and those an order is on its way to take out.

    An order that timed out may still be carried out late: its node counts for the cooldown.
    """
    seen = {node.name for node in context.state.out_by(OWNER)}
    return frozenset(seen | set(_on_their_way(context, settings)))


def _on_their_way(context: GuardContext, settings: GuardSettings) -> Iterable[str]:
    for record in context.records:
        ordered = [
            outcome.action
            for outcome in record.outcomes
            if outcome.status is OutcomeStatus.TIMED_OUT
            and context.now_s - outcome.ended_s < settings.cooldown_s
        ]
        flying = in_flight(record)
        for action in (*ordered, *(() if flying is None else (flying,))):
            if CATALOG[action.kind].takes_out:
                yield action.target.node


def _ask(question: Question, context: GuardContext, settings: GuardSettings) -> tuple[Refusal, ...]:
    found = (guard(question, context, settings) for guard in _guards_for(question))
    return tuple(refusal for refusal in found if refusal is not None)


def _guards_for(question: Question) -> tuple[Guard, ...]:
    if question.disruptive:
        return _DISRUPTING
    if all(CATALOG[action.kind].effect is Effect.PUTS_BACK for action in question.actions):
        return _PUTTING_BACK
    return _HARMLESS


def _not(question: Question) -> str:
    """Begin a refusal: what is not done, on what."""
    action = (question.disruptive or question.actions)[0]
    return f"Not doing {action.kind} on {action.target}"


def paused(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse while acting is paused."""
    if not context.paused:
        return None
    return Refusal("pause", f"{_not(question)}: acting is paused.", "Run `gpumedic resume`.")


def maintained(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse on nodes where people are at work."""
    touched = _all_nodes(question.actions)
    for window in settings.maintenance:
        both = touched & window.nodes
        if both and window.start_s <= context.now_s < window.end_s:
            return Refusal(
                "maintenance",
                f"{_not(question)}: {min(both)} is under maintenance by {window.by}.",
                f"It ends in {window.end_s - context.now_s:.0f} s.",
            )
    return None


def owned(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse on a node that somebody else has taken out: it is theirs to put back."""
    for name in sorted(_all_nodes(question.actions)):
        node = context.state.node(name)
        if node is not None and node.owner not in ("", OWNER):
            because = f" ({node.reason})" if node.reason else ""
            return Refusal(
                "ownership",
                f"{_not(question)}: {name} is {node.condition} by {node.owner}{because}.",
                f"{node.owner} must return it first.",
            )
    return None


def within_nodes_out(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to have more nodes out at once than the absolute bound and the ratio allow."""
    taken = _taken(question)
    out = nodes_out(context, settings)
    limit = nodes_out_limit(context.state, settings)
    if taken <= out or len(out | taken) <= limit:
        return None
    mine = sum(node.owner in ("", OWNER) for node in context.state.nodes)
    which = f" ({', '.join(sorted(out))})" if out else ""
    return Refusal(
        "max_nodes_out",
        f"{_not(question)}: {len(out)} of at most {limit} nodes are out by gpumedic{which}.",
        f"Return one to service, or raise guards.max_nodes_out (now {settings.max_nodes_out}) or "
        f"guards.max_ratio_out (now {settings.max_ratio_out:g} of {mine} nodes) and reload.",
    )


def within_rack(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to have more nodes of one rack out at once than the bound."""
    rack_of = context.state.topology.rack_of
    out = nodes_out(context, settings)
    for name in sorted(_taken(question) - out):
        rack = rack_of(name)
        beside = {other for other in out | _taken(question) if rack_of(other) == rack}
        if rack and len(beside) > settings.max_nodes_out_per_rack:
            return Refusal(
                "max_nodes_out_per_rack",
                f"{_not(question)}: rack {rack} would have {len(beside)} nodes out "
                f"({', '.join(sorted(beside))}), at most {settings.max_nodes_out_per_rack} may be.",
                "Return one to service, or raise guards.max_nodes_out_per_rack and reload.",
            )
    return None


def cooled(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to disrupt a target again soon after another plan has."""
    targets = {action.target for action in question.disruptive}
    for record in context.records:
        if record.plan.id == question.plan.id:
            continue
        for outcome in _performed(record):
            age_s = context.now_s - outcome.ended_s
            disrupts = CATALOG[outcome.action.kind].disruptive
            if disrupts and outcome.action.target in targets and age_s < settings.cooldown_s:
                return Refusal(
                    "cooldown",
                    f"{_not(question)}: {outcome.action.kind} was done on "
                    f"{outcome.action.target} {age_s:.0f} s ago.",
                    f"Wait {settings.cooldown_s - age_s:.0f} s, or lower guards.cooldown "
                    f"(now {settings.cooldown_s:.0f} s) and reload.",
                )
    return None


def within_hour(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to act more often in an hour than the bound."""
    since_s = context.now_s - HOUR_S
    done = sum(
        sum(outcome.started_s > since_s for outcome in _performed(record))
        + (in_flight(record) is not None)
        for record in context.records
    )
    if done + len(question.actions) <= settings.max_actions_per_hour:
        return None
    return Refusal(
        "max_actions_per_hour",
        f"{_not(question)}: {done} actions in the last hour and {len(question.actions)} more would "
        f"pass the bound of {settings.max_actions_per_hour}.",
        "Wait, or raise guards.max_actions_per_hour and reload.",
    )


def fresh(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse on stale evidence: of the incident before the first step, of the cluster always.

    Evidence from the future is as stale: then a clock was set, and nobody knows how old it is.
    """
    looks = {"the cluster was last seen": context.now_s - context.state.observed_s}
    if question.first:
        newest = max(context.incident.updated_s, newest_s(context.incident))
        looks["the incident's newest symptom was seen"] = context.now_s - newest
    for what, age_s in looks.items():
        if not abs(age_s) <= settings.evidence_max_age_s:
            return Refusal(
                "evidence_max_age",
                f"{_not(question)}: {what} {age_s:.0f} s ago, at most "
                f"{settings.evidence_max_age_s:.0f} s are allowed.",
                "Wait for newer readings; `gpumedic doctor` says which source is late.",
            )
    return None


def still_open(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to disrupt for an incident that is over."""
    if context.incident.state is IncidentState.OPEN:
        return None
    return Refusal(
        "incident_over",
        f"{_not(question)}: incident {context.incident.id} is resolved.",
        "Nothing needs to be done.",
    )


def probable(question: Question, _: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to disrupt on a cause that is not likely enough; NaN is not likely."""
    cause = question.plan.cause
    if cause.probability >= settings.min_probability:
        return None
    return Refusal(
        "min_probability",
        f"{_not(question)}: {cause.fault} on {cause.target} has a probability of "
        f"{cause.probability:.2f}, at least {settings.min_probability:.2f} is needed.",
        "More evidence, or a lower guards.min_probability, would allow it.",
    )


def on_known_links(question: Question, _: GuardContext, __: GuardSettings) -> Refusal | None:
    """Refuse to disrupt on a cause that only links learned from readings tie to the symptom."""
    cause = question.plan.cause
    if not cause.conjectured:
        return None
    return Refusal(
        "learned_link",
        f"{_not(question)}: only a link that readings suggest leads from {cause.fault} on "
        f"{cause.target} to the symptom.",
        "If the mechanism is a real one, take `learned = true` off its [[diagnose.link]].",
    )


def alone(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to touch what another plan is handling now: one thing has one actor."""
    nodes, jobs = _all_nodes(question.plan.actions), _all_jobs(question.plan.actions)
    for record in context.records:
        busy = record.state in (PlanState.ACTING, PlanState.VERIFYING)
        if record.plan.id == question.plan.id or not busy:
            continue
        actions = record.plan.actions
        if shared := (nodes & _all_nodes(actions)) | (jobs & _all_jobs(actions)):
            return Refusal(
                "live_plan",
                f"{_not(question)}: plan {record.plan.id} ({record.state}) handles {min(shared)}.",
                "Wait until that plan has ended.",
            )
    return None


def not_turned_down(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to repeat what a person turned down or overrode in the same incident."""
    targets = {action.target for action in question.actions}
    for record in context.records:
        same = record.plan.incident_id == question.plan.incident_id
        touched = targets.intersection(action.target for action in record.plan.actions)
        if same and touched and record.state in (PlanState.DENIED, PlanState.OVERRIDDEN):
            return Refusal(
                "human",
                f"{_not(question)}: {record.decided_by or 'a person'} ended plan "
                f"{record.plan.id} for the same incident ({record.state}).",
                "It stays with people until this incident is over.",
            )
    return None


def possible(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse a plan that could not be carried out from end to end."""
    return first_obstacle(question.actions, context.state)


def recoverable(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to stop a job that has no checkpoint to return to and will not have one by then."""
    state = context.state
    for action in question.actions:
        kind, job = CATALOG[action.kind], state.job(job_of(action))
        if kind.stops_job and job is not None and job.checkpoint_s is None:
            return Refusal(
                "checkpoint",
                f"Not doing {action.kind} on {action.target}: job {job.id} has no valid checkpoint "
                f"to resume from.",
                "Save one first; then only the work since then is lost.",
            )
        state = kind.project(action, state)
    return None


def spares_left(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to use up the spares that are to be kept."""
    used = {str(action.param("spare")) for action in question.actions if action.param("spare")}
    ready = {
        node.name
        for node in context.state.nodes
        if node.spare and node.condition is NodeCondition.READY
    }
    if not used or len(ready - used) >= settings.min_spares_left:
        return None
    return Refusal(
        "min_spares_left",
        f"{_not(question)}: it would leave {len(ready - used)} ready spares, "
        f"{settings.min_spares_left} are to be kept.",
        "Add a spare, or lower guards.min_spares_left and reload.",
    )


_PUTTING_BACK: tuple[Guard, ...] = (owned,)
_HARMLESS: tuple[Guard, ...] = (paused, maintained, possible, within_hour)
_DISRUPTING: tuple[Guard, ...] = (
    paused,
    maintained,
    not_turned_down,
    owned,
    still_open,
    probable,
    on_known_links,
    fresh,
    alone,
    possible,
    recoverable,
    spares_left,
    cooled,
    within_nodes_out,
    within_rack,
    within_hour,
)


def _taken(question: Question) -> frozenset[str]:
    """Return the nodes that the actions take out of service."""
    return frozenset(
        action.target.node for action in question.actions if CATALOG[action.kind].takes_out
    )


def _all_nodes(actions: Iterable[Action]) -> frozenset[str]:
    return frozenset(name for action in actions for name in nodes_of(action))


def _all_jobs(actions: Iterable[Action]) -> frozenset[str]:
    return frozenset(job for action in actions if (job := job_of(action)))


_NOT_PERFORMED = frozenset({OutcomeStatus.WOULD_DO, OutcomeStatus.REFUSED})


def _performed(record: PlanRecord) -> tuple[Outcome, ...]:
    return tuple(outcome for outcome in record.outcomes if outcome.status not in _NOT_PERFORMED)
