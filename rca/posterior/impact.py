"""How much of the symptom each cause accounts for: arithmetic at barriers, total effects elsewhere.

A synchronous job's step grows by what its slowest rank adds, to the second. Along other links the
fitted gain says what a cause brings, inside the range it was fitted in; beyond that the cause
accounts for its effect as far as sign, order and size agree. Shares multiply along a way and add
up where ways meet, never beyond 1.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np

from core.target import TargetKind
from core.types import Floats, Ints
from core.units import CATALOG
from rca.faults.catalogue import FAULTS
from rca.graph.causal_graph import CausalGraph
from rca.graph.mechanisms import barrier_wait, beyond_training, pushes
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.standing import ODD_Z, Bools, Standing

# A job's speed hurts; its goodput and its counts follow from that.
_HURTS = ("job_step_time_s", "job_latency_p99_s")
_FAILED = "job_failed"  # kind of event
_PLACES = frozenset({TargetKind.NODE, TargetKind.RACK, TargetKind.SWITCH, TargetKind.CLUSTER})


def goal_of(case: Case) -> int | None:
    """Return the symptom that hurts: a job's own time before anything else; None for no reading."""
    odd = np.nan_to_num(case.standing.odd)
    metric = [case.graph.metrics[number] for number in case.graph.metric[case.symptoms].tolist()]
    of_job = [name in CATALOG and CATALOG[name].scope is TargetKind.JOB for name in metric]
    worth = [
        (name in _HURTS, job, float(odd[variable]), int(variable))
        for name, job, variable in zip(metric, of_job, case.symptoms.tolist(), strict=True)
    ]
    return max(worth)[3] if worth else None


def explained_share(case: Case, hypotheses: Sequence[Hypothesis]) -> float | None:
    """Return the share of the symptom that they account for together, [0, 1].

    None where no reading of the symptom is out of order, and where nothing that is known leads
    from the accused readings to it. A job that failed is down all of the time: what ended it, by
    what was said, accounts for all of it, and of anything else nothing is known.
    """
    if _failed(case):
        return max((1.0 for item in hypotheses if _ended_it(case, item, hypotheses)), default=None)
    accused = [item.variables for item in hypotheses if len(item.variables)]
    return _share(case, [np.concatenate(accused)])[0] if accused else None


def impacts(case: Case, hypotheses: Sequence[Hypothesis]) -> tuple[float | None, ...]:
    """Return the share of the symptom that each of them accounts for, [0, 1]; None as above.

    The first and those that stand beside it share it by Shapley's value, so that their shares add
    up to what they bring together; a rival has what it would bring alone.
    """
    if _failed(case):
        return tuple(1.0 if _ended_it(case, item, hypotheses) else None for item in hypotheses)
    beside = [n for n, item in enumerate(hypotheses) if n == 0 or item.beside]
    sets = _coalitions(beside)
    found = _share(
        case,
        [item.variables for item in hypotheses]
        + [np.concatenate([hypotheses[number].variables for number in each]) for each in sets],
    )
    alone, brought = found[: len(hypotheses)], found[len(hypotheses) :]
    worth = dict(zip(sets, (share or 0.0 for share in brought), strict=True))
    return tuple(
        _shapley(number, beside, worth) if number in beside and share is not None else share
        for number, share in enumerate(alone)
    )


def _coalitions(players: Sequence[int]) -> list[tuple[int, ...]]:
    sizes = range(1, len(players) + 1)
    return [each for size in sizes for each in combinations(players, size)]


def _shapley(player: int, players: Sequence[int], worth: Mapping[tuple[int, ...], float]) -> float:
    """Return what a player adds to each coalition, over all orders in which they could join."""
    total = 0.0
    for each in worth:
        if player in each:
            others = tuple(one for one in each if one != player)
            orders = factorial(len(others)) * factorial(len(players) - len(each))
            total += orders * (worth[each] - worth.get(others, 0.0))
    return total / factorial(len(players))


def _failed(case: Case) -> bool:
    """Say whether the symptom is a job that failed: no other job's own time is out of order."""
    failed = {event.target.job for event in case.incident.events if event.kind == _FAILED}
    goal = goal_of(case)
    if goal is None or not failed:
        return bool(failed)
    slow = case.graph.metrics[case.graph.metric[goal]] in _HURTS
    return not slow or case.graph.target(goal).job in failed


def _ended_it(case: Case, item: Hypothesis, found: Sequence[Hypothesis]) -> bool:
    """Say whether what was said speaks for the fault, or for one that it has brought.

    That is one which it explains, or one of its class within its place: a hot GPU of a hot node.
    """
    if item.value(Kind.EVENT) > 0 or item.value(Kind.EXPLAINED) > 0:
        return True
    place = set(case.nodes_of(item.target).tolist())
    return item.target.kind in _PLACES and any(
        other.value(Kind.EVENT) > 0
        and FAULTS[other.fault].kind is FAULTS[item.fault].kind
        and set(case.nodes_of(other.target).tolist()) <= place
        for other in found
    )


def _share(case: Case, accused: Sequence[Ints]) -> list[float | None]:
    """Return the share of the symptom that each set of readings accounts for with all it moves."""
    goal, standing = goal_of(case), case.standing
    if goal is None or not abs(standing.own[goal]) > ODD_Z:
        return [None] * len(accused)
    mine = np.zeros((case.graph.size, len(accused)))
    for column, variables in enumerate(accused):
        mine[variables, column] = 1.0
    _carry(case, mine, _upstream(case.graph, goal))
    parts = _parts(case.graph, goal)
    return [
        float(share) if share > 0 or np.isin(variables, parts).any() else None
        for share, variables in zip(mine[goal], accused, strict=True)
    ]


def _parts(graph: CausalGraph, goal: int) -> Ints:
    """Return what the symptom is the maximum of: of these it is known that they add nothing."""
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    return np.asarray(graph.cause[barrier & (graph.effect == goal)])


def _upstream(graph: CausalGraph, goal: int) -> Bools:
    """(V,) whether a variable leads to the symptom, itself among them."""
    found = np.zeros(graph.size, dtype=bool)
    found[goal] = True
    for links in reversed(_by_effect(graph)):
        found[graph.cause[links[found[graph.effect[links]]]]] = True
    return found


def _by_effect(graph: CausalGraph) -> list[Ints]:
    """Return the links into each metric, causes before effects."""
    metric = graph.metric[graph.effect]
    order = np.argsort(metric, kind="stable")
    return np.split(order, np.searchsorted(metric[order], np.arange(1, len(graph.metrics))))


def _carry(case: Case, mine: Floats, upstream: Bools) -> None:
    """Fill in (V, K) what share of each variable's change comes from what is already in there."""
    graph, standing = case.graph, case.standing
    share = _linear_shares(case)
    barrier = np.array([link.barrier for link in graph.templates], dtype=bool)[graph.template]
    adds = _added(graph, standing)
    for each in _by_effect(graph):
        links = each[upstream[graph.effect[each]]]
        links = links[mine[graph.cause[links]].any(axis=1)]
        if not len(links):
            continue
        plain, joined = links[~barrier[links]], links[barrier[links]]
        np.add.at(mine, graph.effect[plain], share[plain, None] * mine[graph.cause[plain]])
        _join(graph, mine, joined, adds)
        effects = np.unique(graph.effect[links])
        mine[effects] = np.clip(mine[effects], 0.0, 1.0)


def _linear_shares(case: Case) -> Floats:
    """(E,) share of the effect's change that a link brings with all of its cause's."""
    graph, standing = case.graph, case.standing
    moved = (standing.level - standing.centre)[graph.effect]
    brought = pushes(graph, standing, case.mechanisms) / np.where(moved == 0, np.nan, moved)
    fitted = np.clip(np.nan_to_num(brought), 0.0, 1.0)
    return np.maximum(fitted, beyond_training(graph, standing))


def _added(graph: CausalGraph, standing: Standing) -> Floats:
    """(V,) by how much each reading grew of itself: a wait for the slowest rank is that rank's."""
    moved = np.nan_to_num(standing.level - standing.centre)
    return np.asarray(moved - barrier_wait(graph, moved))


def _join(graph: CausalGraph, mine: Floats, links: Ints, adds: Floats) -> None:
    """Add the share of each maximum that the slowest of its causes would have reached alone.

    The parts of one rank, told by its GPU, add up; ranks wait for the slowest of them.
    """
    if not len(links):
        return
    cause, effect = graph.cause[links], graph.effect[links]
    gpu = graph.place.gpu[cause]
    whose = np.stack([effect, np.where(gpu >= 0, gpu, -1 - cause)])
    rank, number = np.unique(whose, axis=1, return_inverse=True)
    alone = np.zeros((rank.shape[1], mine.shape[1]))
    np.add.at(alone, number.ravel(), adds[cause, None] * mine[cause])
    grown, place = np.unique(rank[0], return_inverse=True)
    slowest = np.zeros((len(grown), mine.shape[1]))
    np.maximum.at(slowest, place.ravel(), alone)
    grew = adds[grown, None]
    mine[grown] += np.where(grew > 0, slowest / np.where(grew > 0, grew, 1.0), 0.0)
