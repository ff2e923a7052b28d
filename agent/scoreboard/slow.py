"""FALCON's fail-slow: how much of the speed that slow machines cost comes back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from agent.scoreboard.assumed import values
from agent.scoreboard.decided import POLICIES, SHIPPED, decided
from agent.scoreboard.entries import Entry, Goal
from agent.scoreboard.played import Arm
from core.choice import Choice
from core.figures import Row
from core.types import Floats
from remediation.deciding.chooser import Chooser
from remediation.policies.thumb import Thumb
from sim.library import scenario

NAME = "falcon_slowdown_removed"
SOURCE = "FALCON, arXiv:2410.12588: 60.1 % of the slowdown of injected fail-slows"
_DAYS = 7


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield the share of lost speed that comes back, what the stops for it cost taken off."""
    seeds = 4 if quick else 24
    script = replace(scenario("falcon"), history_s=0.0)
    slow, sound = Arm(script, _DAYS), Arm(replace(script, rate_scale=0.0), _DAYS)
    left = _useful(slow, partial(Thumb, "nothing", Choice.WAIT), seeds)
    whole = _useful(sound, partial(Thumb, "nothing", Choice.WAIT), seeds)
    removed = {
        name: (_useful(slow, policy, seeds) - left) / (whole - left)
        for name, policy in POLICIES.items()
    }
    others = ", ".join(f"{name} {np.mean(share):.2f}" for name, share in removed.items())
    yield from Entry(
        name=NAME,
        unit="",
        published=0.601,
        source=SOURCE,
        tolerance=0.05,
        reproduced=None,
        why="its moves of micro-batches and of ranks over the topology are not in the simulator",
        ours=removed[SHIPPED],
        goal=Goal(True, 0.70, strictly=True),
        note=f"by the {SHIPPED}, which waits or swaps the node; {others}; two spares, 28 nodes",
    ).rows()


def _useful(arm: Arm, policy: Callable[[], Chooser], seeds: int) -> Floats:
    return np.array([decided(arm, values(), policy, seed).good for seed in range(seeds)])
