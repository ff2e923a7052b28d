"""Time goes on in every life: however it is decided, an hour holds no more events than it may."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from remediation.learning.families import (
    LIVES_A_CLUSTER,
    TRAIN,
    TUNING_SEED,
    family_of,
    terms_of,
)
from sim.engine.words import NONE
from sim.lanes import Lane
from sim.terms import Terms, even_remedies
from tests.test_decisions_lives import BUSY

HOUR_S = 3600.0
BASE = family_of(TRAIN)
FAMILIES = {
    "as trained on": BASE,
    "small and restless": replace(BASE, nodes=(8, 12), incidents=(60.0, 120.0)),
    "lasting, slowly mended": replace(BASE, transient=(0.0, 0.1), people=(14_400.0, 28_800.0)),
}
EVERY_FAULT = "every fault of a real cluster"
_CLUSTERS, _HOURS = 6, 30
# A node's events in an hour, at the most: where it is hot or flaps, its clocks and its faults are
# looked at each 15 s, and its job's plan as often. Where time stands still there is no bound.
_EVENTS_A_NODE, _EVENTS_MORE = 600, 4_000
# Two looks at one incident lie a daemon's cycle apart: an hour has room for so many.
_LOOKS = 240


def cluster(kind: str, seed: int) -> Lane:
    """Return a cluster of a kind, at the start of its life."""
    if kind == EVERY_FAULT:
        lane = Lane(BUSY, Terms(even_remedies()))
    else:
        lane = Lane(FAMILIES[kind].scenario(seed), terms_of(FAMILIES[kind], seed))
    lane.reset(seed, duration_s=0.0)
    return lane


def hours(kind: str, number: int, luck: np.random.Generator) -> Iterator[tuple[Lane, int]]:
    """Live a life by chance; yield the lane and how often it was asked after every hour."""
    lane = cluster(kind, TUNING_SEED + (9_700 + number) * LIVES_A_CLUSTER)
    eager = luck.random()
    for hour in range(1, _HOURS + 1):
        asked, until_s = 0, lane.scenario.start_s + hour * HOUR_S
        due = lane.go(NONE, until_s)
        while due:
            asked += 1
            choices = np.flatnonzero(lane.open)
            choice = int(choices[luck.integers(len(choices))]) if luck.random() < eager else 0
            due = lane.go(choice, until_s)
        yield lane, asked


@pytest.mark.parametrize("kind", [*FAMILIES, EVERY_FAULT])
def test_an_hour_holds_only_so_many_events(kind: str) -> None:
    luck, asked_for = np.random.default_rng(5), 0
    for number in range(_CLUSTERS):
        handled = 0
        for lane, asked in hours(kind, number, luck):
            core = lane.tables.core[0]
            events, handled = int(core["handled"]) - handled, int(core["handled"])
            if core["now_s"] > lane.scenario.start_s + HOUR_S:
                assert events <= _EVENTS_A_NODE * lane.scenario.nodes + _EVENTS_MORE
            opened = int(lane.tables.troubles["open"].sum()) + int(core["incidents"])
            assert asked <= _LOOKS * max(1, opened)
            asked_for += asked
    assert asked_for > 100
