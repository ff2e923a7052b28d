"""Reads what was done in a life of a simulated cluster for the audit, which knows no mask."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from core.choice import Choice
from remediation.evaluation.audit import Breach, Order, Site, audit
from remediation.guards import GuardSettings
from sim.deciding import Decisions
from sim.engine.tables import Table
from sim.engine.terms import Knob
from sim.engine.words import NONE

# How many actions each choice is at the least: saving first is one more, where it can be done.
_STEPS = {
    Choice.CHECKPOINT: 1,
    Choice.RESTART: 1,
    Choice.REBOOT: 1,
    Choice.SWAP: 2,
    Choice.SWAP_AND_REPAIR: 3,
    Choice.SWAP_BOTH: 3,
    Choice.SHRINK: 2,
    Choice.BORROW: 2,
    Choice.ROLL_BACK: 1,
    Choice.TUNE: 1,
    Choice.ESCALATE: 0,  # it tells a person, and touches nothing
}
_OF_THE_JOB = (Choice.RESTART, Choice.ROLL_BACK, Choice.TUNE)
_TAKES_A_SPARE = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH)
_OF_THE_NODE = (*_TAKES_A_SPARE, Choice.REBOOT, Choice.SHRINK, Choice.BORROW)
_DIGITS = 6  # that a probability is kept with
_HARMLESS = (Knob.CANARY, Knob.REPLICAS)  # these knobs stop nothing


def audit_lane(lane: Decisions) -> tuple[Breach, ...]:
    """Return every bound that was crossed since the life began; a harmless one is left out."""
    nodes, shield = lane.tables.nodes, lane.terms.shield
    site = Site(
        len(nodes),
        rack_of={str(at): str(rack) for at, rack in enumerate(nodes["rack"].tolist())},
        switch_of={str(at): str(leaf) for at, leaf in enumerate(nodes["leaf"].tolist())},
        gpus=int(nodes["gpus"].sum()),
    )
    settings = GuardSettings(**asdict(shield))
    return audit(orders_of(lane.orders), site, settings)


def orders_of(rows: Table) -> tuple[Order, ...]:
    """Return the rows of ``sim.engine.rows_faults.ORDER`` as orders; each is a plan of its own."""
    return tuple(_order(number, row) for number, row in enumerate(rows))


def _order(number: int, row: np.void) -> Order:
    choice, ended_s = Choice(int(row["choice"])), float(row["ended_s"])
    named = [(int(row["node"]), row["back_s"]), (int(row["other"]), row["other_back_s"])]
    out = [(str(node), float(at)) for node, at in named if node != NONE][: int(row["taken"])]
    puts = choice in _TAKES_A_SPARE or choice is Choice.BORROW
    given = [int(row["put"]), int(row["also_put"])] if puts else []
    gone = all(at <= ended_s for _, at in out)
    stops = _stops(choice, row)
    return Order(
        time_s=float(row["time_s"]),
        plan=str(number),
        nodes=tuple(node for node, _ in out),
        back_s=tuple(at for _, at in out),
        disturbs=frozenset(_disturbed(choice, row, [node for node, _ in named if node != NONE])),
        ended_s=None if np.isnan(ended_s) else ended_s,
        steps=_STEPS[choice] if row["worked"] else min(1, _STEPS[choice]),
        spares=int(row["spares"]) if choice in _TAKES_A_SPARE and row["worked"] else None,
        unsaved_gpu_s=None if row["save"] else float(row["unsaved_gpu_s"]),
        given=tuple(str(node) for node in given if node != NONE),
        repaired=(str(int(row["node"])),) if choice is Choice.REBOOT else (),
        above=bool(row["priority"] >= row["highest"] > row["lowest"]),
        below=bool(row["priority"] < row["highest"]),
        probability=_ground(choice, row) if stops else None,
        gpus=int(row["gpus"]) if stops else None,
        stood=choice in (Choice.RESTART, Choice.ROLL_BACK) and bool(row["stood"]),
        undone=bool(out) and not row["worked"] and gone,
    )


def _stops(choice: Choice, row: np.void) -> bool:
    """Say whether a choice stops its job, or may: a knob of a service does not."""
    if choice in (Choice.CHECKPOINT, Choice.ESCALATE):
        return False
    return choice is not Choice.TUNE or Knob(int(row["knob"])) not in _HARMLESS


def _ground(choice: Choice, row: np.void) -> float | None:
    """Return how likely its cause was, or that the node is to blame; a start needs no ground."""
    if choice is Choice.RESTART and row["stood"]:
        return None
    sure = float(row["blamed"] if choice in _OF_THE_NODE else row["probability"])
    if choice is Choice.SWAP_BOTH:
        sure += float(row["other_blamed"])
    return round(sure, _DIGITS)


def _disturbed(choice: Choice, row: np.void, nodes: list[int]) -> Iterator[str]:
    """Yield the job where it is started anew in place, and the nodes that leave it or reboot."""
    if choice in _OF_THE_JOB:
        yield f"job {int(row['job'])}"
    if choice in _OF_THE_NODE:
        yield from map(str, nodes)
