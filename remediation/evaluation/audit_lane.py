"""Reads what was done in a life of a simulated cluster for the audit, which knows no mask."""

from collections.abc import Iterator

import numpy as np

from core.choice import Choice
from remediation.evaluation.audit import Breach, Order, Site, audit
from remediation.guards import GuardSettings
from sim.deciding import Decisions
from sim.engine.tables import Table
from sim.engine.words import NONE

# How many actions each choice is at the least: saving first is one more, where it can be done.
_STEPS = {
    Choice.CHECKPOINT: 1,
    Choice.RESTART: 1,
    Choice.REBOOT: 2,
    Choice.SWAP: 2,
    Choice.SWAP_AND_REPAIR: 3,
    Choice.SWAP_BOTH: 2,
    Choice.SHRINK: 2,
    Choice.BORROW: 2,
    Choice.ROLL_BACK: 1,
    Choice.TUNE: 1,
    Choice.ESCALATE: 0,  # it tells a person, and touches nothing
}
_OF_THE_JOB = (Choice.RESTART, Choice.REBOOT, Choice.ROLL_BACK, Choice.TUNE)
_TAKES_A_SPARE = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH)


def audit_lane(lane: Decisions) -> tuple[Breach, ...]:
    """Return every bound that was crossed since the life began; a harmless one is left out."""
    nodes, shield = lane.tables.nodes, lane.terms.shield
    site = Site(
        len(nodes),
        rack_of={str(at): str(rack) for at, rack in enumerate(nodes["rack"].tolist())},
    )
    settings = GuardSettings(
        max_nodes_out=shield.max_nodes_out,
        max_ratio_out=shield.max_ratio_out,
        max_nodes_out_per_rack=shield.max_nodes_out_per_rack,
        cooldown_s=shield.cooldown_s,
        max_actions_per_hour=shield.max_actions_per_hour,
        min_spares_left=shield.min_spares_left,
    )
    return audit(orders_of(lane.orders), site, settings)


def orders_of(rows: Table) -> tuple[Order, ...]:
    """Return the rows of ``sim.engine.rows_faults.ORDER`` as orders; each is a plan of its own."""
    return tuple(_order(number, row) for number, row in enumerate(rows))


def _order(number: int, row: np.void) -> Order:
    choice, ended_s = Choice(int(row["choice"])), float(row["ended_s"])
    named = [(int(row["node"]), row["back_s"]), (int(row["other"]), row["other_back_s"])]
    out = [(str(node), float(at)) for node, at in named if node != NONE][: int(row["taken"])]
    return Order(
        time_s=float(row["time_s"]),
        plan=str(number),
        nodes=tuple(node for node, _ in out),
        back_s=tuple(at for _, at in out),
        disturbs=frozenset(_disturbed(choice, row, [node for node, _ in named if node != NONE])),
        ended_s=None if np.isnan(ended_s) else ended_s,
        steps=_STEPS[choice] if row["worked"] else min(1, _STEPS[choice]),
        spares=int(row["spares"]) if choice in _TAKES_A_SPARE and row["worked"] else None,
    )


def _disturbed(choice: Choice, row: np.void, nodes: list[int]) -> Iterator[str]:
    """Yield the job where it is started anew in place, and the nodes that leave it or reboot."""
    if choice in _OF_THE_JOB:
        yield f"job {int(row['job'])}"
    if (
        choice is Choice.REBOOT
        or choice in _TAKES_A_SPARE
        or choice in (Choice.SHRINK, Choice.BORROW)
    ):
        yield from map(str, nodes)
