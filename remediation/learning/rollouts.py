"""What each choice would lose: a life in the simulator, copied and lived on, choice by choice.

All copies meet the same faults with the same luck, so the differences between choices hold little
chance. Training learns from them before it learns from whole lives. The copies know the fault; what
is learnt of many of them, by what can be seen, does not.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.choice import Choice
from core.situation import Fact
from core.types import Floats
from remediation.learning.lanes import HealingLanes
from remediation.policies.features import SIZE, fill
from remediation.policies.trained import Network
from remediation.twin.rolling import owed, priced
from sim.engine import decisions
from sim.engine.decisions import Status
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.room import with_room
from sim.engine.tables import Array, Tables
from sim.engine.words import NONE
from sim.lanes import Lane

Layers = tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array]
_OVER = -2
_HOUR_S = 3600.0
_WAITED_S = 900.0
# Share of the situations on the way that are labelled, of an incident's first hours and later ones:
# neighbours are much alike.
_TRIED, _TRIED_LATER, _LATER_S = 0.5, 0.1, 7_200.0
_BY_CHANCE = 0.1  # share of choices that are drawn: what a policy never does must be known too
_fill = compiled(fill)


@compiled
def _layer(weight: Array, bias: Array, given: Array, out: Array) -> None:
    """Write ``weight.T @ given + bias``; weight: (in, out), so that the inner loop is even."""
    for to in range(len(out)):
        out[to] = bias[to]
    for at in range(len(given)):
        value = given[at]
        for to in range(len(out)):
            out[to] += value * weight[at, to]


@compiled
def decide(facts: Array, opened: Array, layers: Layers) -> int:
    """Return what a network of two hidden layers chooses."""
    first, one, second, two, third, three, seen, hidden, deeper = layers
    _fill(facts, opened, seen)
    _layer(first, one, seen, hidden)
    for at in range(len(hidden)):
        hidden[at] = math.tanh(hidden[at])
    _layer(second, two, hidden, deeper)
    for at in range(len(deeper)):
        deeper[at] = math.tanh(deeper[at])
    best, most = Choice.WAIT.value, -math.inf
    for choice in range(len(opened)):
        if opened[choice]:
            score = three[choice]
            for at in range(len(deeper)):
                score += deeper[at] * third[at, choice]
            if score > most:
                best, most = choice, score
    return int(best)


@compiled_with_arrays
def _live_on(
    w: Tables, choice: int, until_s: float, ways: tuple[Array, Array, Array, Array], layers: Layers
) -> int:
    """Live on from a choice by a network; ``_OVER``, or the choice to go on with given room.

    Who waits waits for a while: were it but to the next look, where the network may act, waiting
    would hardly ever lose, and be chosen again there.
    """
    causes, terms, facts, opened = ways
    trouble, waits_s = w.core[0]["decision"], w.core[0]["now_s"]
    if choice == Choice.WAIT.value:
        waits_s += _WAITED_S
    while True:
        status = decisions.step(w, choice, until_s, causes, terms, facts, opened)
        if status == Status.OVER:
            return _OVER
        if status == Status.SHORT:
            return choice
        if status == Status.SHORT_LATER:
            return NONE
        if w.core[0]["decision"] == trouble and w.core[0]["now_s"] < waits_s:
            choice = Choice.WAIT.value
        else:
            choice = decide(facts, opened, layers)


@dataclass(slots=True, eq=False)
class Branches:
    """Copies of lives that go on by one policy.

    network: of two hidden layers; hours: how far ahead
    owing: what is amiss at the end is priced too, as it stands
    """

    network: Network
    hours: float
    owing: bool = True
    layers: Layers = field(init=False)
    _facts: Floats = field(init=False, default_factory=lambda: np.zeros(len(Fact)))
    _open: Array = field(init=False, default_factory=lambda: np.zeros(len(Choice), dtype=bool))

    def __post_init__(self) -> None:
        parts = [
            np.ascontiguousarray(part)
            for weight, bias in zip(self.network.weights, self.network.biases, strict=True)
            for part in (weight.T, bias)
        ]
        hidden = [np.zeros(len(bias)) for bias in self.network.biases[:2]]
        self.layers = (*parts, np.zeros(SIZE), *hidden)  # type: ignore[assignment]

    def lost(self, lane: Lane, twin: Lane) -> Floats:
        """Return (len(Choice),) what each open choice loses, GPU-seconds; infinite: not open.

        twin: a copy of the lane's tables, overwritten
        """
        found = np.full(len(Choice), math.inf)
        terms = lane.terms
        ways = (terms.causes_row(), terms.numbers(), self._facts, self._open)
        now_s = float(lane.tables.core[0]["now_s"])
        until_s = min(now_s + self.hours * _HOUR_S, lane.end_s)
        for choice in np.flatnonzero(lane.open).tolist():
            twin.take_over(lane)
            left = int(choice)
            while (left := _live_on(twin.tables, left, until_s, ways, self.layers)) != _OVER:
                twin._put(with_room(twin.tables))
            found[choice] = priced(twin.tables, ways[1], terms.late_gpu_s)
            if self.owing and until_s < lane.end_s:
                found[choice] += owed(twin.tables, ways[1])
        return found


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
    twins = [_Twin() for _ in lanes.envs]
    rows: list[tuple[NDArray[np.float32], Array, Floats]] = []
    walk: list[tuple[NDArray[Any], ...]] = []
    seen = lanes.reset()
    while len(rows) < count:
        chosen = np.zeros(len(lanes.envs), dtype=np.int64)
        for at, env in enumerate(lanes.envs):
            lane = env.lane
            offered = np.flatnonzero(lane.open)
            is_late = lane.facts[Fact.AGE_S] > _LATER_S
            if len(offered) > 1 and random.random() < (_TRIED_LATER if is_late else _TRIED):
                lost = branches.lost(lane, twins[at].of(lane))
                rows.append((seen[at].copy(), lane.open.copy(), lost / env.asked_gpu_s))
            if random.random() < _BY_CHANCE:
                chosen[at] = random.choice(offered)
            else:
                chosen[at] = decide(lane.facts, lane.open, branches.layers)
        before = seen
        lanes.step_async(chosen)
        seen, rewards, ended, _ = lanes.step_wait()
        walk.append((before, rewards, lanes.elapsed_s.copy(), 1.0 - ended))
    parts = [np.stack(part) for part in (*zip(*rows, strict=True), *zip(*walk, strict=True))]
    return Labelled(*parts)


class _Twin:
    """A copy of a lane to roll out in, made anew where the lane is another."""

    def __init__(self) -> None:
        self._lane: Lane | None = None
        self._twin: Lane | None = None

    def of(self, lane: Lane) -> Lane:
        """Return the copy, as it happens to be."""
        if self._twin is None or self._lane is not lane:
            self._lane, self._twin = lane, lane.fork()
        return self._twin
