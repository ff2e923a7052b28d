"""What each choice would lose: a life in the simulator, copied and lived on, choice by choice.

All copies meet the same faults with the same luck, so the differences between choices hold little
chance. Training learns from them before it learns from whole lives. The copies know the fault; what
is learnt of many of them, by what can be seen, does not.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.situation import Bools, Fact
from core.types import Floats
from remediation.learning.lanes import HealingLanes
from remediation.twin.oracle import Within
from remediation.twin.rolling import OVER, Ways, copy, follow, live_on, owed, priced
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.room import with_room
from sim.engine.tables import Array, Tables
from sim.lanes import Lane

_HOUR_S = 3600.0
# Share of the situations on the way that are labelled, of an incident's first hours and later ones:
# neighbours are much alike.
_TRIED, _TRIED_LATER, _LATER_S = 0.5, 0.1, 7_200.0
_BY_CHANCE = 0.1  # share of choices that are drawn: what a policy never does must be known too


Figures = tuple[float, bool]  # what a late request is priced at; whether what is owed counts


@compiled
def _copy(truth: Tables, w: Tables) -> None:
    """Make a copy of a life what the life is now: a twin's rows, and those of the truth."""
    copy(truth, w)
    core = truth.core[0]
    for at in range(len(truth.services)):
        w.services[at] = truth.services[at]
    for at in range(core["faults_n"]):
        w.faults[at] = truth.faults[at]
    for at in range(core["orders_n"]):
        w.orders[at] = truth.orders[at]
    for entity in range(truth.arrivals.shape[0]):
        for kind in range(truth.arrivals.shape[1]):
            w.arrivals[entity, kind] = truth.arrivals[entity, kind]
            w.drawn[entity, kind] = truth.drawn[entity, kind]


@compiled_with_arrays
def _try_on(
    lives: tuple[Tables, Tables], until_s: float, inner: int, ways: Ways, figures: Figures
) -> Array:
    """Return (len(Choice),) what each open choice loses, infinite: not open; (0,): short of room.

    lives: the one that is under way, and a copy that is overwritten; ways: as ``live_on`` has them
    """
    truth, w = lives
    opened = ways[4].copy()  # of the decision that is due: living on overwrites it
    found = np.full(len(opened), math.inf)
    for choice in range(len(opened)):
        if opened[choice]:
            _copy(truth, w)
            if live_on(w, choice, until_s, inner, ways) != OVER:
                return np.empty(0)
            found[choice] = priced(w, ways[2], figures[0])
            if figures[1]:
                found[choice] += owed(w, ways[2])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Copies of lives that go on by one policy.

    within: that policy; hours: how far ahead
    owing: what is amiss at the end is priced too, as it stands
    """

    within: Within
    hours: float
    owing: bool = True

    def choose(self, lane: Lane) -> int:
        """Return what the policy chooses about the decision that is due."""
        within = self.within
        return follow(int(within.inner), within.numbers, lane.facts, lane.open)

    def lost(self, lane: Lane, twin: "Twin") -> Floats:
        """Return (len(Choice),) what each open choice loses, GPU-seconds; infinite: not open."""
        now_s = float(lane.tables.core[0]["now_s"])
        until_s = min(now_s + self.hours * _HOUR_S, lane.end_s)
        figures = (lane.terms.late_gpu_s, self.owing and until_s < lane.end_s)
        while True:
            opened = lane.open.copy()
            ways = (self.within.numbers, *twin.ways, twin.facts, opened)
            lives = (lane.tables, twin.tables_for(lane))
            found: Floats = _try_on(lives, until_s, int(self.within.inner), ways, figures)
            if len(found):
                return found
            twin.make_room()


class Twin:
    """A copy of a lane's life to roll out in, and what its decisions go by."""

    def __init__(self, lane: Lane) -> None:
        self.lane, self.facts = lane, np.zeros(len(Fact))
        self.ways = (lane.terms.causes_row(), lane.terms.numbers())
        self._tables: Tables | None = None

    def tables_for(self, lane: Lane) -> Tables:
        """Return tables that a copy of the lane's fits into."""
        own, theirs = self._tables, lane.tables
        if own is None or any(len(its) > len(mine) for mine, its in zip(own, theirs, strict=True)):
            own = self._tables = with_room(Tables(*(part.copy() for part in theirs)))
        return own

    def make_room(self) -> None:
        """Give it room for what did not fit."""
        if self._tables is not None:
            self._tables = with_room(self._tables)


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Situations of which every open choice was tried in a copy, and a walk through many more.

    seen: (n, SIZE); open: (n, len(Choice)); lost: (n, len(Choice)) hours of all GPUs asked for,
    infinite where not open. walked: (turns, lanes, SIZE) what was met on the way, with rewards,
    elapsed_s and goes_on, (turns, lanes) each
    """

    seen: NDArray[np.float32]
    open: NDArray[np.bool_]
    lost: Floats
    walked: NDArray[np.float32]
    rewards: Floats
    elapsed_s: Floats
    goes_on: Floats


def labelled(
    lanes: HealingLanes, branches: Branches, count: int, *, random: np.random.Generator
) -> Labelled:
    """Walk through lives by a policy, now and then by chance, and label what is met on the way."""
    rows: list[tuple[NDArray[np.float32], Bools, Floats]] = []
    walk: list[tuple[NDArray[Any], ...]] = []
    seen = lanes.reset()
    twins = [Twin(env.lane) for env in lanes.envs]
    while len(rows) < count:
        chosen = np.zeros(len(lanes.envs), dtype=np.int64)
        for at, env in enumerate(lanes.envs):
            lane = env.lane
            offered = np.flatnonzero(lane.open)
            is_late = lane.facts[Fact.AGE_S] > _LATER_S
            if len(offered) > 1 and random.random() < (_TRIED_LATER if is_late else _TRIED):
                if twins[at].lane is not lane:
                    twins[at] = Twin(lane)
                lost = branches.lost(lane, twins[at])
                rows.append((seen[at].copy(), lane.open.copy(), lost / env.asked_gpu_s))
            if random.random() < _BY_CHANCE:
                chosen[at] = random.choice(offered)
            else:
                chosen[at] = branches.choose(lane)
        before = seen
        lanes.step_async(chosen)
        seen, rewards, ended, _ = lanes.step_wait()
        walk.append((before, rewards, lanes.elapsed_s.copy(), 1.0 - ended))
    parts = [np.stack(part) for part in (*zip(*rows, strict=True), *zip(*walk, strict=True))]
    return Labelled(*parts)
