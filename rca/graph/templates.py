"""One link between two kinds of reading, and what becomes of links where readings are missing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache


class Join(StrEnum):
    """Which two targets a mechanism connects: by what they share, or by a job and what it runs on.

    A volume that no node owns is shared and touches everything the join could reach.
    """

    GPU = "gpu"
    PORT = "port"
    VOLUME = "volume"
    NODE = "node"
    JOB = "job"
    GPU_JOB = "gpu-job"
    NODE_JOB = "node-job"
    JOB_GPU = "job-gpu"
    JOB_NODE = "job-node"
    SWITCH_JOB = "switch-job"


# Of each join: the cause's part, the effect's, and what ties both together; "": they are the same.
PARTS: Mapping[Join, tuple[str, str, str]] = {
    Join.GPU: ("gpu", "gpu", ""),
    Join.PORT: ("port", "port", ""),
    Join.VOLUME: ("volume", "volume", ""),
    Join.NODE: ("node", "node", ""),
    Join.JOB: ("job", "job", ""),
    Join.GPU_JOB: ("gpu", "job", "gpu_job"),
    Join.NODE_JOB: ("node", "job", "node_job"),
    Join.JOB_GPU: ("job", "gpu", "gpu_job"),
    Join.JOB_NODE: ("job", "node", "node_job"),
    Join.SWITCH_JOB: ("switch", "job", "switch_job"),
}


class Provenance(StrEnum):
    """Where a link comes from."""

    MECHANISM = "mechanism"
    BRIDGED = "bridged"
    USER = "user"
    LEARNED = "learned"


@dataclass(frozen=True, slots=True)
class Template:
    """``cause`` moves ``effect``.

    sign:        +1 they move together, -1 against each other
    lag_s:       longest time the effect may come after the cause; lag_least_s: shortest
    strength:    1 for a mechanism that always acts; less where it seldom does, and for every
                 unmeasured reading the link is bridged over
    barrier:     the effect is the maximum over its causes (the slowest rank sets the step); this
                 is arithmetic and never a regression
    provenance:  where the link comes from
    over:        readings nobody measures that the link is bridged over
    feedback:    a way back from an effect to its cause: known, but no part of the graph
    why, source: the mechanism in a few words, and who says so
    """

    cause: str
    effect: str
    join: Join
    sign: int = 1
    lag_s: float = 15.0
    strength: float = 1.0
    barrier: bool = False
    provenance: Provenance = Provenance.MECHANISM
    over: tuple[str, ...] = ()
    lag_least_s: float = 0.0
    feedback: bool = False
    why: str = ""
    source: str = ""

    @property
    def pair(self) -> tuple[str, str, Join]:
        """Return what there is one link of at most: cause, effect and join."""
        return self.cause, self.effect, self.join


# Facts: a link that only places suggest is worth 0.2 to 0.3; one that only data suggest no more.
LEARNED_STRENGTH = 0.2
UNMEASURED_HOP = 0.3  # facts: a hop over an unmeasured reading keeps 0.05 to 0.3 of its weight


@lru_cache(maxsize=64)
def templates_over(links: tuple[Template, ...], present: frozenset[str]) -> tuple[Template, ...]:
    """Return the links between measured metrics, bridged over those that are not.

    A chain whose middle nobody measures becomes one weaker link that says what it skipped, so
    that a blind spot neither cuts a path nor passes for a measurement. Ways back are left out.
    """
    found = {link.pair: link for link in links if not link.feedback}
    for absent in sorted({name for pair in found for name in pair[:2]} - present):
        causes = [link for link in found.values() if link.effect == absent]
        effects = [link for link in found.values() if link.cause == absent]
        found = {pair: link for pair, link in found.items() if absent not in pair[:2]}
        for first in causes:
            for then in effects:
                _keep_stronger(found, _bridge(first, then))
    return tuple(found.values())


def _keep_stronger(found: dict[tuple[str, str, Join], Template], bridge: Template | None) -> None:
    if bridge and (bridge.pair not in found or found[bridge.pair].strength < bridge.strength):
        found[bridge.pair] = bridge


def _bridge(first: Template, then: Template) -> Template | None:
    """Join two links over the reading between them; None where that says nothing any more."""
    join = compose(first.join, then.join)
    if join is None:
        return None
    learned = Provenance.LEARNED in (first.provenance, then.provenance)
    return replace(
        first,
        effect=then.effect,
        join=join,
        sign=first.sign * then.sign,
        lag_least_s=first.lag_least_s + then.lag_least_s,
        lag_s=first.lag_s + then.lag_s,
        strength=first.strength * then.strength * UNMEASURED_HOP,
        barrier=False,
        provenance=Provenance.LEARNED if learned else Provenance.BRIDGED,
        over=(*first.over, first.effect, *then.over),
        why="",
        source="",
    )


_OF_JOBS = (Join.GPU_JOB, Join.NODE_JOB, Join.SWITCH_JOB)  # from a part of a machine to jobs
_OF_MACHINES = (Join.JOB_GPU, Join.JOB_NODE)  # and from a job to the parts it has


def compose(first: Join, then: Join) -> Join | None:
    """Return the join of two in a row, the coarser of both.

    None from a machine over a job to the job's other machines: it would link everything.
    """
    if first is then:
        return first
    if first is Join.JOB or then is Join.JOB:
        return _with_job(then if first is Join.JOB else first, first is Join.JOB)
    if first in _OF_MACHINES:
        return Join.JOB if then in _OF_JOBS else Join.JOB_NODE if then is not Join.GPU else first
    if first in _OF_JOBS or then in _OF_MACHINES:
        return None
    if then in _OF_JOBS:
        return then if first is Join.GPU or then is not Join.GPU_JOB else Join.NODE_JOB
    return Join.NODE


def _with_job(other: Join, job_first: bool) -> Join | None:
    """Join "same job" with another, before or after it."""
    if other in _OF_JOBS:
        return None if job_first else other
    if other in _OF_MACHINES:
        return other if job_first else Join.JOB
    if job_first:  # from a rank to a part of its machine
        return other
    return Join.GPU_JOB if other is Join.GPU else Join.NODE_JOB


def order(names: Collection[str], links: Sequence[Template]) -> tuple[str, ...]:
    """Return the names with every cause before its effects; ValueError names a cycle's members."""
    waiting: dict[str, set[str]] = {name: set() for name in names}
    for link in links:
        if link.effect in waiting and link.cause in waiting:
            waiting[link.effect].add(link.cause)
    done: list[str] = []
    while waiting:
        ready = sorted(name for name, causes in waiting.items() if not causes & waiting.keys())
        if not ready:
            raise ValueError(f"the links form a cycle: {' -> '.join(_cycle(waiting))}")
        done.extend(ready)
        for name in ready:
            del waiting[name]
    return tuple(done)


def _cycle(causes: dict[str, set[str]]) -> list[str]:
    """Return one cycle among names that all have a cause, first member last again, in order."""
    path = [min(causes)]
    while True:
        cause = min(causes[path[-1]] & causes.keys())
        if cause in path:
            return [cause, *reversed(path[path.index(cause) :])]
        path.append(cause)
