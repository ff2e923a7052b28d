"""Has capacity ready before it is wanted: spares released, checked nodes back, others checked.

How much is a matter of what idling costs against waiting: at the best amount, the chance that more
is wanted is idle / (idle + waiting), so the quantile to provide for is waiting / (idle + waiting)
(the newsvendor's rule). With a GPU-second of waiting nine times as dear as one of idling that is
the 90 % quantile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.cluster import OWNER, ClusterState, NodeCondition, NodeState
from core.site import SiteFigures
from core.target import Target
from core.types import Action
from remediation.catalogue import (
    CATALOG,
    KEEP_AS_SPARE,
    RELEASE_SPARE,
    UNCORDON,
    VALIDATE_NODE,
    first_obstacle,
    make,
)
from remediation.catalogue.asked import jobs_on
from remediation.catalogue.job_obstacles import free_nodes
from remediation.catalogue.subject import gpus_on

AHEAD_S = 900.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """GPUs that will be wanted: with each lead, what is not passed with 50 and with 90 %."""

    lead_s: float
    half: float
    most: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What a GPU-second costs, in lost GPU-seconds, and how many spares there should be.

    waiting: a job in the queue has asked for it; assumed nine times as dear as idling
    spares_kept: ready spares that stay whatever is wanted; spares: as many as there should be when
        nothing is short
    """

    idle: float = 1.0
    waiting: float = 9.0
    spares_kept: int = 0
    spares: int = 0

    @property
    def level(self) -> float:
        """Return the quantile of what is wanted that is worth providing for."""
        return self.waiting / (self.waiting + self.idle)


@dataclass(frozen=True, slots=True)
class Provision:
    """What to do now. short_gpus: what would still be lacking; reason: in words, "" if nothing."""

    actions: tuple[Action, ...] = ()
    short_gpus: int = 0
    reason: str = ""


def provision(
    state: ClusterState,
    ahead: Sequence[Ahead],
    prices: Prices,
    *,
    plan_id: str,
    site: SiteFigures | None = None,
) -> Provision:
    """Return what to order now, so that it is there 15 min before it is wanted."""
    figures = site or SiteFigures()
    have = in_service(state)
    steps: list[tuple[str, str, float, int]] = []  # kind, node, when ready, GPUs
    sources = _sources(state, prices, figures)
    for at in sorted(ahead, key=lambda item: item.lead_s):
        need, ready_by_s = _need(at, prices), max(at.lead_s - AHEAD_S, 0.0)
        for source in list(sources):
            if have + sum(gpus for _, _, _, gpus in steps) >= need:
                break
            if source[2] <= ready_by_s:
                steps.append(source)
                sources.remove(source)
    short = _short(ahead, have, steps, prices)
    kinds = [(kind, node) for kind, node, _, _ in steps]
    if not steps and not short:
        kinds = _refill(state, ahead, have, prices)
    actions = _possible(kinds, state, plan_id)
    return Provision(actions, short, _words(ahead, have, steps, short, prices))


def in_service(state: ClusterState) -> int:
    """Return the GPUs that jobs have or could start on: spares and nodes out are none."""
    return sum(
        gpus_on(state, node.name)
        for node in state.nodes
        if jobs_on(state, node.name) or (node.condition is NodeCondition.READY and not node.spare)
    )


def _need(at: Ahead, prices: Prices) -> float:
    """Return the GPUs worth having: between the two quantiles that are known, evenly."""
    share = (min(max(prices.level, 0.5), 0.9) - 0.5) / 0.4
    return at.half + share * (at.most - at.half)


def _sources(
    state: ClusterState, prices: Prices, figures: SiteFigures
) -> list[tuple[str, str, float, int]]:
    """Return what can be added, the readiest first: (kind, node, seconds until ready, GPUs)."""
    spares = [node for node in state.nodes if node.spare and node.condition is NodeCondition.READY]
    found = [
        (RELEASE_SPARE, node.name, 0.0, gpus_on(state, node.name))
        for node in sorted(spares, key=lambda item: item.name)[
            : max(len(spares) - prices.spares_kept, 0)
        ]
    ]
    for node in sorted(state.nodes, key=lambda item: item.name):
        if not _is_ours(node, state):
            continue
        kind, ready_s = (UNCORDON, 0.0) if _passed(node) else (VALIDATE_NODE, figures.validate_s)
        found.append((kind, node.name, ready_s, gpus_on(state, node.name)))
    return sorted(found, key=lambda item: item[2])


def _is_ours(node: NodeState, state: ClusterState) -> bool:
    """Say whether a node is out by our hand alone, sound as far as is known, and empty."""
    out = node.condition in (NodeCondition.CORDONED, NodeCondition.DRAINED)
    sound = not node.mark and not node.finding
    return out and sound and node.owner == OWNER and not jobs_on(state, node.name)


def _passed(node: NodeState) -> bool:
    return node.checked_s is not None and node.checked_s >= node.since_s and not node.finding


def _short(
    ahead: Sequence[Ahead],
    have: int,
    steps: Sequence[tuple[str, str, float, int]],
    prices: Prices,
) -> int:
    lacking = 0.0
    for at in ahead:
        there = have + sum(gpus for _, _, ready_s, gpus in steps if ready_s <= at.lead_s)
        lacking = max(lacking, _need(at, prices) - there)
    return max(math.ceil(lacking), 0)


def _refill(
    state: ClusterState, ahead: Sequence[Ahead], have: int, prices: Prices
) -> list[tuple[str, str]]:
    """Keep back free nodes that nothing foreseen wants, up to as many spares as there should be."""
    spares = sum(node.spare and node.condition is NodeCondition.READY for node in state.nodes)
    unwanted = have - max((at.most for at in ahead), default=float(have))
    found = []
    for name in reversed(free_nodes(state)):
        gpus = gpus_on(state, name)
        if spares >= prices.spares or unwanted < gpus:
            break
        found.append((KEEP_AS_SPARE, name))
        spares, unwanted = spares + 1, unwanted - gpus
    return found


def _possible(
    kinds: Sequence[tuple[str, str]], state: ClusterState, plan_id: str
) -> tuple[Action, ...]:
    """Return the actions that can be done one after the other."""
    found: list[Action] = []
    for kind, node in kinds:
        action = make(kind, Target(node=node), {}, plan_id=plan_id, step=len(found))
        if first_obstacle((action,), state) is None:
            found.append(action)
            state = CATALOG[kind].project(action, state)
    return tuple(found)


def _words(
    ahead: Sequence[Ahead],
    have: int,
    steps: Sequence[tuple[str, str, float, int]],
    short: int,
    prices: Prices,
) -> str:
    if not steps and not short:
        return ""
    most = max(ahead, key=lambda at: _need(at, prices))
    added = sum(gpus for _, _, _, gpus in steps)
    lacks = f"; {short} GPUs will be lacking" if short else ""
    return (
        f"{_need(most, prices):.0f} GPUs are to be had in {most.lead_s / 60:.0f} min (quantile "
        f"{prices.level:.2f}), {have} are in service and {added} are added{lacks}."
    )
