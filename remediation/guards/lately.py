"""What happened to a node of late: one that came back a short time ago is not trusted yet."""

from collections.abc import Sequence

from core.cluster import ClusterState, JobState, NodeCondition, NodeState
from core.types import OutcomeStatus, PlanRecord, PlanState, Refusal
from remediation.catalogue import CATALOG, REBOOT_NODE, REBOOT_UNDER_JOB, RESET_GPU, Effect
from remediation.catalogue.subject import job_of, nodes_of
from remediation.catalogue.taken import taken
from remediation.guards.question import (
    GuardContext,
    Question,
    all_nodes,
    is_above_others,
    put_in,
    walked,
)
from remediation.guards.settings import DAY_S, GuardSettings

# What repairs a node where it stands; after it fails a second time people must look at it.
REPAIRS = frozenset({REBOOT_NODE, REBOOT_UNDER_JOB, RESET_GPU})
LEMON = "lemon"
_PUT_BACK = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.REVERTED})


def taken_s(node: str, records: Sequence[PlanRecord], *, but: str = "") -> tuple[float, ...]:
    """Return when each plan, but that of one id, took the node out, in order of time.

    A plan that was taken back found the node innocent.
    """
    found = []
    for record in records:
        if record.plan.id == but or record.state is PlanState.ROLLED_BACK:
            continue
        times = [
            outcome.ended_s
            for outcome in record.outcomes
            if outcome.status is OutcomeStatus.SUCCEEDED and node in taken(outcome.action)
        ]
        found.extend([min(times)] if times else [])
    return tuple(sorted(found))


def returned_s(
    node: str, state: ClusterState, records: Sequence[PlanRecord], *, but: str = ""
) -> float | None:
    """Return when the node last came back after a plan, not of that id, had taken it out.

    None where none has, or where it is still out.
    """
    taken = taken_s(node, records, but=but)
    if not taken:
        return None
    back = [
        outcome.ended_s
        for record in records
        for outcome in record.outcomes
        if CATALOG[outcome.action.kind].effect is Effect.PUTS_BACK
        and outcome.action.target.node == node
        and outcome.status in _PUT_BACK
        and outcome.ended_s >= taken[-1]
    ]
    known = state.node(node)
    if known is not None and known.condition is NodeCondition.READY:
        return max(taken[-1], known.since_s, *back)
    return max(back, default=None)


def taken_lately_s(
    node: str,
    records: Sequence[PlanRecord],
    settings: GuardSettings,
    *,
    now_s: float,
    but: str = "",
) -> tuple[float, ...]:
    """Return when plans took the node out that count for its being a lemon, in order of time."""
    since_s = now_s - settings.lemon_span_s
    return tuple(at_s for at_s in taken_s(node, records, but=but) if at_s > since_s)


def is_lemon(node: NodeState | None, times: Sequence[float], settings: GuardSettings) -> bool:
    """Say whether a node was taken out so often that it will fail again, or people say so."""
    return len(times) >= settings.lemon_after or (node is not None and node.mark == LEMON)


def unfit(job: JobState | None, context: GuardContext, settings: GuardSettings) -> frozenset[str]:
    """Return the nodes that may not be put into a job now.

    Those that plans under way handle; and where it is above others those on probation, and lemons.
    """
    busy = all_nodes(
        action
        for record in context.records
        if record.state in (PlanState.ACTING, PlanState.VERIFYING)
        for action in record.plan.actions
    )
    if job is None or not is_above_others(job, context.state):
        return busy
    known = {node.name for node in context.state.nodes if node.mark == LEMON}
    known |= {
        name
        for record in context.records
        for outcome in record.outcomes
        for name in taken(outcome.action)
    }
    return busy | {name for name in known if not _is_trusted(name, context, settings)}


def _is_trusted(node: str, context: GuardContext, settings: GuardSettings) -> bool:
    times = taken_lately_s(node, context.records, settings, now_s=context.now_s)
    if is_lemon(context.state.node(node), times, settings):
        return False
    back_s = returned_s(node, context.state, context.records)
    return back_s is None or context.now_s - back_s >= settings.probation_s


def trusted(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse to reboot a node again on probation, or to put it under the most important job."""
    for action, state in walked(question, context):
        job = state.job(job_of(action))
        repaired = nodes_of(action) if action.kind in REPAIRS else ()
        above = job is not None and is_above_others(job, state)
        given = sorted(put_in(action, state)) if above else []
        for node in (*repaired, *given):
            why = "job of the highest priority" if node in given else ""
            if found := _on_probation(node, why, question, context, settings):
                return found
    return None


def _on_probation(
    node: str, of: str, question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    doing = f"and is no spare for the {of}" if of else "and a reboot has not mended it"
    instead = "Take another spare" if of else "Quarantine it, so that people look at it"
    own, now_s = question.plan.id, context.now_s
    times = taken_lately_s(node, context.records, settings, now_s=now_s, but=own)
    if is_lemon(context.state.node(node), times, settings):
        frees_s = _frees_s(times, settings)
        return Refusal(
            "lemon",
            f"{question.not_doing}: {node} was taken out {len(times)} times in "
            f"{settings.lemon_span_s / DAY_S:.0f} days {doing}.",
            f"{instead}, or raise guards.lemon_after (now {settings.lemon_after}) and reload.",
            allowed_s=frees_s,
        )
    back_s = returned_s(node, context.state, context.records, but=own)
    if back_s is None or now_s - back_s >= settings.probation_s:
        return None
    wait_s = settings.probation_s - (now_s - back_s)
    return Refusal(
        "probation",
        f"{question.not_doing}: {node} came back {now_s - back_s:.0f} s ago {doing}.",
        f"{instead}, wait {wait_s:.0f} s, or lower guards.probation (now "
        f"{settings.probation_s:.0f} s) and reload.",
        allowed_s=back_s + settings.probation_s,
    )


def _frees_s(times: tuple[float, ...], settings: GuardSettings) -> float | None:
    """Return when the node is no lemon any more; None for one that people have marked."""
    if len(times) < settings.lemon_after:
        return None
    return times[len(times) - settings.lemon_after] + settings.lemon_span_s
