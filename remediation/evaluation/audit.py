"""Counts breaches of the guards in what was done, knowing nothing of how the guards decide.

It goes by a log of orders alone, with code of its own, so that an error in a guard, in a mask or in
compiled code cannot hide itself.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.types import Outcome, OutcomeStatus, PlanRecord
from remediation.catalogue import CATALOG, Effect
from remediation.catalogue.taken import taken
from remediation.guards import GuardSettings
from remediation.running.course import PRIOR_OUT

_HOUR_S = 3600.0
_BACK_OFF_S = 300.0
_DONE = frozenset({OutcomeStatus.SUCCEEDED, OutcomeStatus.TIMED_OUT, OutcomeStatus.REVERTED})


@dataclass(frozen=True, slots=True)
class Order:
    """Something that was done by our hand.

    plan:     orders of one plan are one decision: they do not cool each other down
    nodes:    that went out of service by it
    back_s:   when each of these was in service again, in their order; inf: it has not been since
    disturbs: what it was done to, where that disturbs: a node or a job by its name
    ended_s:  when it was done with; what it disturbed rests from then on. None: at once
    steps:    how many actions it surely was
    spares:   ready ones that were left right after it; None where nobody counted
    unsaved_gpu_s: work of the job it stopped that was lost, GPU-seconds; None where not known, or
              where saving it was tried first
    given:    nodes that it put into a job; repaired: nodes that it rebooted where they stand
    above, below: no job came before the one it was done for, and some after; some came before it
    probability: of the cause that was its ground; None where none was needed
    gpus:     of the job that it stopped without a person's word; None: it stopped none
    stood:    the job that it started made no steps: so it rests for ``_BACK_OFF_S`` at most
    undone:   what it took out was given back unused: that node was found innocent
    """

    time_s: float
    plan: str
    nodes: tuple[str, ...] = ()
    back_s: tuple[float, ...] = ()
    disturbs: frozenset[str] = frozenset()
    ended_s: float | None = None
    steps: int = 1
    spares: int | None = None
    unsaved_gpu_s: float | None = None
    given: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    above: bool = False
    below: bool = False
    probability: float | None = None
    gpus: int | None = None
    stood: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where it was done.

    nodes: how many gpumedic may act on; gpus: how many there are, 0: not known
    rack_of, switch_of: of a node's name, where known
    """

    nodes: int
    rack_of: Mapping[str, str] = field(default_factory=dict)
    switch_of: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Breach:
    """A bound that was crossed, when and by how much."""

    time_s: float
    guard: str
    found: float
    bound: float


def audit(orders: Iterable[Order], site: Site, settings: GuardSettings) -> tuple[Breach, ...]:
    """Return every crossing of a bound, in order of time."""
    by_time = sorted(orders, key=lambda order: (order.time_s, order.plan, order.nodes))
    found = [
        *_of_nodes(by_time, site, settings),
        *_of_an_hour(by_time, settings),
        *_of_cooling(by_time, settings),
        *_of_reserves(by_time, settings),
        *_of_trust(by_time, settings),
        *_of_grounds(by_time, site, settings),
    ]
    return tuple(sorted(found, key=lambda breach: (breach.time_s, breach.guard)))


def _of_nodes(orders: Sequence[Order], site: Site, settings: GuardSettings) -> Iterable[Breach]:
    """Play the comings and goings of nodes and count who is away after each going."""
    share = max(1, math.floor(settings.max_ratio_out * site.nodes))
    most = min(settings.max_nodes_out, share)
    places = (
        ("max_nodes_out_per_rack", site.rack_of, settings.max_nodes_out_per_rack),
        ("max_nodes_out_per_switch", site.switch_of, settings.max_nodes_out_per_switch),
    )
    away: dict[str, float] = {}
    for order in orders:
        away = {node: back_s for node, back_s in away.items() if back_s > order.time_s}
        more = [node for node in order.nodes if node not in away]
        for node, back_s in zip(order.nodes, order.back_s, strict=True):
            away[node] = max(back_s, away.get(node, -math.inf))
        if more and len(away) > most:
            yield Breach(order.time_s, "max_nodes_out", len(away), most)
        for guard, place_of, bound in places:
            crowd = Counter(place_of[node] for node in away if place_of.get(node))
            for place in sorted({place_of[node] for node in more if place_of.get(node)}):
                if crowd[place] > bound:
                    yield Breach(order.time_s, guard, crowd[place], bound)


def _of_an_hour(orders: Sequence[Order], settings: GuardSettings) -> Iterable[Breach]:
    """Count what was done in the hour up to each order."""
    first, count = 0, 0
    for order in orders:
        count += order.steps
        while orders[first].time_s <= order.time_s - _HOUR_S:
            count -= orders[first].steps
            first += 1
        if count > settings.max_actions_per_hour:
            bound = settings.max_actions_per_hour
            yield Breach(order.time_s, "max_actions_per_hour", count, bound)


def _of_cooling(orders: Sequence[Order], settings: GuardSettings) -> Iterable[Breach]:
    """Measure how long each thing was left alone by other plans before it was disturbed again."""
    last: dict[str, dict[str, float]] = {}
    for order in orders:
        for name in sorted(order.disturbs):
            by_plan = last.setdefault(name, {})
            others = [time_s for plan, time_s in by_plan.items() if plan != order.plan]
            rest_s = order.time_s - max(others, default=-math.inf)
            least_s = min(settings.cooldown_s, _BACK_OFF_S if order.stood else math.inf)
            if rest_s < least_s:
                yield Breach(order.time_s, "cooldown", rest_s, least_s)
            by_plan[order.plan] = order.time_s if order.ended_s is None else order.ended_s


def _of_reserves(orders: Sequence[Order], settings: GuardSettings) -> Iterable[Breach]:
    """Look at the spares that were left, and at the work that was thrown away."""
    for order in orders:
        bounds = {"min_spares_left": settings.min_spares_left}
        if order.below:
            bounds["priority_spares"] = settings.priority_spares
        for guard, bound in bounds.items():
            if order.spares is not None and order.spares < bound:
                yield Breach(order.time_s, guard, order.spares, bound)
        lost = order.unsaved_gpu_s
        if lost is not None and lost > settings.max_unsaved_gpu_s:
            yield Breach(order.time_s, "unsaved_work", lost, settings.max_unsaved_gpu_s)


def _of_trust(orders: Sequence[Order], settings: GuardSettings) -> Iterable[Breach]:
    """Look at the past of the nodes that were rebooted, or put under a job above others."""
    away: dict[str, list[tuple[float, float]]] = {}
    for order in orders:
        relied = {*order.repaired, *(order.given if order.above else ())}
        for node in sorted(relied):
            since_s = order.time_s - settings.lemon_span_s
            past = [times for times in away.get(node, ()) if times[0] > since_s]
            if len(past) >= settings.lemon_after:
                yield Breach(order.time_s, "lemon", len(past), settings.lemon_after)
            back_s = max(
                (times[1] for times in past if times[1] <= order.time_s), default=-math.inf
            )
            if order.time_s - back_s < settings.probation_s:
                rest_s = order.time_s - back_s
                yield Breach(order.time_s, "probation", rest_s, settings.probation_s)
        if not order.undone:
            for node, back_s in zip(order.nodes, order.back_s, strict=True):
                away.setdefault(node, []).append((order.time_s, back_s))


def _of_grounds(orders: Sequence[Order], site: Site, settings: GuardSettings) -> Iterable[Breach]:
    """Look at how sure it was of the cause, and how large a job it stopped without asking."""
    most = math.floor(settings.max_job_share * site.gpus) if site.gpus else math.inf
    if settings.max_job_gpus:
        most = min(most, settings.max_job_gpus)
    for order in orders:
        sure = order.probability
        if sure is not None and sure < settings.min_probability:
            yield Breach(order.time_s, "min_probability", sure, settings.min_probability)
        if order.gpus is not None and order.gpus > most:
            yield Breach(order.time_s, "max_job", order.gpus, most)


def orders_of_records(
    records: Iterable[PlanRecord], *, back: Mapping[str, Sequence[float]] | None = None
) -> tuple[Order, ...]:
    """Return what plans in the store have done.

    back: when nodes were seen in service again by others' hands; else only plans put them back
    """
    done = [
        (record, outcome)
        for record in records
        for outcome in record.outcomes
        if outcome.status in _DONE
    ]
    returned: dict[str, list[float]] = {node: list(at) for node, at in (back or {}).items()}
    for _, outcome in done:
        if CATALOG[outcome.action.kind].effect is Effect.PUTS_BACK:
            returned.setdefault(outcome.action.target.node, []).append(outcome.ended_s)
    return tuple(
        _order(record, outcome, returned)
        for record, outcome in done
        if CATALOG[outcome.action.kind].effect is not Effect.PUTS_BACK
    )


def _order(record: PlanRecord, outcome: Outcome, returned: Mapping[str, Sequence[float]]) -> Order:
    action, since_s = outcome.action, outcome.started_s
    before = {
        step.target.node for step in record.plan.actions if step.param(PRIOR_OUT)
    }  # others had taken these out
    nodes = tuple(node for node in taken(action) if node not in before)
    return Order(
        time_s=since_s,
        plan=record.plan.id,
        ended_s=outcome.ended_s,
        nodes=nodes,
        back_s=tuple(_first_after(returned.get(node, ()), since_s) for node in nodes),
        disturbs=frozenset({str(action.target)} if CATALOG[action.kind].disruptive else ()),
    )


def _first_after(times: Sequence[float], since_s: float) -> float:
    return min((time_s for time_s in times if time_s >= since_s), default=math.inf)
