"""Who calls whom in one random service topology, and what its components are like."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from agent.evaluations.services.families import QUEUES, SURGE, Family
from core.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """calls: (C, C) requests that a request to row makes to column; callers come first."""

    names: tuple[str, ...]
    calls: Floats
    own_s: Floats
    busy: Floats
    memory: Floats
    bytes: Floats


def system_of(family: Family, rng: np.random.Generator) -> System:
    """Draw one system of a family."""
    count = int(rng.integers(family.size[0], family.size[1] + 1))
    calls = SHAPES[family.shape](count, rng) * np.exp(rng.normal(-0.3, 0.6, (count, count)))
    if family.client:  # the first component only stands for the users
        calls[0] = 0.0
        calls[0, 1] = 1.0
        for late in range(2, count):
            if not calls[:late, late].any():
                calls[rng.integers(1, late), late] = 1.0
    own_s = np.exp(rng.normal(np.log(0.01), 1.0, count))
    own_s[0] = own_s[0] if not family.client else 0.0
    return System(
        tuple(f"svc{k}" for k in range(count)),
        calls,
        own_s,
        rng.uniform(0.02, 0.5, count),
        np.exp(rng.normal(5, 1, count)),
        np.exp(rng.normal(7, 1, count)),
    )


def _web(count: int, rng: np.random.Generator) -> Floats:
    calls = np.zeros((count, count))
    for k in range(1, count):
        callers = rng.choice(k, size=min(k, int(rng.integers(1, 3))), replace=False)
        calls[callers, k] = 1.0
    return calls


def _chain(count: int, rng: np.random.Generator) -> Floats:
    calls = np.zeros((count, count))
    for k in range(1, count):
        calls[max(0, k - int(rng.integers(1, 4))), k] = 1.0
    return calls


def _fan(count: int, rng: np.random.Generator) -> Floats:
    calls = np.zeros((count, count))
    for k in range(1, count):
        calls[1 if k > 1 and rng.random() < 0.6 else rng.integers(k), k] = 1.0
    return calls


def _mesh(count: int, rng: np.random.Generator) -> Floats:
    calls = np.zeros((count, count))
    inner = count - max(2, count // 3)
    for k in range(1, count):
        callers = min(k, inner)
        calls[rng.choice(callers, size=min(callers, int(rng.integers(1, 4))), replace=False), k] = 1
    return calls


def _queues(count: int, rng: np.random.Generator) -> Floats:
    """Return which stage is fed by which; the first is the last of the pipeline."""
    fed = np.zeros((count, count))
    for k in range(1, count):
        fed[max(0, k - int(rng.integers(1, 3))), k] = 1.0
    return fed


SHAPES: Mapping[str, Callable[[int, np.random.Generator], Floats]] = {
    "web": _web,
    "chain": _chain,
    "fan": _fan,
    "mesh": _mesh,
    QUEUES: _queues,
}


def place(system: System, name: str, rng: np.random.Generator) -> int:
    """Choose who is hit: a surge comes in at the entry; else anyone the users' requests reach."""
    reach = _load_share(system)
    if name == SURGE:
        return 0
    able = np.flatnonzero((reach > 0.05) & (system.own_s > 0))
    return int(rng.choice(able))


def _load_share(system: System) -> Floats:
    share = np.zeros(len(system.names))
    share[0] = 1.0
    for k in range(share.size):
        share += share[k] * system.calls[k]
    return share


def links_of(
    family: Family, system: System, rng: np.random.Generator
) -> tuple[tuple[str, str], ...]:
    """Return what is known of who brings trouble to whom: (callee, caller), some lost."""
    caller, callee = np.nonzero(system.calls)
    kept = rng.random(caller.size) >= family.links_lost
    return tuple(
        (system.names[b], system.names[a]) for a, b in zip(caller[kept], callee[kept], strict=True)
    )
