"""One scenario played to its end, and what calibration asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.types import Floats, Ints
from sim.engine.tables import Table
from sim.engine.words import Loss
from sim.scenario import JobSpec, Scenario, Site
from sim.sums import Sums
from sim.world import World

DAY_S = 86400.0
# What is no step done for the first time: slow steps are useful ones in Meta's ratio (HPCA 2025).
_UNPRODUCTIVE = tuple(loss for loss in Loss if loss != Loss.SLOW)

# A site that looks after itself: what failed is queued again, what is broken is found and repaired.
TENDED = Site(requeue=True, drain=True, check_s=300.0, check_recall=1.0)


@dataclass(frozen=True)
class Played:
    """A world at the end of its days."""

    world: World
    days: float

    @cached_property
    def faults(self) -> Table:
        """Return the FAULT rows from the scenario's start on."""
        inner = self.world.inner
        rows: Table = inner.faults[: int(inner.core[0]["faults_n"])]
        return rows[rows["onset_s"] >= self.world.scenario.start_s]

    @property
    def nodes(self) -> int:
        """Return how many nodes the cluster has."""
        return self.world.scenario.nodes

    @property
    def node_days(self) -> float:
        """Return nodes times days."""
        return self.nodes * self.days

    def named(self, classes: frozenset[str] | set[str]) -> Table:
        """Return the faults of some classes."""
        wanted = [index for index, name in enumerate(self.world.names.classes) if name in classes]
        return self.faults[np.isin(self.faults["class"], wanted)]

    def by_node(self, rows: Table) -> Ints:
        """Return (N,) how many of the faults struck each node; those of no one node left out."""
        return np.bincount(rows["node"][rows["node"] >= 0], minlength=self.nodes)

    @cached_property
    def sums(self) -> Sums:
        """Return where the GPU-seconds went."""
        return self.world.sums()

    @cached_property
    def jobs(self) -> Table:
        """Return the DONE rows of all jobs that have begun."""
        return self.world.jobs()

    @property
    def ettr(self) -> float:
        """Return the share of the time that jobs asked for in which steps were done at first."""
        lost = sum(float(self.sums.lost[loss]) for loss in _UNPRODUCTIVE)
        return (self.sums.held - lost) / self.sums.asked


def play(scenario: Scenario, *, seed: int, days: float) -> Played:
    """Return a scenario's world after some days; nobody reads it, so it keeps no readings."""
    script = replace(scenario, telemetry="none", history_s=0.0, duration_s=days * DAY_S)
    world = World.build(script, seed=seed)
    world.advance(script.start_s + days * DAY_S)
    return Played(world, days)


def plays(scenario: Scenario, *, seeds: int, days: float) -> Iterator[Played]:
    """Yield the scenario played with seeds 0, 1, ..."""
    for seed in range(seeds):
        yield play(scenario, seed=seed, days=days)


def running_s(rows: Table) -> Floats:
    """Return (J,) seconds that each job made steps or waited for its checkpoints."""
    idle = rows["lost_gpu_s"][:, [Loss.START, Loss.HUNG, Loss.STOPPED]].sum(axis=1)
    seconds: Floats = (rows["held_gpu_s"] - idle) / np.maximum(rows["gpus"], 1)
    return seconds


def filled(*sizes: tuple[int, int], **changes: float) -> tuple[JobSpec, ...]:
    """Return jobs that never end: ``count`` of so many ``nodes`` each, for each (nodes, count)."""
    return tuple(
        JobSpec(f"n{nodes}-{index}", nodes=nodes, **changes)  # type: ignore[arg-type]
        for nodes, count in sizes
        for index in range(count)
    )
