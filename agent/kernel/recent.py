"""What the kernel's log says of the last while, read once: for a check."""

import math
from dataclasses import dataclass

from agent.kernel.following import Following
from agent.kernel.log import KernelLog
from core.clock import Clock
from core.ports import Problem
from core.types import Event


@dataclass(frozen=True, slots=True)
class Heard:
    """Events, oldest first, those of one kind and code on one target as one; what is in the way."""

    events: tuple[Event, ...]
    problems: tuple[Problem, ...]


def recent(node: str, *, since_s: float = math.inf, clock: Clock) -> Heard:
    """Return what was said in the last ``since_s`` seconds, or since boot; never raises."""
    following = Following(clock, look_back_s=since_s)
    try:
        return Heard(*KernelLog(node, following).poll())
    finally:
        following.close()
