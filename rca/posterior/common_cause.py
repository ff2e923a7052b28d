"""Whether a fault sits on one thing or on what many share: a node, job, rack, switch, or all."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.target import Target
from core.types import Floats, Ints
from rca.posterior.case import Case
from rca.posterior.standing import ODD_Z, Bools

MIN_MEMBERS = 3  # as many must show it before what they share is suspected; two GPUs on one node
MIN_SHARE = 0.6  # of the members that are measured


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Members of a place that show the same symptom: ``affected`` of ``measured`` variables."""

    target: Target
    members: Ints
    affected: int
    measured: int
    level: int


def groups_of(case: Case, metric: str, strength: Floats) -> tuple[Group, ...]:
    """Return the places most of whose readings of the metric are out of order, largest first.

    strength: (S,) robust sigmas by which each of its series is; out of order above ODD_Z
    A place inside a larger one that shows the same is left out: it has nothing of its own.
    """
    part = case.graph.span(metric)
    odd = strength > ODD_Z
    if odd.sum() < 2:
        return ()
    measured = np.isfinite(strength)
    found: list[Group] = []
    for level, (place, name) in enumerate(_levels(case, part)):
        for group in _full(place, odd, measured, level=level):
            members = np.flatnonzero((place == group) & odd) + part.start
            if _worth(case, place, members, level=level) and not _inside(found, members):
                found.append(
                    Group(
                        target=name(group),
                        members=members,
                        affected=len(members),
                        measured=int(measured[place == group].sum()),
                        level=level,
                    )
                )
    return tuple(found)


def _levels(case: Case, part: slice) -> Iterator[tuple[Ints, "_Namer"]]:
    """Yield for cluster, jobs, racks, switches and nodes: (S,) the place's index, and its name."""
    node, job = case.graph.place.node[part], case.graph.place.job[part]
    several = len(np.unique(job[job >= 0])) != 1
    yield np.full(len(node), 0 if several else -1, dtype=np.int64), _Namer("cluster", ())
    yield job, _Namer("job", case.graph.jobs)
    yield _through(case.graph.rack, node), _Namer("rack", case.graph.racks)
    yield _through(case.graph.switch, node), _Namer("switch", case.graph.switches)
    yield node, _Namer("node", case.graph.nodes)


def _through(place: Ints, node: Ints) -> Ints:
    return np.where(node >= 0, np.append(place, -1)[node], -1)


@dataclass(frozen=True, slots=True)
class _Namer:
    """Turns a place's index into its target."""

    kind: str
    names: tuple[str, ...]

    def __call__(self, index: int) -> Target:
        return Target() if self.kind == "cluster" else Target(**{self.kind: self.names[index]})


def _full(place: Ints, odd: Bools, measured: Bools, *, level: int) -> list[int]:
    """Return the places with enough members out of order, in all and as a share."""
    known = place >= 0
    total = np.bincount(place[known], weights=measured[known])
    hit = np.bincount(place[known], weights=odd[known])
    least = MIN_MEMBERS if level < _NODE else 2
    return np.flatnonzero((hit >= least) & (hit >= MIN_SHARE * np.maximum(total, 1))).tolist()


_NODE = 4


def _worth(case: Case, place: Ints, members: Ints, *, level: int) -> bool:
    """Say whether a place adds to its parts: above a node it must span at least two nodes."""
    if level == 0:
        jobs = case.graph.place.job[members]
        return len(np.unique(jobs[jobs >= 0])) != 1
    return level == _NODE or len(np.unique(case.graph.place.node[members])) >= 2


def _inside(found: list[Group], members: Ints) -> bool:
    return any(np.isin(members, group.members).all() for group in found)
