"""Knowing the present: what is to come is drawn anew, and nothing of what will be is looked at."""

import numpy as np

from core.choice import Choice
from remediation.policies.rulebook import Runbook
from remediation.twin.lookahead import TwinSettings
from remediation.twin.oracle import RUNBOOK, Trials
from remediation.twin.present import Present, redraw
from sim.engine.tables import USED, Tables
from sim.engine.words import NONE, Kind
from sim.lanes import Lane
from tests.twins import BUSY, DAY_S, TERMS, lives, struck_lane


def arrivals_on(tables: Tables) -> set[tuple[float, int, int]]:
    """Return the faults on the heap of which nothing shows: when, of what, of which class."""
    events = tables.heap[: tables.core[0]["heap_n"]]
    ours = events[events["kind"] == Kind.ARRIVAL]
    shown = {
        (at, int(each["warn_class"]))
        for at, each in enumerate(tables.nodes)
        if each["warn"] != NONE
    }
    found = {(float(each["time_s"]), int(each["a"]), int(each["b"])) for each in ours}
    return {each for each in found if each[1:] not in shown}


def test_faults_to_come_are_others_and_everything_else_stays() -> None:
    for lane in lives(range(2)):
        trials = Trials(lane)
        first, second = (Tables(*(part.copy() for part in trials.copied())) for _ in range(2))
        redraw(first, 0)
        redraw(second, 1)

        assert arrivals_on(first).isdisjoint(arrivals_on(second) | arrivals_on(lane.tables))
        assert len(arrivals_on(first)) > 0
        for name in ("nodes", "jobs", "faults", "troubles", "orders", "queue"):
            count = int(first.core[0][USED[name]]) if name in USED else None
            mine, its = (getattr(tables, name)[:count] for tables in (first, lane.tables))
            assert repr(mine.tolist()) == repr(its.tolist()), name
        times = first.heap["time_s"][: first.core[0]["heap_n"]]
        assert times.min() == times[0] >= first.core[0]["now_s"]


def test_what_will_break_is_not_looked_at() -> None:
    """Two lives that differ in their future alone are told the same."""
    lane = Lane(BUSY, TERMS)
    lane.reset(3, duration_s=DAY_S)
    chosen = []
    for hours in (1.0, 100.0):
        other = lane.fork()
        coming = other.tables.heap[: other.tables.core[0]["heap_n"]]
        later = coming["time_s"] > other.tables.core[0]["now_s"]
        drawn = (coming["kind"] == Kind.ARRIVAL) & later
        coming["time_s"][drawn] += hours * 3600.0
        other.tables.arrivals[:] += hours * 3600.0
        looking = Present(other, Runbook(), TwinSettings(rounds=(4, 4)), within=RUNBOOK)
        looking.choose(other.moment())
        assert looking.looked is not None
        chosen.append(looking.looked.expected)

    assert chosen[0] == chosen[1]


def test_a_lost_gpu_is_swapped_out_whatever_is_said_of_it() -> None:
    lane = struck_lane(spares=1)
    looking = Present(lane, Runbook(), TwinSettings(), within=RUNBOOK)

    assert looking.choose(lane.moment()) in (Choice.SWAP, Choice.SWAP_AND_REPAIR)


def test_the_life_is_left_alone() -> None:
    lane = Lane(BUSY, TERMS)
    lane.reset(3, duration_s=DAY_S)
    before = [part.tobytes() for part in lane.tables]

    Present(lane, Runbook(), TwinSettings(rounds=(2,)), within=RUNBOOK).choose(lane.moment())

    assert before == [part.tobytes() for part in lane.tables]
    assert np.isfinite(lane.priced_gpu_s)
