"""A world behind the ports of ``core``: the controller cannot tell it from a real cluster.

Every call first lets the world catch up with the clock, so a scaled or a manual clock drives it.
"""

import numpy as np

from core.clock import Clock
from core.cluster import ClusterState
from core.ports import Collected, Problem, Query
from core.types import Action, Event
from core.units import CATALOG
from sim.telemetry import readings
from sim.world import World


class SimulatedCluster:
    """Cluster, MetricSource and EventSource over one world; nothing here waits or does I/O.

    Events from the world's history, before its start, are not told: the agent was not there.
    """

    name = "simulated cluster"

    def __init__(self, world: World, *, clock: Clock) -> None:
        self.world = world
        self._clock = clock
        self._told = sum(event.time_s < world.scenario.start_s for event in world.events)

    async def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it now."""
        self._catch_up()
        return self.world.state()

    async def perform(self, action: Action) -> None:
        """Order an action; ActionFailed says why the cluster would not."""
        self._catch_up()
        self.world.perform(action)

    async def read(self, query: Query) -> Collected:
        """Return the readings on the query's grid, those of the world's history included."""
        self._catch_up()
        first = np.ceil(query.start_s / query.step_s)
        last = np.floor(min(query.end_s, self.world.now_s) / query.step_s)
        time_s = np.arange(first, last + 1) * query.step_s
        unknown = [metric for metric in query.metrics if metric not in CATALOG]
        problems = tuple(
            Problem(self.name, "unknown_metric", f"reading {metric}: it is not in the catalogue.")
            for metric in unknown
        )
        return Collected(readings(self.world, query.metrics, time_s), problems)

    async def events(self) -> tuple[Event, ...]:
        """Return what the kernel logs and the scheduler said since the last call."""
        self._catch_up()
        new = self.world.events[self._told :]
        self._told += len(new)
        return new

    def _catch_up(self) -> None:
        self.world.advance(self._clock.now_s())
