"""Look at a world at the ends of equal windows, and at its end say where every GPU-second went."""

import math
from dataclasses import dataclass, field

import numpy as np

from agent.experiments.results import Timeline
from sim.engine.words import Hold
from sim.world import World

WINDOWS = 240  # as many as a plot 1,100 px wide can show apart, four pixels each


@dataclass(slots=True)
class Sampler:
    """Notes what a world has come to whenever a window is over.

    duration_s: from the world's start; the windows cut it into equal parts
    """

    world: World
    duration_s: float
    _time_s: list[float] = field(default_factory=list)
    _asked: list[float] = field(default_factory=list)
    _good: list[float] = field(default_factory=list)
    _out: list[int] = field(default_factory=list)

    @property
    def due_s(self) -> float:
        """Return when the next window ends, seconds since the epoch; inf after the last."""
        number = len(self._time_s) + 1
        if number > WINDOWS:
            return math.inf
        return self.world.scenario.start_s + self.duration_s * number / WINDOWS

    def advance(self, to_s: float) -> None:
        """Let the world's time pass and look whenever a window ends."""
        while self.due_s <= to_s:
            self.world.advance(self.due_s)
            self.look()
        self.world.advance(to_s)

    def look(self) -> None:
        """Note what has come of the world, if a window is over."""
        if self.world.now_s < self.due_s:
            return
        asked, lost = asked_and_lost(self.world)
        self._time_s.append(self.world.now_s - self.world.scenario.start_s)
        self._asked.append(asked)
        self._good.append(asked - lost)
        self._out.append(nodes_out(self.world))

    def timeline(self) -> Timeline:
        """Return the windows so far."""
        asked, good = (np.diff(part, prepend=0.0) for part in (self._asked, self._good))
        ratio = np.divide(good, asked, out=np.full(len(asked), np.nan), where=asked > 0)
        return Timeline(np.array(self._time_s), ratio, np.array(self._out, dtype=np.int64))


def asked_and_lost(world: World) -> tuple[float, float]:
    """Return the GPU-seconds since the start that jobs asked for, and those not useful."""
    gained = world.sums()
    return gained.asked, gained.asked - gained.good


def nodes_out(world: World) -> int:
    """Return how many nodes are down or held out of service."""
    nodes = world.inner.nodes
    return int(np.count_nonzero(~nodes["up"] | (nodes["hold"] != Hold.NOBODY)))
