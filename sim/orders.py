"""The scheduler's hands: what can be ordered of a simulated cluster, and why it would not.

An order is taken or refused at once; what it causes takes simulated time and shows in the state.
"""

from collections.abc import Callable, Mapping
from zlib import crc32

from core.cluster import OWNER
from core.errors import ActionFailed
from core.types import Action
from sim import orders_jobs, orders_nodes, orders_places, orders_services
from sim.engine.draws import uniform
from sim.engine.tables import Tables
from sim.engine.words import Purpose
from sim.names import Names
from sim.orders_desk import Desk, People, cordon, uncordon

__all__ = ["KINDS", "People", "cordon", "perform", "uncordon"]

# Times are whole 1/1024 s.
_TICKS_A_SECOND = 1024

KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    **orders_nodes.KINDS,
    **orders_places.KINDS,
    **orders_jobs.KINDS,
    **orders_services.KINDS,
}


def perform(w: Tables, names: Names, people: People, action: Action, *, by: str = OWNER) -> None:
    """Take an order; the key of one that was taken does nothing again.

    ActionFailed says why the cluster would not. The tables have room for one event.
    """
    if action.key in people.performed:
        return
    if action.kind not in KINDS:
        raise ActionFailed(
            f"{action.kind} on {action.target}: this cluster has no such action; it performs "
            f"{', '.join(KINDS)}."
        )
    _fail_by_luck(w, action)
    KINDS[action.kind](Desk(w, names, people, by), action)
    people.performed[action.key] = float(w.core[0]["now_s"])


def _fail_by_luck(w: Tables, action: Action) -> None:
    """Fail an order that could have been done, as often as the site's scheduler does.

    Which ones depends on the seed, the order's key and the moment alone, not on other orders.
    """
    core, share = w.core[0], float(w.site[0]["order_failure"])
    moment, key = int(core["now_s"] * _TICKS_A_SECOND), crc32(action.key.encode())
    if share and uniform(int(core["seed"]), int(Purpose.ORDER), key, moment) < share:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the scheduler did not answer in time; try again."
        )
