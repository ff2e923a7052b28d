"""One arm of a row played with one seed, and what a row asks of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from sim.calibration.play import DAY_S, Played
from sim.catalogue import profile
from sim.engine.tables import Table
from sim.scenario import Scenario
from sim.world import World

# A bug that stops a job again and again backs off: as the engine's own ``jobs._back_off_s``.
_BACK_OFF_S, _MOST_S = 10.0, 300.0
_BY_HAND_S = 1800.0


@dataclass(frozen=True, slots=True)
class Arm:
    """A scenario as one policy runs it, and how its faults differ from the catalogue's.

    transient_times: of the share of faults that a restart ends
    """

    script: Scenario
    days: float
    transient_times: float = 1.0

    def faults_a_s(self, nodes: int) -> float:
        """Return how often a job is stopped, by the profile or the scenario's own rates."""
        script = self.script
        own = dict(script.rates)
        rates = {name: rate / 1000 for name, rate in profile(script.profile).rates.items()}
        drawn = sum(rate for name, rate in rates.items() if name not in own)
        return (drawn * script.rate_scale + sum(own.values())) * nodes / DAY_S


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of one run; shares of the GPU time that jobs asked for.

    ettr:    steps done for the first time, slow ones too (Kokolis et al.)
    good:    the same at full speed, as a share of the whole cluster
    stops:   faults that stopped a job, each once
    by_hand: faults that cost more than half an hour of stops and starts, one after the other
    """

    ettr: float
    good: float
    stops: int
    by_hand: int
    lost: Mapping[str, float]


def built(arm: Arm, *, seed: int) -> World:
    """Return an arm's world at its start; nobody reads it, so it keeps no readings."""
    script = replace(arm.script, telemetry="none", history_s=0.0, duration_s=arm.days * DAY_S)
    world = World.build(script, seed=seed)
    rows: Table = world.inner.classes
    rows["restart_mends"] = np.minimum(rows["restart_mends"] * arm.transient_times, 1.0)
    return world


@lru_cache(maxsize=4096)
def live(arm: Arm, seed: int) -> Lived:
    """Play an arm to its end; the same arm and seed, the same figures."""
    world = built(arm, seed=seed)
    world.advance(world.scenario.start_s + arm.days * DAY_S)
    run = Played(world, arm.days)
    stopped = run.faults["interrupted"]
    return Lived(
        ettr=run.ettr,
        good=run.sums.good / float(run.sums.use.sum()),
        stops=int(np.sum(stopped > 0)),
        by_hand=int(np.sum(stopped >= _stops_by_hand(arm))),
        lost={name: part / run.sums.asked for name, part in world.losses().items()},
    )


def _stops_by_hand(arm: Arm) -> int:
    """Return how many stops by one fault add up to half an hour of stops and starts."""
    site = arm.script.site
    each_s = site.requeue_s + site.restart_s
    each_s += site.restart_s_per_gpu * arm.script.jobs[0].nodes * arm.script.machines.gpus_per_node
    total_s, stops = 0.0, 0
    while total_s < _BY_HAND_S:
        stops += 1
        total_s += each_s
        if stops > 1:
            total_s += min(_BACK_OFF_S * 2.0 ** min(stops - 2, 10), _MOST_S)
    return stops
