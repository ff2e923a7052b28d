"""How many nodes may be out at once, in all and in one place, and how many spares stay."""

import math
from collections.abc import Callable, Iterable

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition
from core.types import OutcomeStatus, Refusal
from remediation.catalogue.subject import job_of
from remediation.catalogue.taken import taken
from remediation.guards.question import GuardContext, Question, put_in, walked
from remediation.guards.settings import GuardSettings
from remediation.running.course import in_flight


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
            yield from taken(action)


def _taken(question: Question, context: GuardContext) -> frozenset[str]:
    """Return the nodes that go out of service by our hand, not by one that holds them already."""
    held = {
        node.name
        for node in context.state.nodes
        if node.condition is not NodeCondition.READY and node.owner not in ("", OWNER)
    }
    return question.taken - held


def within_nodes_out(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to have more nodes out at once than the absolute bound and the ratio allow."""
    out, taken = nodes_out(context, settings), _taken(question, context)
    limit = nodes_out_limit(context.state, settings)
    if taken <= out or len(out | taken) <= limit:
        return None
    mine = sum(node.owner in ("", OWNER) for node in context.state.nodes)
    which = f" ({', '.join(sorted(out))})" if out else ""
    return Refusal(
        "max_nodes_out",
        f"{question.not_doing}: {len(out)} of at most {limit} nodes are out by gpumedic{which}.",
        f"Return one to service, or raise guards.max_nodes_out (now {settings.max_nodes_out}) or "
        f"guards.max_ratio_out (now {settings.max_ratio_out:g} of {mine} nodes) and reload.",
    )


def within_rack(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to have more nodes of one rack out at once than the bound."""
    rack_of = context.state.topology.rack_of
    found = _crowded(_taken(question, context), nodes_out(context, settings), rack_of)
    return _in_place(question, found, "rack", settings.max_nodes_out_per_rack)


def within_switch(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to have more nodes of one leaf switch out at once than the bound."""
    switch_of = context.state.topology.switch_of
    found = _crowded(_taken(question, context), nodes_out(context, settings), switch_of)
    return _in_place(question, found, "switch", settings.max_nodes_out_per_switch)


def _crowded(
    taken: frozenset[str], out: frozenset[str], place_of: Callable[[str], str]
) -> tuple[str, list[str]]:
    """Return the place that would miss most nodes of those where one more goes out, and these."""
    places = {place for node in taken - out if (place := place_of(node))}
    beside = {
        place: sorted(node for node in out | taken if place_of(node) == place)
        for place in sorted(places)
    }
    return max(beside.items(), key=lambda item: len(item[1]), default=("", []))


def _in_place(
    question: Question, found: tuple[str, list[str]], what: str, limit: int
) -> Refusal | None:
    place, beside = found
    if len(beside) <= limit or not place:
        return None
    return Refusal(
        f"max_nodes_out_per_{what}",
        f"{question.not_doing}: {what} {place} would have {len(beside)} nodes out "
        f"({', '.join(beside)}), at most {limit} may be.",
        f"Return one to service, or raise guards.max_nodes_out_per_{what} and reload.",
    )


def spares_left(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to use up the spares that are to be kept, some of them for the highest priority."""
    ready = {
        node.name
        for node in context.state.nodes
        if node.spare and node.condition is NodeCondition.READY
    }
    used: set[str] = set()
    found: Refusal | None = None
    for action, state in walked(question, context):  # the last one tells what all of them leave
        used |= put_in(action, state) & ready
        job, left = state.job(job_of(action)), len(ready - used)
        if not used or job is None:
            continue
        kept, key = settings.min_spares_left, "min_spares_left"
        if settings.priority_spares > kept and _has_betters(job, state):
            kept, key = settings.priority_spares, "priority_spares"
        if left < kept:
            found = Refusal(
                key,
                f"{question.not_doing}: it would leave {left} ready spares, {kept} are to be kept"
                f"{' for jobs of higher priority' if key == 'priority_spares' else ''}.",
                f"Add {kept - left} spare{'s'[: kept - left > 1]}, or lower guards.{key} to {left} "
                "and reload.",
            )
    return found


def _has_betters(job: JobState, state: ClusterState) -> bool:
    """Say whether jobs of higher priority may need a spare."""
    live = (other for other in state.jobs if other.phase is not JobPhase.COMPLETED)
    return any(other.priority > job.priority for other in live)
