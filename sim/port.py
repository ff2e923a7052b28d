"""A world behind the ports of ``core``: the controller cannot tell it from a real cluster.

Every call first lets the world catch up with the clock, so a scaled or a manual clock drives it.
"""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from core.clock import Clock
from core.cluster import ClusterState
from core.errors import ActionFailed
from core.ports import Collected, Problem, Query
from core.types import Action, Event
from core.units import CATALOG
from sim.engine.draws import uniform
from sim.engine.words import Purpose
from sim.telemetry import readings
from sim.world import World

# An order takes the site's delay, half as much less or more: assumed.
_DELAY_SPREAD = 0.5


@dataclass(slots=True)
class _Order:
    """An order on its way: taken at ``due_s``, whether or not who gave it still waits."""

    action: Action
    due_s: float
    taken: bool = False
    refused: ActionFailed | None = None


class SimulatedCluster:
    """Cluster, MetricSource and EventSource over one world; nothing here does I/O.

    An order takes the scenario's ``site.order_delay_s`` to arrive, more or less by the world's
    seed, the order's key and the how-manieth try alone. Events from the world's history, before
    its start, are not told: the agent was not there.
    """

    name = "simulated cluster"

    def __init__(self, world: World, *, clock: Clock) -> None:
        self.world = world
        self._clock = clock
        self._orders: dict[str, _Order] = {}
        self._tries: dict[str, int] = {}
        self._told = sum(event.time_s < world.scenario.start_s for event in world.events)

    async def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it now."""
        self.catch_up()
        return self.world.state()

    async def perform(self, action: Action) -> None:
        """Order an action and wait until the order is taken; ActionFailed says why it was not.

        Who stops waiting has ordered all the same.
        """
        self.catch_up()
        order = self._orders.get(action.key)
        if order is None or order.refused is not None:
            order = self._ordered(action)
        if (wait_s := order.due_s - self._clock.now_s()) > 0:
            await self._clock.sleep(wait_s)
        self._take(order, at_s=max(order.due_s, self._clock.now_s()))
        if order.refused is not None:
            raise order.refused

    async def read(self, query: Query) -> Collected:
        """Return the readings on the query's grid, those of the world's history included."""
        self.catch_up()
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
        self.catch_up()
        new = self.world.events[self._told :]
        self._told += len(new)
        return new

    def catch_up(self) -> None:
        """Let the world come to the clock's time, taking the orders that are due on the way."""
        now_s = self._clock.now_s()
        waiting = [order for order in self._orders.values() if not order.taken]
        for order in sorted(waiting, key=lambda order: order.due_s):
            if order.due_s <= now_s:
                self._take(order, at_s=order.due_s)
        self.world.advance(now_s)

    def _ordered(self, action: Action) -> _Order:
        """Put an order on its way."""
        site = self.world.scenario.site
        number = self._tries.get(action.key, 0)
        self._tries[action.key] = number + 1
        key = crc32(action.key.encode())
        spread = uniform(self.world.names.seed, Purpose.ORDER, key, number)
        delay_s = site.order_delay_s * (1 + _DELAY_SPREAD * (2 * spread - 1))
        order = _Order(action, self._clock.now_s() + delay_s)
        self._orders[action.key] = order
        return order

    def _take(self, order: _Order, *, at_s: float) -> None:
        if order.taken:
            return
        self.world.advance(at_s)
        order.taken = True
        try:
            self.world.perform(order.action)
        except ActionFailed as error:
            order.refused = error
