"""What simulation offers, the guards of life allow: held against them through lives of chance."""

import math
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest

from core.choice import Choice
from core.types import Outcome, OutcomeStatus, Plan, PlanRecord, PlanState
from remediation.catalogue import CHECKPOINT_NOW
from remediation.deciding.choosing import LiveMoment
from remediation.deciding.plans import Made
from remediation.deciding.policy import Past
from remediation.guards import GuardSettings
from remediation.learning.families import LIVES_A_CLUSTER, TRAIN, TUNING_SEED, family_of, terms_of
from sim.engine.tables import Table
from sim.engine.words import Stage
from sim.lanes import Lane
from sim.terms import Shield
from tests.healing import record_of

# Nobody is asked, so nobody need be told; to call a person is no step of healing.
_ACTS = [choice for choice in Choice if choice not in (Choice.WAIT, Choice.ESCALATE)]
SHIELDS = {
    "usual": Shield(),
    "tight": Shield(
        max_nodes_out=3,
        max_ratio_out=0.3,
        max_nodes_out_per_rack=1,
        max_nodes_out_per_switch=1,
        cooldown_s=7200.0,
        max_actions_per_hour=6,
        min_spares_left=1,
        priority_spares=2,
        max_job_share=0.5,
        max_unsaved_gpu_s=3600.0 * 8,
        lemon_after=1,
    ),
    "wide": Shield(max_nodes_out=9, max_ratio_out=0.8, cooldown_s=300.0, min_probability=0.3),
}
_CLUSTERS, _LOOKS = 8, 60


class Ledger:
    """The plans that a life's orders were, as they would have been written down in life."""

    def __init__(self) -> None:
        self._plans: dict[int, Plan] = {}

    def add(self, order: int, plan: Plan) -> None:
        """Keep the plan that an order is."""
        self._plans[order] = replace(plan, id=f"p{order}")

    def records(self, orders: Table) -> Iterator[PlanRecord]:
        """Yield each plan and how far its order has come."""
        for number, plan in self._plans.items():
            yield _record(plan, orders[number])


def _record(plan: Plan, order: np.void) -> PlanRecord:
    """Return a record of an order; what it need not have come to is left out.

    That is a save, which may have been passed over, and the last step of an order that failed.
    """
    began_s, ended_s = float(order["time_s"]), float(order["ended_s"])
    ends, worked = not math.isnan(ended_s), bool(order["worked"])
    done = plan.actions if worked else plan.actions[:-1]
    outcomes = (
        Outcome(action, OutcomeStatus.SUCCEEDED, began_s, ended_s if ends else began_s, "")
        for action in done
        if action.kind != CHECKPOINT_NOW
    )
    state = PlanState.DONE if worked else PlanState.FAILED
    if not ends:
        return record_of(plan, PlanState.ACTING, *outcomes, step=len(plan.actions), since_s=began_s)
    given_back = order["taken"] and order["back_s"] <= ended_s and not worked
    return record_of(plan, PlanState.ROLLED_BACK if given_back else state, *outcomes)


def moments(shield: Shield) -> Iterator[tuple[Lane, LiveMoment]]:
    """Yield decisions of lives by chance, as simulation and as life sees them."""
    guards, family = GuardSettings(**asdict(shield)), family_of(TRAIN)
    for number in range(_CLUSTERS):
        seed = TUNING_SEED + (9_500 + number) * LIVES_A_CLUSTER
        scenario, terms = family.scenario(seed), replace(terms_of(family, seed), shield=shield)
        lane, ledger, luck = Lane(scenario, terms), Ledger(), np.random.default_rng(number)
        due, looks = lane.reset(seed, duration_s=scenario.duration_s), 0
        while due and looks < _LOOKS:
            now = lane.moment()
            made = Made("now", now.incident.id, now.now_s, "test", "1")
            about = (now.incident, now.diagnosis, now.state, now.now_s)
            past = Past(records=tuple(ledger.records(lane.orders)), guards=guards)
            live = LiveMoment(*about, made, past, terms.site)
            yield lane, live
            choices = np.flatnonzero(lane.open)
            choice = Choice(int(choices[luck.integers(len(choices))]))
            if choice in live.plans and choice in _ACTS:
                ledger.add(len(lane.orders), live.plans[choice])
            due, looks = lane.step(choice), looks + 1


@pytest.mark.parametrize("shield", list(SHIELDS))
def test_what_simulation_offers_the_guards_allow(shield: str) -> None:
    offered, closed = 0, 0
    for lane, live in moments(SHIELDS[shield]):
        job = lane.tables.jobs[int(lane.tables.troubles[lane.tables.core[0]["decision"]]["job"])]
        hangs = job["stage"] == Stage.HUNG  # a detector tells of it in life, and not here
        for choice in _ACTS:
            if not lane.open[choice]:
                closed += 1
            elif not (hangs and choice in (Choice.RESTART, Choice.ROLL_BACK)):
                offered += 1
                assert live.situation.open[choice], choice.name
    assert offered > 200
    assert closed > 200
