"""Looking ahead with the truth of the present: what is amiss is known, what will break is not.

A ceiling for policies that cannot know the future: all that diagnosis could ever tell is told. It
parts the distance to the hindsight planner (``remediation.twin.oracle``) into what better knowledge
of the present would win, and what only knowing the faults to come would.
"""

import numpy as np
from numpy.typing import NDArray

from core.types import Floats
from remediation.deciding.chooser import Chooser, Moment
from remediation.twin.lookahead import LostBy, TwinLookahead, TwinSettings
from remediation.twin.oracle import Trials, Within, ways_in
from remediation.twin.rolling import owed, priced
from sim.engine.arrivals import draw_next
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Kind
from sim.lanes import Lane

_HOUR_S = 3600.0
_STRIDE = 10_000  # numbers of a process' faults: more than it has in a life


class Present(TwinLookahead):
    """Chooses for one lane as the twin does, in copies of its true present: for evaluation only."""

    name = "present"
    version = "1"

    def __init__(
        self, lane: Lane, inner: Chooser, settings: TwinSettings, *, within: Within
    ) -> None:
        """Keep the lane, whose tables are read at each decision, and what to fall back on."""
        super().__init__(inner, settings, within=within)
        self._lane, self._trials, self._ways = lane, Trials(lane), ways_in(lane, within)

    def _futures(self, moment: Moment, samples: int) -> LostBy:
        until_s = float(self._lane.tables.core[0]["now_s"]) + self.settings.hours * _HOUR_S

        def lost_by(choices: NDArray[np.int64], some: slice) -> Floats:
            numbers = range(samples)[some]
            return np.array(
                [[self._loss(choice, at, until_s) for at in numbers] for choice in choices.tolist()]
            )

        return lost_by

    def _loss(self, choice: int, sample: int, until_s: float) -> float:
        tables = self._trials.copied()
        redraw(tables, sample)
        tables = self._trials.lived_on(tables, choice, until_s, self._within, self._ways)
        terms = self._ways[2]
        return float(priced(tables, terms, self._lane.terms.late_gpu_s) + owed(tables, terms))


def redraw(w: Tables, sample: int) -> None:
    """Forget all faults that are to come and draw others, each from now on, by their own rates.

    What has begun to show stays: a node that gives warnings fails when it would have.
    """
    _forget(w)
    events = w.heap[: w.core[0]["heap_n"]]
    events[:] = events[np.lexsort((events["seq"], events["time_s"]))]  # sorted rows are a heap
    _draw(w, (sample + 1) * _STRIDE)


@compiled
def _forget(w: Tables) -> None:
    """Take all faults that are to come off the heap, which is left out of order."""
    left = 0
    for at in range(w.core[0]["heap_n"]):
        event = w.heap[at]
        if event["kind"] != Kind.ARRIVAL or _shows(w, event["a"], event["b"]):
            w.heap[left] = w.heap[at]
            left += 1
    w.core[0]["heap_n"] = left


@compiled
def _shows(w: Tables, entity: int, kind: int) -> bool:
    if entity >= len(w.nodes):
        return False
    node = w.nodes[entity]
    return bool(node["warn"] != NONE and node["warn_class"] == kind)


@compiled
def _draw(w: Tables, ahead: int) -> None:
    """Draw the next fault of each process that has one to come, by numbers not used before."""
    for entity in range(len(w.arrivals)):
        for kind in range(w.arrivals.shape[1]):
            if w.arrivals[entity, kind] < np.inf and not _shows(w, entity, kind):
                w.drawn[entity, kind] += ahead
                draw_next(w, kind, entity)
