"""Who causes what among V variables: index arrays, and the order in which causes come first."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np

from core.errors import InputError
from core.types import Floats, Ints

_NAMED = 8  # members of a cycle that a message lists


class Kind(IntEnum):
    """How a variable follows from its causes: fitted to data, or known arithmetic."""

    FITTED = 0
    MAX = 1
    SUM = 2


@dataclass(frozen=True, eq=False)
class Links:
    """E links among V variables without a cycle.

    kind:          (V,) a ``Kind`` each; arithmetic is never fitted
    cause, effect: (E,) variables
    first, last:   (E,) the effect comes so many rows after its cause, at least and at most
    pool:          (E,) links with the same number >= 0 share their coefficients; -1: has its own
    names:         of the variables, for messages; may be empty
    """

    kind: Ints
    cause: Ints
    effect: Ints
    first: Ints
    last: Ints
    pool: Ints
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Return V."""
        return len(self.kind)

    @property
    def longest(self) -> int:
        """Return the longest lag in rows."""
        return int(self.last.max(initial=0))

    @cached_property
    def level(self) -> Ints:
        """(V,) 0 for variables without causes, else one more than the highest of the causes.

        InputError names the members of a cycle.
        """
        level = _levels(self.size, self.cause, self.effect)
        if (level < 0).any():
            inside = (level[self.cause] < 0) & (level[self.effect] < 0)
            back = _levels(self.size, self.effect[inside], self.cause[inside])
            raise InputError(_cycle(np.flatnonzero((level < 0) & (back < 0)), self.names))
        return level

    @cached_property
    def steps(self) -> tuple[Ints, ...]:
        """Return the links in causal order, one array for each level of effects from 1 on."""
        return self.in_order(self.effect)

    def in_order(self, effect: Ints) -> tuple[Ints, ...]:
        """Return places in ``effect``, one array for each level of those effects from 1 on."""
        depth = self.level[effect]
        by_depth = np.argsort(depth, kind="stable")
        cuts = np.searchsorted(depth[by_depth], np.arange(1, self.level.max(initial=0) + 1))
        return tuple(np.split(by_depth, cuts)[1:])

    def ancestors(self, target: int) -> Ints:
        """Return the target and all that could have caused it, ascending."""
        return np.flatnonzero(self.total(np.ones(len(self.cause)), target))

    def total(self, slope: Floats, target: int) -> Floats:
        """(V,) what one unit more of each variable makes of the target: one pass backwards.

        slope: (E,) change of the effect for each unit of the cause
        """
        total = np.zeros(self.size)
        total[target] = 1.0
        for links in reversed(self.steps):
            reached = links[total[self.effect[links]] != 0]
            np.add.at(total, self.cause[reached], slope[reached] * total[self.effect[reached]])
        return total


def link(
    size: int,
    pairs: Ints,
    *,
    lag: tuple[Ints, Ints] | None = None,
    pool: Ints | None = None,
    kind: Ints | None = None,
    names: tuple[str, ...] = (),
) -> Links:
    """Return the links of (E, 2) pairs (cause, effect); without lag, pool or kind: 0, own, fitted.

    InputError names the members of a cycle, and a pair that is no pair of variables.
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    outside = (pairs < 0) | (pairs >= size)
    if outside.any():
        raise InputError(
            f"linking {size} variables: link {int(outside.any(axis=1).argmax())} names variable "
            f"{int(pairs[outside][0])}; variables are numbered 0 to {size - 1}."
        )
    none = np.zeros(len(pairs), dtype=np.int64)
    first, last = lag if lag is not None else (none, none)
    made = Links(
        kind=kind if kind is not None else np.zeros(size, dtype=np.int64),
        cause=pairs[:, 0].copy(),
        effect=pairs[:, 1].copy(),
        first=np.asarray(first, dtype=np.int64),
        last=np.asarray(last, dtype=np.int64),
        pool=pool if pool is not None else none - 1,
        names=names,
    )
    if (made.first < 0).any() or (made.last < made.first).any():
        raise InputError(
            "linking variables: a lag window is below 0 or ends before it starts; an effect comes "
            "0 or more rows after its cause."
        )
    _ = made.level
    return made


def _levels(size: int, cause: Ints, effect: Ints) -> Ints:
    """(V,) level of each variable; -1 for members of a cycle and all that follows from one."""
    waiting = np.bincount(effect, minlength=size)
    by_cause = np.argsort(cause, kind="stable")
    start = np.searchsorted(cause[by_cause], np.arange(size + 1))
    level = np.full(size, -1, dtype=np.int64)
    for depth, ready in enumerate(_frontiers(waiting, effect[by_cause], start)):
        level[ready] = depth
    return level


def _frontiers(waiting: Ints, effect: Ints, start: Ints) -> Iterator[Ints]:
    """Yield the variables none of whose causes is still to come, level by level."""
    ready = np.flatnonzero(waiting == 0)
    while len(ready):
        yield ready
        count = start[ready + 1] - start[ready]
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        reached, times = np.unique(
            effect[np.repeat(start[ready], count) + step], return_counts=True
        )
        waiting[reached] -= times
        ready = reached[waiting[reached] == 0]


def _cycle(members: Ints, names: tuple[str, ...]) -> str:
    said = [names[member] if names else f"variable {member}" for member in members[:_NAMED]]
    more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
    return (
        f"ordering the causal graph: {', '.join(said)}{more} cause each other in a cycle; "
        "take out one of their links."
    )
