"""The hindsight planner: it knows the world's future, and takes what turns out best in it.

At each decision the true world is copied, faults to come and all, and every open choice is lived
on to the end of the life by each of several policies. What lost least is done. The policy that did
so is kept for the next decision, so that with each decision it can only get better: it loses no
more than the best of them, and is what policies that do not know the future are measured against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.choice import Choice
from core.situation import Fact
from core.types import Floats
from remediation.deciding.chooser import Moment
from remediation.policies import greedy, knobs, rulebook
from remediation.twin.rolling import OVER, Inner, Ways, live_on, priced
from sim.engine.room import with_room
from sim.engine.tables import SHARED, USED, Tables
from sim.lanes import Lane, bytes_of


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """A policy that compiled roll-outs go on with; numbers: what it goes by, as ``Inner`` says."""

    inner: Inner
    numbers: Floats


def first_of(*choices: Choice) -> Within:
    """Return the policy that takes the first of these choices that is open, or else waits."""
    return Within(Inner.FIRST, np.array(choices, dtype=np.float64))


RUNBOOK = Within(Inner.RUNBOOK, knobs.usual(rulebook.KNOBS))
GREEDY = Within(Inner.GREEDY, knobs.usual(greedy.WEIGHTS))
INNERS = (
    RUNBOOK,
    GREEDY,
    first_of(Choice.RESTART, Choice.REBOOT, Choice.SWAP, Choice.SHRINK),
    first_of(Choice.SWAP, Choice.SHRINK, Choice.REBOOT, Choice.RESTART),
    first_of(Choice.SWAP_AND_REPAIR, Choice.SWAP, Choice.REBOOT, Choice.SHRINK, Choice.RESTART),
)


class Trials:
    """Copies of a lane's life, truth and all, to live on in; the lane itself is left alone."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._scratch: Tables | None = None

    def copied(self) -> Tables:
        """Return a copy of the lane's tables: rows in use only, where they fit the last one."""
        theirs, own = self._lane.tables, self._scratch
        if own is None or any(len(mine) < len(its) for mine, its in zip(own, theirs, strict=True)):
            own = self._scratch = Tables(*(part.copy() for part in theirs))
            return own
        core = theirs.core[0]
        for name, mine, its in zip(Tables._fields, own, theirs, strict=True):
            count = int(core[USED[name]]) if name in USED else len(its)
            if count and name not in SHARED:
                bytes_of(mine[:count])[:] = bytes_of(its[:count])
        return own

    def lived_on(
        self, tables: Tables, choice: int, until_s: float, within: Within, ways: Ways
    ) -> Tables:
        """Live a copy on from a choice until a time; return it, which may be a larger one."""
        inner = int(within.inner)
        while (choice := live_on(tables, choice, until_s, inner, ways)) != OVER:
            tables = self._scratch = with_room(tables)
        return tables


def ways_in(lane: Lane, within: Within) -> Ways:
    """Return what roll-outs of a lane go by, with a policy within."""
    seen = (np.zeros(len(Fact)), np.zeros(len(Choice), dtype=bool))
    return (within.numbers, lane.terms.causes_row(), lane.terms.numbers(), *seen)


class Oracle:
    """Chooses for one lane with the knowledge of its future: for evaluation only."""

    name = "oracle"
    version = "1"

    def __init__(self, lane: Lane, inners: Sequence[Within] = INNERS) -> None:
        """Keep the lane, whose tables are read at each decision, and the policies to go on with."""
        self._lane, self._inners = lane, tuple(inners)
        self._ways = [ways_in(lane, within) for within in inners]
        self._trials = Trials(lane)
        self._kept = 0

    def choose(self, moment: Moment) -> Choice:
        """Return the choice that turns out to lose least by the end of the lane's life."""
        best, least = Choice.WAIT, np.inf
        order = sorted(range(len(self._inners)), key=lambda at: at != self._kept)
        for at in order:
            for choice in np.flatnonzero(moment.situation.open).tolist():
                loss = self._loss(choice, at)
                if loss < least:
                    best, least, self._kept = Choice(choice), loss, at
        return best

    def _loss(self, choice: int, at: int) -> float:
        """Return what is lost by the end where a policy goes on from a choice, GPU-seconds."""
        ways, terms = self._ways[at], self._lane.terms
        within, end_s = self._inners[at], self._lane.end_s
        tables = self._trials.lived_on(self._trials.copied(), choice, end_s, within, ways)
        return float(priced(tables, ways[2], terms.late_gpu_s))
