"""Which component's trouble can come to which, and along which path."""

from collections import deque

import numpy as np

from core.types import Floats, Ints
from rca.frames.oddness import Bools


def reached(count: int, links: Ints) -> Bools:
    """Return (C, C) whether trouble of the first can come to the second, over any hops.

    links: (L, 2) cause, effect, without a cycle
    """
    reach = np.zeros((count, count), dtype=bool)
    effects: list[list[int]] = [[] for _ in range(count)]
    waiting = np.bincount(links[:, 0], minlength=count)
    causes: list[list[int]] = [[] for _ in range(count)]
    for cause, effect in links.tolist():
        effects[cause].append(effect)
        causes[effect].append(cause)
    ready = deque(np.flatnonzero(waiting == 0).tolist())
    while ready:  # effects before their causes
        at = ready.popleft()
        for effect in effects[at]:
            reach[at] |= reach[effect]
            reach[at, effect] = True
        for cause in causes[at]:
            waiting[cause] -= 1
            if waiting[cause] == 0:
                ready.append(cause)
    return reach


def path(links: Ints, start: int, end: int, weight: Floats) -> tuple[int, ...]:
    """Return a shortest way from a cause to an effect, by the heaviest hops; () if none."""
    effects: dict[int, list[int]] = {}
    for cause, effect in links.tolist():
        effects.setdefault(cause, []).append(effect)
    before: dict[int, int] = {start: start}
    queue = deque([start])
    while queue and end not in before:
        at = queue.popleft()
        for effect in sorted(effects.get(at, ()), key=lambda each: -weight[each]):
            if effect not in before:
                before[effect] = at
                queue.append(effect)
    if end not in before:
        return ()
    way = [end]
    while way[-1] != start:
        way.append(before[way[-1]])
    return tuple(reversed(way))
